"""Additive tables of a set of sites with the same number of experts and choices, kept on the device that runs them.

Letters: S sites, N tokens, K choices, E experts, G groups, C cells (a cell is a block, a phase and a group), R block-phase pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probes.adapter_base import DROPPED, SKIPPED

# Measured on one core of a Xeon: an entry of a pair histogram against a multiply-add of an indicator product (benchmarks/).
PAIR_COST = 5.0
PRODUCT_COST = 0.06


def histogram(index: Tensor, size: int, weights: Tensor | None = None) -> Tensor:
    """How often (int64), or with what weight (float64), each of `size` numbers occurs in `index`.

    On a CUDA device a scatter replaces bincount, which would wait for the device to learn the largest index.
    """
    index = index.reshape(-1)
    if weights is not None:
        weights = weights.reshape(-1).double()
    if index.device.type == "cpu":
        return torch.bincount(index, weights=weights, minlength=size)
    if weights is None:
        one = torch.ones(1, dtype=torch.int64, device=index.device).expand_as(index)
        return torch.zeros(size, dtype=torch.int64, device=index.device).scatter_add_(0, index, one)
    return torch.zeros(size, dtype=torch.float64, device=index.device).scatter_add_(0, index, weights)


def pairs_by_histogram(ids: Tensor, experts: int) -> Tensor:
    """int64 [S, E, E]: how often two choices of a token were these two experts, in either order; ids [S, N, K] >= 0.

    The diagonal counts a token that chose an expert twice, which no router should do.
    """
    sites = ids.shape[0]
    base = (torch.arange(sites, device=ids.device) * experts * experts).view(-1, 1, 1)
    total = torch.zeros(sites * experts * experts, dtype=torch.int64, device=ids.device)
    rows = ids * experts + base
    for apart in range(1, ids.shape[2]):
        total += histogram(rows[:, :, :-apart] + ids[:, :, apart:], total.numel())
    square = total.view(sites, experts, experts)
    twice = torch.diagonal(square, dim1=1, dim2=2).clone()
    square = square + square.transpose(1, 2)
    torch.diagonal(square, dim1=1, dim2=2).copy_(twice)
    return square


def pairs_by_product(ids: Tensor, experts: int) -> Tensor:
    """The same as `pairs_by_histogram`, by a product of indicator matrices."""
    sites, tokens, _ = ids.shape
    total = torch.zeros(sites, experts, experts, dtype=torch.int64, device=ids.device)
    twice = torch.zeros(sites, experts, dtype=torch.int64, device=ids.device)
    step = max(1, min(2**22, 2**26 // (sites * experts)))  # float32 counts exactly up to 2^24
    for start in range(0, tokens, step):
        part = ids[:, start : start + step]
        chosen = torch.zeros(sites, part.shape[1], experts, dtype=torch.float32, device=ids.device)
        chosen.scatter_add_(2, part, torch.ones_like(part, dtype=torch.float32))
        twice += (chosen * (chosen - 1) / 2).sum(dim=1).long()
        chosen.clamp_(max=1)
        total += (chosen.transpose(1, 2) @ chosen).long()
    torch.diagonal(total, dim1=1, dim2=2).copy_(twice)
    return total


def pairs(ids: Tensor, experts: int) -> Tensor:
    """Co-chosen pairs by the cheaper of the two ways on the CPU; by the product on a GPU, where it is always cheap."""
    choices = ids.shape[2]
    by_histogram = PAIR_COST * choices * (choices - 1) / 2
    if ids.device.type == "cpu" and by_histogram < PRODUCT_COST * experts * experts:
        return pairs_by_histogram(ids, experts)
    return pairs_by_product(ids, experts)


@dataclass
class Extremes:
    """Smallest and largest values seen at each site [S], for the checks at the end."""

    id_low: Tensor
    id_high: Tensor
    sum_low: Tensor
    sum_high: Tensor
    weight_low: Tensor
    repeated: Tensor

    @classmethod
    def empty(cls, sites: int, device: torch.device) -> Extremes:
        def filled(value: float) -> Tensor:
            return torch.full((sites,), value, dtype=torch.float64, device=device)

        return cls(
            filled(torch.inf), filled(-torch.inf), filled(torch.inf), filled(-torch.inf), filled(torch.inf), filled(0)
        )


class Tally:
    """Counts of the sites `sites` (numbers in the capture) that share experts, choices and device."""

    def __init__(
        self, sites: tuple[int, ...], experts: int, top_k: int, device: torch.device, coactivation: bool
    ) -> None:
        self.sites = sites
        self.experts = experts
        self.top_k = top_k
        self.device = device
        self.extremes = Extremes.empty(len(sites), device)
        self.half = False  # some weight was stored in 16 bits
        # Keyed by block-phase number: int64 and float64 [S, G, E], and int64 [S, G].
        self.count: dict[int, Tensor] = {}
        self.mass: dict[int, Tensor] = {}
        self.tokens: dict[int, Tensor] = {}
        self.dropped: dict[int, Tensor] = {}
        self.skipped: dict[int, Tensor] = {}
        shape = (len(sites), experts, experts)
        self.together = torch.zeros(shape, dtype=torch.int64, device=device) if coactivation else None

    def add(
        self, rows: Tensor, ids: Tensor, weights: Tensor, cells: Tensor, pairs_of: list[int], groups: int, lossy: bool
    ) -> None:
        """Count the choices of some of the sites.

        Args:
            rows: int64 [S'], which of `sites` these are.
            ids, weights: [S', N, K].
            cells: int64 [N], number of the block-phase pair in `pairs_of` times `groups` plus the group.
            pairs_of: block-phase numbers.
            groups: G.
            lossy: whether ids may be DROPPED or SKIPPED.
        """
        sites, tokens, choices = ids.shape
        if tokens == 0:
            return
        many = len(pairs_of) * groups
        self.half = self.half or weights.element_size() < 4
        ids = ids.long()
        self._watch(rows, ids, weights, lossy)
        valid = ids
        if lossy:
            lost = ids < 0
            weights = weights.masked_fill(lost, 0)
            # Lost choices go to an extra expert that is cut off again below.
            valid = torch.where(lost, self.experts, ids)
        valid = valid.clamp(0, self.experts)  # an id out of range fails its check at the end; here it must not crash
        width = self.experts + 1
        base = (torch.arange(sites, device=ids.device).view(-1, 1) * many + cells).unsqueeze(-1) * width
        index = base + valid
        shape = (sites, len(pairs_of), groups, width)
        count = histogram(index, sites * many * width).view(shape)[..., : self.experts]
        mass = histogram(index, sites * many * width, weights).view(shape)[..., : self.experts]
        seen = histogram(cells, many).view(1, len(pairs_of), groups).expand(sites, -1, -1)
        self._sum(self.count, rows, pairs_of, count)
        self._sum(self.mass, rows, pairs_of, mass)
        self._sum(self.tokens, rows, pairs_of, seen)
        if lossy:
            flat = torch.arange(sites, device=ids.device).view(-1, 1) * many + cells
            for table, code in ((self.dropped, DROPPED), (self.skipped, SKIPPED)):
                lost_here = (ids == code).sum(dim=-1)
                found = histogram(flat, sites * many, lost_here).long().view(shape[:3])
                self._sum(table, rows, pairs_of, found)
        if choices > 1:
            self._add_pairs(rows, valid, lossy)

    def _add_pairs(self, rows: Tensor, valid: Tensor, lossy: bool) -> None:
        experts = self.experts + int(lossy)  # lost choices pair in the extra row, which is cut off
        if self.together is None:
            ordered = valid.sort(dim=-1).values
            same = (ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] < self.experts)
            self.extremes.repeated.index_add_(0, rows, same.sum(dim=(1, 2)).double())
            return
        square = pairs(valid.clamp(max=experts - 1), experts)[:, : self.experts, : self.experts].contiguous()
        diagonal = torch.diagonal(square, dim1=1, dim2=2)
        self.extremes.repeated.index_add_(0, rows, diagonal.sum(dim=1).double())
        diagonal.zero_()
        self.together.index_add_(0, rows, square)

    def _watch(self, rows: Tensor, ids: Tensor, weights: Tensor, lossy: bool) -> None:
        seen = self.extremes
        sums = weights.sum(dim=-1, dtype=torch.float32).double()
        low, high = sums, sums
        if lossy:  # a token that lost a choice promises nothing about its sum
            whole = (ids >= 0).all(dim=-1)
            low = sums.masked_fill(~whole, torch.inf)
            high = sums.masked_fill(~whole, -torch.inf)
        for total, found in (
            (seen.sum_low, _lowest(low)),
            (seen.weight_low, weights.amin(dim=(1, 2)).double()),
            (seen.id_low, ids.amin(dim=(1, 2)).double()),
        ):
            total[rows] = torch.minimum(total[rows], found)
        for total, found in ((seen.sum_high, _highest(high)), (seen.id_high, ids.amax(dim=(1, 2)).double())):
            total[rows] = torch.maximum(total[rows], found)

    def _sum(self, table: dict[int, Tensor], rows: Tensor, pairs_of: list[int], values: Tensor) -> None:
        """Add values [S', R, G, ...] to the tables of the R block-phase pairs, widening the group axis where it has grown."""
        for place, pair in enumerate(pairs_of):
            part = values[:, place]
            total = table.get(pair)
            if total is None or total.shape[1] < part.shape[1]:
                wider = torch.zeros((len(self.sites), *part.shape[1:]), dtype=part.dtype, device=self.device)
                if total is not None:
                    wider[:, : total.shape[1]] = total
                table[pair] = total = wider
            total.index_add_(0, rows, part)


def _lowest(values: Tensor) -> Tensor:
    return torch.nan_to_num(values, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).amin(dim=1)


def _highest(values: Tensor) -> Tensor:
    return torch.nan_to_num(values, nan=torch.inf, posinf=torch.inf, neginf=-torch.inf).amax(dim=1)
