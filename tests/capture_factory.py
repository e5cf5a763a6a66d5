"""Synthetic captures for tests: a chosen routing distribution, sampled token by token, so that every stream agrees.

Each token draws its top-k experts by the Gumbel trick from its group's logits at the site; counts, gate weights,
co-activation and token rows all come from these same draws, and the result passes `Capture.validate()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.capture import DEFAULT_GROUPS, Capture, Group, Manifest, ModelInfo, Sampling, Site
from workbench.capture.blocks import block_of
from workbench.capture.schema import BLOCKS, PHASES

WORDS = ("the", "router", "sends", "each", "token", "to", "a", "few", "experts", "and", "adds", "what", "they", "say")
TOKENS_PER_DOCUMENT = 50
DECODE_SHARE = 0.2  # the last part of every document counts as written in decode steps


def make_sites(
    number: int,
    experts: int = 16,
    top_k: int = 2,
    *,
    stack: str = "text",
    part: str = "mlp",
    first_layer: int = 0,
    identity_experts: int = 0,
) -> tuple[Site, ...]:
    """`number` like sites of one stack, layers counted from `first_layer`."""
    return tuple(
        Site(
            id=f"{stack}_{layer}_{part}",
            stack=stack,
            layer=layer,
            part=part,
            module=f"model.{stack}.layers.{layer}.{part}",
            experts=experts,
            top_k=top_k,
            identity_experts=identity_experts,
        )
        for layer in range(first_layer, first_layer + number)
    )


def make_groups(groups: int | Sequence[str | Group]) -> tuple[Group, ...]:
    """The first of the six default groups, further ones named "group 7" and so on; or groups of the given names."""
    if isinstance(groups, int):
        more = tuple(Group(name=f"group {index + 1}") for index in range(len(DEFAULT_GROUPS), groups))
        return (DEFAULT_GROUPS[:groups] + more)[:groups]
    return tuple(group if isinstance(group, Group) else Group(name=group) for group in groups)


def make_logits(sites: int, groups: int, experts: int, seed: int = 0, spread: float = 1.5) -> np.ndarray:
    """float64 [S, G, E]: a pattern shared by all groups, plus one of each group's own; larger `spread`, less balance."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(sites, 1, experts))
    own = random.normal(size=(sites, groups, experts))
    strength = spread * (0.4 + 0.6 * np.linspace(0, 1, max(groups, 1)))[None, :, None]
    return (0.5 * shared + own) * strength


def make_capture(
    sites: int | Sequence[Site] = 4,
    experts: int = 16,
    groups: int | Sequence[str | Group] = 4,
    tokens_per_group: int | Sequence[int] = 200,
    top_k: int = 2,
    token_rows: bool = True,
    seed: int = 0,
    *,
    logits: np.ndarray | None = None,
    coactivation: bool = True,
    dropped_share: float = 0.0,
    blocks: int = BLOCKS,
    model_id: str = "synthetic/moe",
    grouped_by: str = "modality and role",
    **manifest_fields: Any,
) -> Capture:
    """A consistent synthetic capture.

    Args:
        sites: number of sites of one stack "text" with `experts` and `top_k`, or the sites themselves (then those two are
            ignored; sites of one stack see the same tokens).
        groups: number (default groups first), or names, or Group objects.
        tokens_per_group: one number for every group, or a number for each; 0 makes an empty group.
        token_rows: whether to keep a row a token with pieces, offsets, experts and gate weights.
        logits: [S, G, E] the routing distribution before top-k; default `make_logits`. -inf: never chosen.
        dropped_share: part of the choices that a capacity limit drops (row value -1, counted in "dropped").
        manifest_fields: further fields of the manifest, for example `flags` or `notes`.
    """
    all_sites = make_sites(sites, experts, top_k) if isinstance(sites, int) else tuple(sites)
    all_groups = make_groups(groups)
    numbers = [tokens_per_group] * len(all_groups) if isinstance(tokens_per_group, int) else list(tokens_per_group)
    if len(numbers) != len(all_groups):
        raise ValueError(f"tokens_per_group needs {len(all_groups)} numbers, got {len(numbers)}")
    widest = max(site.experts for site in all_sites)
    if logits is None:
        logits = make_logits(len(all_sites), len(all_groups), widest, seed)
    random = np.random.default_rng(seed + 1)

    group = np.repeat(np.arange(len(all_groups)), numbers)  # [T], the group of each token
    position = np.concatenate([np.arange(n) % TOKENS_PER_DOCUMENT for n in numbers] or [np.zeros(0, int)]).astype(
        np.int64
    )
    number_in_group = np.concatenate([np.arange(n) // TOKENS_PER_DOCUMENT for n in numbers] or [np.zeros(0, int)])
    document = np.array(
        [f"{all_groups[g].name}-{d}" for g, d in zip(group, number_in_group, strict=True)], dtype=object
    )
    names = sorted(set(document))
    block_by_name = {name: block_of(str(name), blocks) for name in names}
    block = np.array([block_by_name[name] for name in document], dtype=np.int64)
    phase = (position >= TOKENS_PER_DOCUMENT * (1 - DECODE_SHARE)).astype(np.int64)

    shape = (blocks, len(all_sites), len(PHASES), len(all_groups))
    load = {
        "count": np.zeros((*shape, widest), dtype=np.int64),
        "mass": np.zeros((*shape, widest), dtype=np.float64),
        "tokens": np.zeros(shape, dtype=np.int64),
        "dropped": np.zeros(shape, dtype=np.int64),
        "skipped": np.zeros(shape, dtype=np.int64),
    }
    square = np.zeros((len(all_sites), widest, widest), dtype=np.int64) if coactivation else None
    chosen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for index, site in enumerate(all_sites):
        ids, weights = _route(logits[index, :, : site.experts], group, site.top_k, random)
        if dropped_share:
            lost = random.random(ids.shape) < dropped_share
            ids = np.where(lost, -1, ids)
            weights = np.where(lost, 0.0, weights)
            np.add.at(load["dropped"], (block, index, phase, group), lost.sum(axis=1))
        np.add.at(load["tokens"], (block, index, phase, group), 1)
        for rank in range(site.top_k):
            kept = ids[:, rank] >= 0
            where = (block[kept], index, phase[kept], group[kept], ids[kept, rank])
            np.add.at(load["count"], where, 1)
            np.add.at(load["mass"], where, weights[kept, rank])
        if square is not None:
            onehot = np.zeros((len(group), site.experts), dtype=np.float32)
            for rank in range(site.top_k):
                kept = ids[:, rank] >= 0
                onehot[np.flatnonzero(kept), ids[kept, rank]] = 1
            square[index, : site.experts, : site.experts] = (onehot.T @ onehot).astype(np.int64)
        if token_rows:
            chosen[site.id] = (ids, weights)

    stacks = tuple(dict.fromkeys(site.stack for site in all_sites))
    streams = ["load"] + (["coactivation"] if coactivation else []) + (["tokens"] if token_rows else [])
    rows = None
    if token_rows:
        rows = {
            stack: _rows(
                document,
                position,
                group,
                phase,
                all_groups,
                {site.id: chosen[site.id] for site in all_sites if site.stack == stack},
            )
            for stack in stacks
        }
    fields: dict[str, Any] = {
        "created": "2026-01-01T00:00:00+00:00",
        "model": ModelInfo(id=model_id, family="synthetic", dtype="float32", device="cpu"),
        "sites": all_sites,
        "groups": all_groups,
        "grouped_by": grouped_by,
        "blocks": blocks,
        "documents": len(names),
        "tokens": {stack: {g.name: n for g, n in zip(all_groups, numbers, strict=True)} for stack in stacks},
        "sampling": {
            stack: Sampling(kept=len(group), seen=len(group), documents_kept=len(names), documents_seen=len(names))
            for stack in stacks
        }
        if token_rows
        else {},
        "streams": tuple(streams),
    }
    return Capture(Manifest(**(fields | manifest_fields)), load, coactivation=square, tokens=rows)


def _route(
    logits: np.ndarray, group: np.ndarray, top_k: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Experts int64 [T, K], highest gate weight first, and gate weights float64 [T, K] that sum to 1."""
    ids = np.zeros((len(group), top_k), dtype=np.int64)
    weights = np.zeros((len(group), top_k), dtype=np.float64)
    for index in range(logits.shape[0]):
        rows = np.flatnonzero(group == index)
        for part in np.array_split(rows, max(1, len(rows) * logits.shape[1] // 2_000_000)):  # bounds the memory
            uniform = random.random((len(part), logits.shape[1]), dtype=np.float32)
            score = logits[index].astype(np.float32) - np.log(-np.log(np.clip(uniform, 1e-7, 1 - 1e-7)))
            top = np.argpartition(-score, top_k - 1, axis=1)[:, :top_k]
            value = np.take_along_axis(score, top, axis=1)
            order = np.argsort(-value, axis=1)
            top, value = np.take_along_axis(top, order, axis=1), np.take_along_axis(value, order, axis=1)
            gate = np.exp(value - value[:, :1])
            ids[part], weights[part] = top, gate / gate.sum(axis=1, keepdims=True)
    return ids, weights.astype(np.float16).astype(np.float64)  # as exact as the rows keep them, so that sums agree


def _rows(
    document: np.ndarray,
    position: np.ndarray,
    group: np.ndarray,
    phase: np.ndarray,
    groups: Sequence[Group],
    chosen: dict[str, tuple[np.ndarray, np.ndarray]],
) -> Any:
    import pyarrow as pa

    token_id = (position * 7 + group * 3) % len(WORDS)
    piece = [("" if p == 0 else " ") + WORDS[t] for p, t in zip(position, token_id, strict=True)]
    start = np.zeros(len(position), dtype=np.int64)
    length = np.array([len(text) for text in piece], dtype=np.int64)
    for index in range(1, len(position)):
        start[index] = 0 if position[index] == 0 else start[index - 1] + length[index - 1]
    columns: dict[str, Any] = {
        "document": pa.array(document.tolist(), pa.string()),
        "position": pa.array(position, pa.int32()),
        "token_id": pa.array(token_id, pa.int32()),
        "piece": pa.array(piece, pa.string()),
        "start": pa.array(start, pa.int32()),
        "end": pa.array(start + length, pa.int32()),
        "modality": pa.array([groups[g].modality for g in group], pa.string()),
        "role": pa.array([groups[g].role for g in group], pa.string()),
        "phase": pa.array([PHASES[p] for p in phase], pa.string()),
        "group": pa.array([groups[g].name for g in group], pa.string()),
    }
    for site_id, (ids, weights) in chosen.items():
        columns[f"experts_{site_id}"] = pa.array(list(ids.astype(np.int16)), pa.list_(pa.int16()))
        columns[f"weights_{site_id}"] = pa.array(list(weights.astype(np.float16)), pa.list_(pa.float16()))
    return pa.table(columns)
