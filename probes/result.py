"""From the tables of a collector to a capture, with the checks by which the probe proves its own record."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from probes.collector import Collector
from probes.errors import ProbeError
from probes.modality import configurations
from probes.tally import Tally
from workbench.capture import Capture, Check, Flag, Group, Manifest, ModelInfo, Site
from workbench.capture.schema import BLOCKS, LOAD_DTYPES, PHASES, UNKNOWN_GROUP

SUM_TOLERANCE = 1e-3  # of the promised sum, float32 weights
HALF_TOLERANCE = 2e-2  # float16 and bfloat16 weights: k roundings of 2^-8


def build_capture(
    model: nn.Module,
    collector: Collector,
    *,
    piece_of: Callable[[np.ndarray, np.ndarray], list[str | None]] | None,
    failures: Mapping[int, str],
    recomputed: set[int],
    unread_masks: int,
    model_id: str | None,
    licence: str,
    notes: str,
    grouped_by: str | None,
) -> Capture:
    """Copy the counts to the host, check them, and put the capture together.

    Args:
        failures: site number -> what its experts received that the record does not say.
        recomputed: sites whose router was run again because a fused kernel hid it.
        unread_masks: calls whose attention mask says nothing of padding.

    Raises:
        ProbeError: naming the site of the first failed check.
    """
    sites = tuple(
        found.site.model_copy(update={"top_k": top_k})
        for found, top_k in zip(collector.sites, collector.top_k, strict=True)
    )
    checks = run_checks(collector, sites, failures)
    failed = next((check for check in checks if not check.passed), None)
    if failed is not None:
        raise ProbeError(
            f"The record of site {failed.site} failed its check '{failed.name}' ({failed.detail}): it is not kept."
        )

    groups, order = _groups(collector)
    load, coactivation = _tables(collector, sites, order)
    settings = collector.settings
    flags = _flags(collector, sites, recomputed, unread_masks)
    tokens, sampling = None, {}
    streams = ["load"]
    if coactivation is not None:
        streams.append("coactivation")
    if settings.tokens:
        streams.append("tokens")
        tokens = {}
        for stack, name in enumerate(collector.stacks):
            columns = {number: (site.id, site.experts) for number, site in enumerate(sites) if site.stack == name}
            rows = collector.rows[stack]
            late = collector.late.values() if settings.loss else None
            names = collector.groups.names
            tokens[name] = rows.table(columns, names, piece_of, settings.scores, settings.predicted, late)
            sampling[name] = rows.sampling
    named = _named_by_default(collector)
    manifest = Manifest(
        created=datetime.datetime.now(datetime.UTC).astimezone().isoformat(timespec="seconds"),
        model=model_info(model, collector, model_id),
        sites=sites,
        groups=groups,
        grouped_by=grouped_by or ("modality and role" if named else "given by the caller"),
        phases=PHASES,
        blocks=BLOCKS,
        documents=len(collector.documents),
        tokens={
            name: {
                group.name: collector.counts[stack].by_group.get(index, 0)
                for group, index in zip(groups, order, strict=True)
            }
            for stack, name in enumerate(collector.stacks)
        },
        excluded={name: dict(collector.counts[stack].excluded) for stack, name in enumerate(collector.stacks)},
        sampling=sampling,
        streams=tuple(streams),
        checks=tuple(checks),
        flags=tuple(flags),
        software=software(),
        licence=licence,
        notes=notes,
    )
    return Capture(manifest, load, coactivation=coactivation, tokens=tokens)


def _flags(collector: Collector, sites: tuple[Site, ...], recomputed: set[int], unread_masks: int) -> list[Flag]:
    """What a reader of the capture has to know: defects of the model's code, and what the probe could not see or keep."""
    flags = [
        Flag(kind=kind, detail=detail, site=site.site.id)
        for site in collector.sites
        for kind, detail in site.facts.flags
    ]
    hidden = "a fused kernel hid the choice, so the router was run again"
    flags += [Flag(kind="recomputed", detail=hidden, site=sites[number].id) for number in sorted(recomputed)]
    for number, site in enumerate(sites):
        calls = collector.counts[collector.stacks.index(site.stack)].calls
        left_out = collector.left_out[number]
        if left_out:
            detail = f"a sub-model had left out its layer in {left_out} of {calls} calls of its stack"
            flags.append(Flag(kind="layer_left_out", detail=detail, site=site.id))
        if collector.sites[number].facts.split is None and 0 < collector.fired[number] < calls - left_out:
            detail = (
                f"ran in {collector.fired[number]} of {calls} calls of its stack (a layer that is dropped at times)"
            )
            flags.append(Flag(kind="not_every_call", detail=detail, site=site.id))
    if unread_masks:
        detail = (
            f"the attention mask of {unread_masks} calls is of a form that does not tell padding, so none was left out"
        )
        flags.append(Flag(kind="padding_unknown", detail=detail))
    if collector.settings.coactivation and not collector.coactivation:
        detail = "pairs of experts were not counted: their table would be larger than 1 GiB"
        flags.append(Flag(kind="no_coactivation", detail=detail))
    cut = sum(rows.cut for rows in collector.rows)
    if cut:
        detail = f"one document is longer than max_tokens, and {cut} of its token rows were not kept"
        flags.append(Flag(kind="document_cut", detail=detail))
    return flags


# ---------------------------------------------------------------------- checks
def run_checks(collector: Collector, sites: tuple[Site, ...], failures: Mapping[int, str]) -> list[Check]:
    """Every check of every site, one entry for each that passed everywhere, one for each site that failed.

    Checked: every site of a stack that ran has fired; routed + dropped + skipped = tokens x top-k; ids distinct and in
    range; gate weights finite and adding up to what the score function promises; repeated choices as executed.
    """
    names = (
        "every site fired",
        "ids in range",
        "routed + dropped + skipped = tokens x top-k",
        "ids of a token distinct",
        "gate weights as promised",
        "repeated choices as executed",
    )
    faults: dict[str, list[Check]] = {name: [] for name in names}

    def fail(name: str, number: int, detail: str) -> None:
        faults[name].append(Check(name=name, passed=False, detail=detail, site=sites[number].id))

    for number, site in enumerate(sites):
        ran = collector.counts[collector.stacks.index(site.stack)].calls
        # A half of a split block (ERNIE 4.5 VL's vision experts) stays silent where no token is meant for it.
        # A layer that a sub-model leaves out is not expected to run.
        expected = ran - collector.left_out[number]
        if expected > 0 and not collector.fired[number] and collector.sites[number].facts.split is None:
            fail(names[0], number, f"it never ran in {ran} forward passes of {site.stack}")
    for tally in collector.tallies:
        _check_tally(collector, tally, fail, names)
    for number, detail in failures.items():
        fail(names[5], number, detail)
    silent = [name for stack, name in enumerate(collector.stacks) if not collector.counts[stack].calls]
    checks = []
    for name in names:
        detail = f"{', '.join(silent)} did not run" if silent and name == names[0] else ""
        checks += faults[name] or [Check(name=name, passed=True, detail=detail)]
    return checks


def _check_tally(
    collector: Collector, tally: Tally, fail: Callable[[str, int, str], None], names: tuple[str, ...]
) -> None:
    seen = tally.extremes
    routed = sum(table.sum(dim=(1, 2)) for table in tally.count.values())
    lost = sum(table.sum(dim=1) for part in (tally.dropped, tally.skipped) for table in part.values())
    tokens = sum(table.sum(dim=1) for table in tally.tokens.values())
    tolerance = HALF_TOLERANCE if tally.half else SUM_TOLERANCE
    for row, number in enumerate(tally.sites):
        facts = collector.sites[number].facts
        if not isinstance(tokens, torch.Tensor) or not int(tokens[row]):
            continue
        total = int(_entry(routed, row)) + int(_entry(lost, row))
        if total != int(tokens[row]) * tally.top_k:
            fail(names[2], number, f"{total} choices of {int(tokens[row])} tokens, each of which has {tally.top_k}")
        lowest = -2 if facts.may_lose else 0
        if float(seen.id_low[row]) < lowest or float(seen.id_high[row]) >= tally.experts:
            fail(
                names[1],
                number,
                f"ids from {float(seen.id_low[row]):.0f} to {float(seen.id_high[row]):.0f} of {tally.experts} experts",
            )
        if float(seen.repeated[row]):
            fail(names[3], number, f"{float(seen.repeated[row]):.0f} tokens chose an expert twice")
        low, high, least = float(seen.sum_low[row]), float(seen.sum_high[row]), float(seen.weight_low[row])
        promise = facts.promise
        if not np.isfinite(high) and not (facts.may_lose and high == -np.inf):
            fail(names[4], number, "a gate weight is not a finite number")
        elif promise.total is not None and low <= high:
            allowed = tolerance * max(abs(promise.total), 1e-6)
            if abs(low - promise.total) > allowed or abs(high - promise.total) > allowed:
                fail(
                    names[4],
                    number,
                    f"a token's weights add up to between {low:.4g} and {high:.4g}, not to {promise.total:g}",
                )
        elif promise.at_most is not None and high > promise.at_most * (1 + tolerance):
            fail(names[4], number, f"a token's weights add up to {high:.4g}, more than {promise.at_most:g}")
        elif not promise.signed and least < -tolerance:
            fail(names[4], number, f"a gate weight is {least:.4g}, less than 0")


def _entry(total: torch.Tensor | int, row: int) -> torch.Tensor | int:
    return total if isinstance(total, int) else total[row]


# ---------------------------------------------------------------------- tables
def _named_by_default(collector: Collector) -> bool:
    return UNKNOWN_GROUP in collector.groups.names[:7] and len(collector.groups.names) == 7


def _groups(collector: Collector) -> tuple[tuple[Group, ...], list[int]]:
    """Groups of the capture and their numbers in the collector; "unknown" only where a token fell into it."""
    counted = {index for count in collector.counts for index, number in count.by_group.items() if number}
    records = collector.groups.records()
    order = [index for index, group in enumerate(records) if group.name != UNKNOWN_GROUP or index in counted]
    return tuple(records[index] for index in order), order


def _tables(
    collector: Collector, sites: tuple[Site, ...], order: list[int]
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The additive tables [Bk, S, P, G, (E)] and the co-activation [S, E, E] of all tallies."""
    widest = max(site.experts for site in sites)
    shape = (BLOCKS, len(sites), len(PHASES), len(order))
    load = {
        name: np.zeros((*shape, widest) if name in ("count", "mass") else shape, LOAD_DTYPES[name])
        for name in LOAD_DTYPES
    }
    square = np.zeros((len(sites), widest, widest), np.int64) if collector.coactivation else None
    for tally in collector.tallies:
        for name in load:
            for pair, table in getattr(tally, name).items():
                block, phase = divmod(pair, len(PHASES))
                values = table.cpu().numpy()
                for place, index in enumerate(order):
                    if index < values.shape[1]:
                        for row, number in enumerate(tally.sites):
                            part = values[row, index]
                            if name in ("count", "mass"):
                                load[name][block, number, phase, place, : tally.experts] += part
                            else:
                                load[name][block, number, phase, place] += part
        if square is not None and tally.together is not None:
            together = tally.together.cpu().numpy()
            for row, number in enumerate(tally.sites):
                square[number, : tally.experts, : tally.experts] += together[row]
    if square is not None:
        diagonal = np.arange(widest)
        square[:, diagonal, diagonal] = load["count"].sum(axis=(0, 2, 3))
    return load, square


# ---------------------------------------------------------------------- what was watched, and with what
def model_info(model: nn.Module, collector: Collector, model_id: str | None) -> ModelInfo:
    """The model in the words of its own configuration; its name never a path."""
    config = getattr(model, "config", None)
    parameters = list(model.parameters())
    devices = {str(parameter.device) for parameter in parameters}
    promises = [site.facts.promise for site in collector.sites]
    return ModelInfo(
        id=model_id or _name(config, model),
        revision=getattr(config, "_commit_hash", None),
        family=str(getattr(config, "model_type", None) or type(model).__name__),
        architecture=type(model).__name__,
        dtype=str(getattr(model, "dtype", parameters[0].dtype if parameters else "unknown")).removeprefix("torch."),
        device=", ".join(sorted(devices)) or "unknown",
        parameters=sum(parameter.numel() for parameter in parameters),
        shared_experts=_shared_experts(config),
        score_function=_joined(promise.score for promise in promises),
        weight_normalisation=_joined(promise.rule for promise in promises),
    )


def _name(config: Any, model: nn.Module) -> str:
    stated = str(getattr(config, "_name_or_path", "") or "")
    if not stated:
        return type(model).__name__
    path = PurePath(stated)
    is_path = path.is_absolute() or stated.startswith((".", "~")) or len(path.parts) > 2
    return path.name if is_path else stated


def _shared_experts(config: Any) -> int | None:
    for part in configurations(config):
        for name in ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"):
            value = getattr(part, name, None)
            if isinstance(value, int):
                return value
        if getattr(part, "shared_expert_intermediate_size", None) or getattr(part, "shared_intermediate_size", None):
            return 1
    return None


def _joined(words: Any) -> str | None:
    found = list(dict.fromkeys(word for word in words if word))
    return "; ".join(found) if found else None


def software() -> dict[str, str]:
    """Versions that a reader needs to repeat the capture."""
    found = {"python": platform.python_version()}
    for package in ("torch", "transformers", "unified-workbench"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
