"""The answer to a view's question in one sentence, for above its figure; pure functions of the tables."""

from __future__ import annotations

import numpy as np

from pages.parts.words import count, plain
from workbench.analysis.tables import BalanceTable, CoactivationTable, HeatmapTable, OverlapTable, UtilisationTable
from workbench.analysis.words import site_title

NOTHING = "Too few tokens to say: every cell is grey."


def busiest(table: HeatmapTable) -> tuple[int, int] | None:
    """Site index and expert of the largest number among cells with enough tokens (identity experts left out)."""
    values = np.where(table.few[:, None] | table.identity, np.nan, table.values)
    if not np.isfinite(values).any():
        return None
    site, expert = np.unravel_index(np.nanargmax(np.where(np.isfinite(values), values, -np.inf)), values.shape)
    return int(site), int(expert)


def heatmap(table: HeatmapTable) -> str:
    """The busiest expert of the group, and how many experts took nothing."""
    cell = busiest(table)
    if cell is None:
        return NOTHING
    site, expert = cell
    where = f"expert {expert} of {site_title(table.sites[site])}"
    group = plain(table.group, 60)
    enough = ~table.few
    never = int(((table.count == 0) & table.exists & ~table.identity)[enough].sum())
    of = int((table.exists & ~table.identity)[enough].sum())
    rest = "every expert took at least one token" if never == 0 else f"{never:,} of {count(of, 'expert')} took none"
    share = table.share[site, expert]
    if table.measure == "specialisation":
        times = 2.0 ** table.values[site, expert]
        return (
            f"**{group}** stands out most at {where}: it chooses it {times:.1f} times as often as the other groups do."
        )
    even = table.sites[site].top_k / table.sites[site].experts
    what = "gate weight" if table.measure == "mass" else "tokens"
    if table.measure == "mass":
        return f"Most gate weight of **{group}** goes to {where}: {table.values[site, expert]:.1f} times an even part; {rest}."
    return (
        f"**{group}** goes most to {where}: {share:.0%} of its {what}, where an even spread gives {even:.1%}; {rest}."
    )


def utilisation(table: UtilisationTable) -> str:
    """Where a group leans most on one expert."""
    with np.errstate(invalid="ignore"):
        times = table.share / table.chance[:, None, None]
    times = np.where(table.few[:, :, None] | table.identity[:, None, :], np.nan, times)
    if not np.isfinite(times).any():
        return NOTHING
    site, group, expert = np.unravel_index(np.nanargmax(np.where(np.isfinite(times), times, -np.inf)), times.shape)
    return (
        f"**{plain(table.groups[group].name, 60)}** leans hardest on one expert: {table.share[site, group, expert]:.0%} of its "
        f"tokens choose expert {expert} of {site_title(table.sites[site])}, where an even spread gives {table.chance[site]:.1%}."
    )


def overlap(table: OverlapTable) -> str:
    """The pair of groups that shares most experts, and the pair that shares fewest."""
    unread = table.few[:, :, None] | table.few[:, None, :]
    values = np.where(unread, np.nan, table.iou)
    upper = np.triu(np.ones(values.shape[1:], dtype=bool), k=1)
    values = np.where(upper[None], values, np.nan)
    if not np.isfinite(values).any():
        return NOTHING
    said = []
    for word, pick in (("share most", np.nanargmax), ("share fewest", np.nanargmin)):
        site, first, second = np.unravel_index(pick(values), values.shape)
        names = f"{plain(table.groups[first].name, 40)} and {plain(table.groups[second].name, 40)}"
        said.append(
            f"**{names}** {word} of their busiest experts, at {site_title(table.sites[site])}: "
            f"IoU {values[site, first, second]:.2f} (chance {table.chance[site, first, second]:.2f})"
        )
    if int(np.isfinite(values).sum()) == 1:
        return said[0].replace("share most of", "are the only pair to compare; they share") + "."
    return "; ".join(said) + "."


def balance(table: BalanceTable) -> str:
    """The most and the least even group, by the mean over sites."""
    values = np.where(table.few, np.nan, table.values)
    readable = np.asarray(np.isfinite(values).any(axis=0))
    if not readable.any():
        return NOTHING
    means = np.array([np.nanmean(values[:, group]) if has else np.nan for group, has in enumerate(readable)])
    high_is_even = bool(np.nanmean(table.even) > 0)  # entropy and effective experts; the others are 0 when even
    order = np.argsort(np.where(np.isnan(means), np.inf, -means if high_is_even else means))
    order = order[: int(readable.sum())]

    def said(group: int) -> str:
        return f"**{plain(table.groups[group].name, 60)}** ({means[group]:.2f})"

    if order.size == 1:
        return f"{said(int(order[0]))} is the only group with enough tokens; the number is its mean {table.measure} over layers."
    return (
        f"{said(int(order[0]))} spreads most evenly over the experts, {said(int(order[-1]))} least; "
        f"the numbers are mean {table.measure} over layers."
    )


def coactivation(table: CoactivationTable) -> str:
    """The pair of experts that goes together most."""
    values = np.where(table.few, np.nan, table.values)
    if not np.isfinite(values).any():
        return "Too few tokens to say: no pair of experts has enough of them."
    first, second = np.unravel_index(np.nanargmax(np.where(np.isfinite(values), values, -np.inf)), values.shape)
    pairs = count(int(table.pairs[first, second]), "token")
    how = {
        "lift": f"{values[first, second]:.2f} times as often as if chosen independently (all pairs: {table.centre or 0:.2f})",
        "conditional": f"{values[first, second]:.0%} of the tokens of expert {first} choose expert {second} too",
        "count": f"in {pairs}",
    }[table.normalise]
    tail = "" if table.normalise == "count" else f", {pairs}"
    return f"At {site_title(table.site)}, experts **{first} and {second}** go together most: {how}{tail}."
