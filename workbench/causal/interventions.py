"""One change of a model for one run: experts that are muted, experts that every token gets, fewer experts a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from workbench.capture import Site
from workbench.causal.errors import CausalError

Experts = Mapping[str, Sequence[int]]  # site id -> expert ids


@dataclass(frozen=True)
class Intervention:
    """What is changed.

    Attributes:
        name: for a row of a table.
        mute: experts that no token gets. force: experts that every token gets. Site id -> ids.
        top_k: experts a token, None for as many as the model takes.
    """

    name: str
    mute: Experts = field(default_factory=dict)
    force: Experts = field(default_factory=dict)
    top_k: int | None = None

    @property
    def empty(self) -> bool:
        return self.top_k is None and not any(self.mute.values()) and not any(self.force.values())

    def check(self, sites: Sequence[Site]) -> None:
        """Refuse what no run could do.

        Raises:
            CausalError: for an unknown site or expert, fewer experts left than a token gets, or an expert both muted and forced.
        """
        known = {site.id: site for site in sites}
        for what, wish in (("muted", self.mute), ("forced", self.force)):
            for name, ids in wish.items():
                if name not in known:
                    raise CausalError(f"There is no site '{name}' in this model: choose among {', '.join(known)}.")
                beyond = [expert for expert in ids if not 0 <= expert < known[name].experts]
                if beyond:
                    raise CausalError(
                        f"Expert {beyond[0]} was to be {what} at site {name}, but its experts are 0 to {known[name].experts - 1}: name experts "
                        "that there are."
                    )
        if self.top_k is not None and not 1 <= self.top_k <= min(site.top_k for site in sites):
            raise CausalError(
                f"Top-k can be limited to 1 to {min(site.top_k for site in sites)} experts a token in this model, but {self.top_k} were "
                "asked for: choose a number in between."
            )
        for site in sites:
            muted, forced = set(self.mute.get(site.id, ())), set(self.force.get(site.id, ()))
            k = self.top_k or site.top_k
            left = site.experts - len(muted)
            if left < k:
                raise CausalError(
                    f"Muting {len(muted)} of {site.experts} experts at site {site.id} leaves {left}, but a token gets {k}: mute fewer experts, or "
                    "limit top-k as well."
                )
            if muted & forced:
                raise CausalError(
                    f"Expert {min(muted & forced)} of site {site.id} is to be muted and forced at once: choose one of the two."
                )
            if len(forced) > k:
                raise CausalError(
                    f"{len(forced)} experts are to be forced at site {site.id}, but a token gets {k}: force fewer."
                )

    @contextmanager
    def applied(self, model: Any) -> Iterator[None]:
        """A block in which the model runs with the change, and after which it is as it was, bit for bit.

        Raises:
            CausalError: if it cannot be done at all.
            SubModelError: if this family cannot do it; the sentence names the site.
        """
        from probes import SubModel, find_sites
        from probes.submodel.force import forced

        sites = [found.site for found in find_sites(model)]
        self.check(sites)
        kept = {
            site.id: [expert for expert in range(site.experts) if expert not in set(self.mute[site.id])]
            for site in sites
            if self.mute.get(site.id)
        }
        with ExitStack() as stack:
            if kept or self.top_k is not None:
                stack.enter_context(SubModel(experts=kept or None, top_k=self.top_k).applied(model))
            if any(self.force.values()):
                stack.enter_context(forced(model, {name: ids for name, ids in self.force.items() if len(ids)}))
            yield


def parse_experts(words: Sequence[str], what: str) -> dict[str, tuple[int, ...]]:
    """Experts from words such as "text_3_mlp:0,7,12-15".

    Args:
        what: name of the option, for the sentence.

    Raises:
        CausalError: for anything else.
    """
    found: dict[str, list[int]] = {}
    for word in words:
        site, colon, numbers = word.partition(":")
        try:
            ids = [expert for part in numbers.split(",") if part.strip() for expert in _range(part.strip())]
        except ValueError:
            ids = []
        if not colon or not site.strip() or not ids:
            raise CausalError(f"{what} takes SITE:EXPERTS, for example text_3_mlp:0,7,12-15, but got '{word}'.")
        found.setdefault(site.strip(), []).extend(ids)
    return {site: tuple(sorted(set(ids))) for site, ids in found.items()}


def experts_in_words(experts: Experts) -> str:
    """Experts as `parse_experts` takes them, neighbours drawn together: "text_3_mlp:0,7,12-15"."""
    return " ".join(f"{site}:{','.join(_runs(ids))}" for site, ids in experts.items() if len(ids))


def _runs(ids: Sequence[int]) -> list[str]:
    found: list[list[int]] = []
    for expert in sorted(set(ids)):
        if found and expert == found[-1][-1] + 1:
            found[-1].append(expert)
        else:
            found.append([expert])
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found]


def _range(part: str) -> range:
    first, dash, last = part.partition("-")
    start = int(first)
    end = int(last) if dash else start
    if end < start or end - start > 100_000:
        raise ValueError(part)
    return range(start, end + 1)
