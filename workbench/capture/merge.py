"""Add captures of parts into one: tables are sums, so shards of many workers merge without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.capture.blocks import priority_of
from workbench.capture.capture import Capture
from workbench.capture.errors import CaptureError
from workbench.capture.schema import LOAD_DIMS, LOAD_DTYPES, Flag, Group, Manifest, Sampling

if TYPE_CHECKING:
    import pyarrow as pa


def merge(captures: Sequence[Capture], *, max_tokens: int | None = None) -> Capture:
    """One capture that counts what all of them counted.

    Groups and phases are aligned by name; a group that one part lacks counts as zero tokens there. Token rows are joined
    (documents of equal name in two parts are told apart by a prefix, the part's number) and, with `max_tokens`, sampled
    again by document with the seeded hash that the probe uses. Streams that not every part has are left out.

    Args:
        captures: at least one, of the same model, sites and number of blocks.
        max_tokens: rows of each stack to keep, or None for all.

    Raises:
        CaptureError: naming what differs.
    """
    if not captures:
        raise CaptureError("Merging needs at least one capture, and none was given: name the captures to merge.")
    first = captures[0]
    for other in captures[1:]:
        _require_same(first.manifest, other.manifest)
    groups = _union_groups(captures)
    phases = tuple(dict.fromkeys(phase for capture in captures for phase in capture.phases))
    load = {name: _add(captures, name, tuple(group.name for group in groups), phases) for name in LOAD_DIMS}
    streams = [stream for stream in first.manifest.streams if all(capture.has(stream) for capture in captures)]
    streams = [stream for stream in streams if stream not in ("curve", "evidence")]  # not additive

    coactivation = None
    if "coactivation" in streams:
        squares = [capture.coactivation for capture in captures]
        coactivation = np.stack([square for square in squares if square is not None]).sum(axis=0)
    tokens: dict[str, pa.Table] | None = None
    sampling: dict[str, Sampling] = {}
    if "tokens" in streams:
        tokens, sampling = _join_tokens(captures, max_tokens)

    manifest = first.manifest.model_copy(
        update={
            "groups": groups,
            "phases": phases,
            "documents": sum(capture.manifest.documents for capture in captures),
            "tokens": _add_counters([capture.manifest.tokens for capture in captures]),
            "excluded": _add_counters([capture.manifest.excluded for capture in captures]),
            "sampling": sampling,
            "streams": tuple(streams),
            "checks": tuple(check for capture in captures for check in capture.manifest.checks),
            "flags": _union_flags(captures),
            "licence": _join_words(capture.manifest.licence for capture in captures),
            "notes": _join_words(capture.manifest.notes for capture in captures),
        }
    )
    merged = Capture(manifest, load, coactivation=coactivation, tokens=tokens)
    merged.validate()
    return merged


def _require_same(a: Manifest, b: Manifest) -> None:
    def refuse(what: str, left: object, right: object) -> CaptureError:
        return CaptureError(
            f"Only captures of the same {what} can be merged, and these have {left} and {right}: compare them instead."
        )

    for field in ("id", "revision", "dtype"):
        left, right = getattr(a.model, field), getattr(b.model, field)
        if left != right:
            raise refuse(f"model {field}", left, right)
    if a.sites != b.sites:
        differing = next((pair for pair in zip(a.sites, b.sites, strict=False) if pair[0] != pair[1]), None)
        left_sites, right_sites = (
            (len(a.sites), len(b.sites)) if differing is None else (differing[0].id, differing[1].id)
        )
        raise refuse("sites", left_sites, right_sites)
    if a.blocks != b.blocks:
        raise refuse("number of blocks", a.blocks, b.blocks)
    if a.grouped_by != b.grouped_by:
        raise refuse("grouping", f"'{a.grouped_by}'", f"'{b.grouped_by}'")


def _union_groups(captures: Sequence[Capture]) -> tuple[Group, ...]:
    groups: dict[str, Group] = {}
    for capture in captures:
        for group in capture.manifest.groups:
            groups.setdefault(group.name, group)
    return tuple(groups.values())


def _union_flags(captures: Sequence[Capture]) -> tuple[Flag, ...]:
    return tuple(dict.fromkeys(flag for capture in captures for flag in capture.manifest.flags))


def _join_words(parts: object) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))  # type: ignore[attr-defined]


def _add(captures: Sequence[Capture], name: str, groups: tuple[str, ...], phases: tuple[str, ...]) -> np.ndarray:
    first = captures[0].manifest
    sizes = {
        "block": first.blocks,
        "site": len(first.sites),
        "phase": len(phases),
        "group": len(groups),
        "expert": first.max_experts,
    }
    total = np.zeros([sizes[dim] for dim in LOAD_DIMS[name]], dtype=LOAD_DTYPES[name])
    for capture in captures:
        at_phase = [phases.index(phase) for phase in capture.phases]
        at_group = [groups.index(group) for group in capture.groups]
        table = capture.table(name).values
        for source_phase, phase in enumerate(at_phase):
            for source_group, group in enumerate(at_group):
                total[:, :, phase, group] += table[:, :, source_phase, source_group]
    return total


def _add_counters(parts: Sequence[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    total: dict[str, dict[str, int]] = {}
    for part in parts:
        for stack, counts in part.items():
            into = total.setdefault(stack, {})
            for key, value in counts.items():
                into[key] = into.get(key, 0) + value
    return total


def _join_tokens(
    captures: Sequence[Capture], max_tokens: int | None
) -> tuple[dict[str, pa.Table], dict[str, Sampling]]:
    import pyarrow as pa

    tables: dict[str, pa.Table] = {}
    sampling: dict[str, Sampling] = {}
    clash = _documents_clash(captures)
    for stack in captures[0].manifest.sampling:
        parts = []
        for index, capture in enumerate(captures):
            table = capture.read_tokens(stack)
            parts.append(_plain(_prefix_documents(table, f"{index}:") if clash else table))
        joined = pa.concat_tables(parts, promote_options="permissive")
        stats = [capture.manifest.sampling[stack] for capture in captures]
        seed = stats[0].seed
        if max_tokens is not None and joined.num_rows > max_tokens:
            joined = _sample(joined, max_tokens, seed)
        tables[stack] = joined
        sampling[stack] = Sampling(
            kept=joined.num_rows,
            seen=sum(part.seen for part in stats),
            seed=seed,
            documents_kept=len(joined.column("document").unique()),
            documents_seen=sum(part.documents_seen for part in stats),
        )
    return tables, sampling


def _documents_clash(captures: Sequence[Capture]) -> bool:
    """Whether two parts use the same document name (running numbers of two workers, mostly)."""
    seen: set[str] = set()
    for capture in captures:
        names: set[str] = set()
        for stack in capture.manifest.sampling:
            names |= set(capture.read_tokens(stack, ["document"]).column("document").to_pylist())
        if names & seen:
            return True
        seen |= names
    return False


def _plain(table: pa.Table) -> pa.Table:
    """Dictionary columns as plain ones: parts with different dictionaries do not concatenate."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table


def _prefix_documents(table: pa.Table, prefix: str) -> pa.Table:
    import pyarrow as pa

    names = [None if name is None else prefix + name for name in table.column("document").to_pylist()]
    index = table.column_names.index("document")
    return table.set_column(index, "document", pa.array(names, type=pa.string()))


def _sample(table: pa.Table, max_tokens: int, seed: int) -> pa.Table:
    """Whole documents in order of their seeded hash, until the next one would go over the bound."""
    import pyarrow as pa

    documents = np.asarray(table.column("document").to_pylist(), dtype=object)
    names, counts = np.unique(documents.astype(str), return_counts=True)
    kept: set[str] = set()
    room = max_tokens
    for name, count in sorted(zip(names, counts, strict=True), key=lambda pair: priority_of(str(pair[0]), seed)):
        if count > room:
            break
        kept.add(str(name))
        room -= int(count)
    return table.filter(pa.array([str(name) in kept for name in documents]))
