"""Which sites, groups and blocks of two captures mean the same, or in one sentence why they cannot be compared.

Expert numbers mean something only inside one lineage of weights: the same model on other input, checkpoints of one run, a
sub-model of it. Two models trained apart number their experts at random, and only what does not depend on the numbers may be
compared (entropy, sorted load, overlap of groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workbench.analysis.select import all_sites, groups_with_tokens
from workbench.analysis.token_rows import read_rows
from workbench.capture import Capture, CaptureError, Site
from workbench.capture.join_parts import has_named_parts, join_parts

Lineage = Literal["same", "apart"]
UNTRAINED_FLAG = "untrained"


@dataclass(frozen=True)
class Alignment:
    """What two or more captures have in common.

    Attributes:
        captures: the captures, named sets of experts of one layer joined where only some have them apart.
        sites, groups: names that all have. lineage: whether expert numbers mean the same.
        paired: bool for each capture after the first: whether it read the same documents as the first.
        reason: half-sentence, why expert numbers mean the same or not. notes: half-sentences that belong under a figure.
    """

    captures: tuple[Capture, ...]
    names: tuple[str, ...]
    sites: tuple[str, ...]
    groups: tuple[str, ...]
    lineage: Lineage
    paired: tuple[bool, ...]
    reason: str
    notes: tuple[str, ...]


def align(
    captures: Sequence[Capture],
    names: Sequence[str] | None = None,
    *,
    lineage: Lineage | None = None,
    common: bool = False,
) -> Alignment:
    """Line two or more captures up, the first being the one that the others are compared with.

    Args:
        names: what to call them, default their own names.
        lineage: "same" if expert numbers mean the same in all, "apart" if not; None: see `likely_lineage`.
        common: compare the sites and groups that all have, where some have more; otherwise missing sites are refused.

    Raises:
        CaptureError: in one sentence, with the first thing that differs (layers, experts, groups, blocks, tokenizers).
    """
    if len(captures) < 2:
        raise CaptureError(f"Two captures at least are compared, but {len(captures)} came: name a second one.")
    called = tuple(names) if names is not None else tuple(capture.name for capture in captures)
    kind = lineage or likely_lineage(captures)
    reason = lineage_reason(captures, called, kind)
    notes: list[str] = []
    if any(has_named_parts(capture) for capture in captures) and not _same_sites(captures):
        captures = [join_parts(capture) for capture in captures]
        notes.append(
            "sets of experts of one layer (text and vision, say) are taken together, so what they share is 0 by design"
        )
        if lineage == "same":
            raise CaptureError(
                "One capture has its experts in sets by modality and the other has not, so expert numbers do not mean the same: "
                "compare them as trained apart."
            )
        kind, reason = "apart", "one capture has its experts in sets by modality and the other has not"
    first = captures[0]
    sites, groups = list(all_sites(first)), list(groups_with_tokens(first))
    for capture, name in zip(captures[1:], called[1:], strict=True):
        _check_blocks(first, capture, called[0], name)
        sites = _common_sites(sites, first, capture, called[0], name, kind, common)
        groups = _common_groups(groups, capture, called[0], name)
        _check_tokenizers(first, capture, called[0], name)
        if capture.manifest.grouped_by != first.manifest.grouped_by:
            notes.append(
                f"groups are by {first.manifest.grouped_by} in {called[0]} and by {capture.manifest.grouped_by} in {name}"
            )
    for site in sites:
        chosen = {capture.site(site).top_k for capture in captures}
        if len(chosen) > 1:
            notes.append(
                f"a token chooses {' or '.join(map(str, sorted(chosen)))} experts, so gate and load spread differently"
            )
            break
    if common and len(sites) < max(len(capture.sites) for capture in captures):
        notes.append(f"only the {len(sites)} sites that all have")
    left = [group for capture in captures for group in groups_with_tokens(capture) if group not in groups]
    if left:
        notes.append(f"groups that not all have are left out ({', '.join(dict.fromkeys(left))})")
    paired = tuple(_same_documents(first, capture, sites, groups) for capture in captures[1:])
    return Alignment(tuple(captures), called, tuple(sites), tuple(groups), kind, paired, reason, tuple(notes))


def likely_lineage(captures: Sequence[Capture]) -> Lineage:
    """ "same" where all captures name the same model and none is untrained: what a reader should confirm."""
    models = {capture.manifest.model.id for capture in captures}
    fresh = {flag.kind == UNTRAINED_FLAG for capture in captures for flag in capture.manifest.flags}
    return "same" if len(models) == 1 and True not in fresh else "apart"


def lineage_reason(captures: Sequence[Capture], names: Sequence[str], lineage: Lineage) -> str:
    """Why expert numbers mean the same, or not, in half a sentence that follows "because"."""
    if lineage != likely_lineage(captures):
        return "this was chosen so"
    if lineage == "same":
        return "the captures name the same model"
    fresh = [any(flag.kind == UNTRAINED_FLAG for flag in capture.manifest.flags) for capture in captures]
    models = list(dict.fromkeys(capture.manifest.model.id for capture in captures))
    if len(models) > 1:
        return f"the captures are of different models ({', '.join(models)})"
    if all(fresh):
        return f"all are of untrained weights of {models[0]}, and each draw of weights numbers its experts anew"
    who = [name for name, untrained in zip(names, fresh, strict=True) if untrained]
    are = "is the same model" if len(who) == 1 else "are the same model"
    return f"{' and '.join(who)} {are} with untrained weights, so no expert there is one of the trained model's"


def shape_difference(site: Site, twin: Site, fields: Sequence[str], here: str, there: str) -> str | None:
    """What differs between two sites of one name, in words, or None."""
    for field in fields:
        mine, other = getattr(site, field), getattr(twin, field)
        if mine != other:
            return f"Site {site.id} has {mine} {field.replace('_', ' ')} in {here} and {other} in {there}"
    return None


def _same_sites(captures: Sequence[Capture]) -> bool:
    return len({tuple(site.id for site in capture.sites) for capture in captures}) == 1


def _check_blocks(first: Capture, capture: Capture, here: str, there: str) -> None:
    if first.manifest.blocks != capture.manifest.blocks:
        raise CaptureError(
            f"{here} divides documents into {first.manifest.blocks} blocks and {there} into {capture.manifest.blocks}, so their noise cannot be "
            "told: record both with one version."
        )


def _common_sites(
    sites: list[str], first: Capture, capture: Capture, here: str, there: str, lineage: Lineage, common: bool
) -> list[str]:
    known = {site.id: site for site in capture.sites}
    both = [site for site in sites if site in known]
    if not both:
        raise CaptureError(
            f"{here} and {there} have no layer in common ({sites[0]} …, {next(iter(known), 'none')} …), so nothing lines up: choose captures of models of one shape."
        )
    if len(both) < max(len(sites), len(known)) and not common:
        raise CaptureError(
            f"{here} has {len(sites)} sets of experts and {there} has {len(known)}, {len(both)} of them in common: compare the common ones only "
            "(--common), or choose captures of models of one shape."
        )
    fields = ("experts", "identity_experts") if lineage == "same" else ()
    for site in both:
        differs = shape_difference(first.site(site), known[site], fields, here, there)
        if differs:
            raise CaptureError(
                f"{differs}, so expert numbers do not line up: compare captures of one shape, or compare them as trained apart."
            )
    return both


def _common_groups(groups: list[str], capture: Capture, here: str, there: str) -> list[str]:
    theirs = groups_with_tokens(capture)
    both = [group for group in groups if group in theirs]
    if not both:
        raise CaptureError(
            f"{here} and {there} have no group in common ({', '.join(groups[:4])}; {', '.join(theirs[:4])}): record both with the same --group-by."
        )
    return both


def _check_tokenizers(first: Capture, capture: Capture, here: str, there: str) -> None:
    """Refuse captures in which one token id stands for two pieces, where both kept pieces."""
    for stack in first.stacks:
        mine, theirs = _pieces(first, stack), _pieces(capture, stack)
        shared = mine.keys() & theirs.keys()
        wrong = [token for token in shared if mine[token] != theirs[token]]
        # A byte-level piece may differ by its context; another tokenizer differs nearly everywhere.
        if len(wrong) > 0.05 * len(shared):
            token = min(wrong)
            raise CaptureError(
                f"{here} and {there} were cut by different tokenizers (token {token} is '{mine[token]}' in one and '{theirs[token]}' in the other), so "
                "their tokens cannot be compared: record both with one tokenizer."
            )


def _pieces(capture: Capture, stack: str) -> dict[int, str]:
    """Token id -> its piece, as far as rows were kept with text."""
    if not capture.has("tokens") or stack not in capture.manifest.sampling:
        return {}
    try:
        table = capture.read_tokens(stack, ["token_id", "piece"])
    except (CaptureError, KeyError):
        return {}
    ids, pieces = (table.column(name) for name in ("token_id", "piece"))
    found = dict(zip(ids.to_pylist(), pieces.to_pylist(), strict=True))
    return {token: piece for token, piece in found.items() if token is not None and token >= 0 and piece is not None}


def _same_documents(first: Capture, capture: Capture, sites: Sequence[str], groups: Sequence[str]) -> bool:
    """Whether both read the same documents: by their names where rows are kept, and by tokens of every block and group.

    A site that saw nothing in one of them says nothing about it: a sub-model leaves whole layers out.
    """
    tables = []
    for one in (first, capture):
        at = [one.site_index(site) for site in sites]
        of = [one.group_index(group) for group in groups]
        tables.append(one.table("tokens").values[:, at].sum(axis=2)[:, :, of])
    ran = np.logical_and(*((table > 0).any(axis=(0, 2)) for table in tables))
    if not ran.any() or not np.array_equal(*(table[:, ran] for table in tables)):
        return False
    if not (first.has("tokens") and capture.has("tokens")):
        return True
    stacks = [stack for stack in first.manifest.sampling if stack in capture.manifest.sampling]
    return all(set(read_rows(first, stack).names) == set(read_rows(capture, stack).names) for stack in stacks)
