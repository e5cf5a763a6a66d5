"""`SubModel`: the frozen description of a smaller model inside a larger one, as words, JSON or Python values.

Grammar of the words, parts separated by blanks, in any order:

    layers=first:4 | layers=even:4 | layers=important:4 | layers=0-3,6        layers@decoder=first:2 for one stack
    experts=0-3,7 | experts=share:0.5:mass | experts=share:0.5:random:7       experts@text_0_mlp=0,2 for one site
    top_k=2                                                                   top_k@text_0_mlp=1 for one site

A name after `@` may hold `*` (text_*_mlp). No parts at all, or the word "full", is the whole model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from probes.errors import SubModelError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from probes.submodel.plan import Plan
    from workbench.capture import Capture

HowLayers = Literal["first", "even", "important"]
HowExperts = Literal["count", "mass", "norm", "random"]
_NAME = re.compile(r"^[A-Za-z0-9_*?-]+$")


@dataclass(frozen=True)
class KeepLayers:
    """Keep `number` layers of a stack: the first ones, evenly spaced ones, or the most important ones (`rank_layers`)."""

    how: HowLayers
    number: int

    def __str__(self) -> str:
        return f"{self.how}:{self.number}"


@dataclass(frozen=True)
class KeepShare:
    """Keep a share of the experts of a site: those with the largest count, gate mass or norm, or random ones.

    Attributes:
        share: above 0, at most 1; of E experts, round(share E) stay, at least one.
        by: "count" (tokens), "mass" (sum of gate weights), "norm" (gate weight x norm of the expert's output,
            REAP, Lasby et al. 2025, arXiv 2510.13999, section 3), "random".
        seed: of "random"; each site draws its own experts.
    """

    share: float
    by: HowExperts
    seed: int = 0

    def __str__(self) -> str:
        return f"share:{self.share:g}:{self.by}" + (f":{self.seed}" if self.by == "random" else "")


OneLayers: TypeAlias = KeepLayers | tuple[int, ...]
OneExperts: TypeAlias = KeepShare | tuple[int, ...]
# As stored: nothing, one choice for all, or (name, choice) pairs. As given: also words, lists and mappings.
LayerChoice: TypeAlias = (
    OneLayers | int | str | Sequence[int] | Mapping[str, Any] | tuple[tuple[str, OneLayers], ...] | None
)
ExpertChoice: TypeAlias = (
    OneExperts | str | Sequence[int] | Mapping[str, Any] | tuple[tuple[str, OneExperts], ...] | None
)
TopKChoice: TypeAlias = int | Mapping[str, int] | tuple[tuple[str, int], ...] | None


@dataclass(frozen=True)
class SubModel:
    """A smaller model inside a larger one: which layers, which experts, how many a token.

    Args:
        layers: None (all), a number (the first n), `KeepLayers`, its words ("first:4"), a list of layer numbers, or a mapping
            from stack to any of these. A choice without a stack is for every stack of the language model; vision and audio
            towers change only when they are named.
        experts: None (all), a list of ids (the same at every site), `KeepShare`, its words ("share:0.5:mass"), or a mapping
            from site id (or a pattern such as "text_*_mlp") to any of these.
        top_k: None (as the model is), a number, or a mapping from site id or pattern to numbers.

    Raises:
        SubModelError: if a part cannot be read.
    """

    layers: LayerChoice = None
    experts: ExpertChoice = None
    top_k: TopKChoice = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _normal(self.layers, _one_layers))
        object.__setattr__(self, "experts", _normal(self.experts, _one_experts))
        object.__setattr__(self, "top_k", _normal(self.top_k, _one_top_k))

    # ------------------------------------------------------------------ words and JSON
    @classmethod
    def parse(cls, words: str) -> SubModel:
        """The sub-model of a line such as "layers=first:4 experts=share:0.5:mass top_k=2", or of its JSON.

        Raises:
            SubModelError: if a part of the line is unknown.
        """
        text = words.strip()
        if text.startswith("{"):
            try:
                return cls.from_dict(json.loads(text))
            except ValueError as fault:
                raise SubModelError(
                    f"A sub-model was expected as JSON, but '{text[:60]}' cannot be read: write it as docs/submodel.md shows."
                ) from fault
        parts: dict[str, Any] = {}
        for part in text.split() if text != "full" else ():
            axis, equals, value = part.partition("=")
            axis, at, name = axis.partition("@")
            if not equals or axis not in ("layers", "experts", "top_k") or (at and not name):
                raise SubModelError(
                    f"A sub-model is made of layers=, experts= and top_k=, but '{part}' came: write for example "
                    "'layers=first:4 experts=share:0.5:mass top_k=2'."
                )
            held = parts.get(axis)
            if axis in parts and (not at or not isinstance(held, dict) or name in held):
                raise SubModelError(
                    f"'{axis}' stands twice in '{text}': give it once, or once for each name after '@'."
                )
            if at:
                parts.setdefault(axis, {})[name] = value
            else:
                parts[axis] = value
        return cls(**parts)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SubModel:
        """The inverse of `to_dict`."""
        unknown = set(values) - {"layers", "experts", "top_k"} if isinstance(values, Mapping) else {"?"}
        if unknown:
            raise SubModelError(
                f"A sub-model has the keys layers, experts and top_k, but {sorted(unknown)} came: write it as docs/submodel.md shows."
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: for each axis None, words, or a mapping from names to words."""

        def plain(choice: Any) -> Any:
            if choice is None or isinstance(choice, int):
                return choice
            if is_pairs(choice):
                return {name: plain(one) for name, one in choice}
            return _words(choice)

        return {"layers": plain(self.layers), "experts": plain(self.experts), "top_k": plain(self.top_k)}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict())

    def __str__(self) -> str:
        return " ".join(self._parts()) or "full"

    def _parts(self) -> Iterator[str]:
        for axis in ("layers", "experts", "top_k"):
            choice = getattr(self, axis)
            if choice is None:
                continue
            if is_pairs(choice):
                yield from (f"{axis}@{name}={_words(one)}" for name, one in choice)
            else:
                yield f"{axis}={_words(choice)}"

    # ------------------------------------------------------------------ use
    def plan(self, model: nn.Module, ranking: Capture | Mapping[str, np.ndarray] | None = None) -> Plan:
        """What this means for one model: the layers, experts and top-k that stay.

        Args:
            model: a mixture-of-experts model that the routing probe supports.
            ranking: where a share needs one: a capture (count, gate mass), or arrays [E] by site id from `rank_experts`, and [L]
                by stack from `rank_layers` for important layers.

        Raises:
            SubModelError: if the model cannot run so; the sentence names site, stack or family.
        """
        from probes.submodel.plan import make_plan

        return make_plan(self, model, ranking)

    def applied(
        self,
        model: nn.Module,
        ranking: Capture | Mapping[str, np.ndarray] | None = None,
        *,
        lock_timeout: float = 60.0,
    ) -> AbstractContextManager[Plan]:
        """A block in which `model` runs as this sub-model; leaving it, also by an exception, restores the model bit for bit.

        Args:
            model, ranking: as in `plan`.
            lock_timeout: seconds to wait while another thread has the model.
        """
        return self.plan(model, ranking).applied(model, lock_timeout=lock_timeout)


# ---------------------------------------------------------------------- reading choices
def _normal(choice: Any, one: Any) -> Any:
    """A choice in its stored form: None, one choice, or (name, choice) pairs."""
    if choice is None:
        return None
    if is_pairs(choice):
        choice = dict(choice)
    if isinstance(choice, Mapping):
        for name in choice:
            if not isinstance(name, str) or not _NAME.match(name):
                raise SubModelError(
                    f"A name of a stack or site was expected, but {name!r} came: write it as the capture has it, such as text_0_mlp."
                )
        return tuple((name, one(value)) for name, value in choice.items())
    return one(choice)


def is_pairs(choice: Any) -> bool:
    """Whether a stored choice is by name."""
    return isinstance(choice, tuple) and bool(choice) and all(isinstance(one, tuple) for one in choice)


def by_name(choice: Any) -> tuple[tuple[str, Any], ...]:
    """The (name, choice) pairs of a stored choice; none if it is one for all."""
    return choice if is_pairs(choice) else ()


def _one_layers(value: Any) -> OneLayers:
    if isinstance(value, int) and not isinstance(value, bool):
        value = KeepLayers("first", value)
    if isinstance(value, str):
        how, colon, number = value.partition(":")
        if not colon:
            return _numbers(value, "layers")
        if how not in get_args(HowLayers) or not number.isdigit():
            raise SubModelError(
                f"Layers are kept as first:N, even:N, important:N or a list, but '{value}' came: write for example layers=first:4."
            )
        value = KeepLayers(how, int(number))  # type: ignore[arg-type]
    if isinstance(value, KeepLayers):
        if value.number < 1:
            raise SubModelError(
                "At least one layer must stay, but zero layers were asked for: give a number of 1 or more."
            )
        return value
    return _numbers(value, "layers")


def _one_experts(value: Any) -> OneExperts:
    if isinstance(value, str):
        parts = value.split(":")
        if parts[0] != "share":
            return _numbers(value, "experts")
        try:
            value = KeepShare(
                float(parts[1]),
                parts[2] if len(parts) > 2 else "count",  # type: ignore[arg-type]
                int(parts[3]) if len(parts) > 3 else 0,
            )
        except (IndexError, ValueError):
            value = None
        if value is None or len(parts) > 4:
            raise SubModelError(
                f"A share of experts is written share:SHARE:RANKING or share:SHARE:random:SEED, but '{':'.join(parts)}' came: write for "
                "example experts=share:0.5:mass."
            )
    if isinstance(value, KeepShare):
        if value.by not in get_args(HowExperts):
            raise SubModelError(
                f"Experts are ranked by count, mass, norm or random, but '{value.by}' came: use one of these."
            )
        if not 0 < value.share <= 1:
            raise SubModelError(
                f"A share of experts is above 0 and at most 1, but {value.share:g} came: give for example 0.5."
            )
        return value
    return _numbers(value, "experts")


def _one_top_k(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SubModelError(f"top_k is a whole number of 1 or more, but {value!r} came: give for example top_k=2.")
    return value


def _numbers(value: Any, axis: str) -> tuple[int, ...]:
    """Sorted whole numbers of a list, or of words such as "0-3,7"."""
    found: list[int] = []
    try:
        if isinstance(value, str):
            for part in value.split(","):
                low, _, high = part.partition("-")
                found += range(int(low), int(high or low) + 1)
        else:
            for number in value:
                if isinstance(number, bool) or int(number) != number:
                    raise ValueError
                found.append(int(number))
    except (TypeError, ValueError) as fault:
        raise SubModelError(
            f"A list of whole numbers was expected for {axis}, but {value!r} came: write for example 0-3,7."
        ) from fault
    if not found:
        raise SubModelError(f"At least one of the {axis} must stay, but the list is empty: name the ones to keep.")
    if min(found) < 0 or len(set(found)) < len(found):
        raise SubModelError(
            f"Every number in the list of {axis} stands once and is 0 or more, but {value!r} came: name each of the {axis} to keep once."
        )
    return tuple(sorted(found))


def _words(choice: Any) -> str:
    if isinstance(choice, tuple):
        runs: list[list[int]] = []
        for number in choice:
            if runs and number == runs[-1][1] + 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
    return str(choice)
