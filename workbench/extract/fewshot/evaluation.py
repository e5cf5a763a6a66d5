"""Engines over few-shot episodes: what is asked, done, kept and summed up.

An episode is a set, a number of shots, the seed of a support set, and the order in which its sentences are shown.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.extract.engines import CHECKPOINTS, Engine, engine_spec, load_engine
from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.evaluate.facts import Count
from workbench.extract.fewshot.episodes import FewShotSet
from workbench.extract.fewshot.scoring import episode_count, over_seeds, paired, spread
from workbench.extract.fewshot.store import Store, weights_mark
from workbench.extract.fewshot.tuning import Stopped, Tuning, can_tune, fine_tuned
from workbench.extract.records import Document

How = Literal["in context", "fine-tuned", "zero-shot"]
IN_CONTEXT: How = "in context"
TUNED: How = "fine-tuned"
ZERO_SHOT: How = "zero-shot"


@dataclass(frozen=True)
class Method:
    """An engine and how it takes the shots.

    Attributes:
        engine: name. model: weights, or None for its own.
        how: "in context" (as demonstrations), "fine-tuned" (on them, then asked without any) or "zero-shot" (names of types only).
        anonymous: for an engine that can: types as `<type1>` … or under their own names; None: as its weights say.
        seeds: support sets at most, the first ones. orders: orders of the demonstrations of the first support set, the engine's own first.
    """

    engine: str
    model: str | None = None
    how: How = IN_CONTEXT
    seeds: int = 10
    orders: int = 1
    anonymous: bool | None = None

    @property
    def name(self) -> str:
        """What it is called in results."""
        named = "" if self.anonymous is None else f", types {'anonymous' if self.anonymous else 'by name'}"
        return f"{self.engine}{f' {self.model}' if self.model else ''}, {self.how}{named}"

    def check(self) -> None:
        """Refuse what cannot be done before anything is run.

        Raises:
            EngineError: no such engine, it lacks weights, or cannot take shots in this way.
        """
        spec = engine_spec(self.engine)
        if missing := spec.missing(self.model):
            raise EngineError(missing)
        if "entities" not in spec.kinds:
            raise EngineError(f"{spec.title} finds no entities, so it cannot be evaluated on few-shot entity sets.")
        if self.how == IN_CONTEXT and not spec.demonstrations:
            raise EngineError(
                f"{spec.title} does not learn from examples in context: have it fine-tuned on them, or ask it without."
            )
        if self.anonymous is not None and not spec.anonymous:
            raise EngineError(f"{spec.title} has one way to name types in its prompts: leave --names out.")
        if self.how == TUNED and not can_tune(self.engine):
            raise EngineError(f"{spec.title} cannot be fine-tuned on examples here: leave it out.")


def how_by_default(engine: str) -> How:
    """In context where the engine can, fine-tuned where it cannot.

    Raises:
        EngineError: there is no such engine.
    """
    return IN_CONTEXT if engine_spec(engine).demonstrations else TUNED


@dataclass(frozen=True)
class Protocol:
    """What every method is given alike.

    Attributes:
        shots: sentences a type. limit: test sentences of a set, drawn by sample_seed; None: all.
        threshold: least score; None: the engine's. batch_size: texts in one pass. tuning: for methods that are fine-tuned.
    """

    shots: int = 1
    limit: int | None = None
    sample_seed: int = 0
    threshold: float | None = None
    batch_size: int = 8
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True)
class Cell:
    """One episode of one method. seed is None where no support set is used; order 0 is what the engine makes of the file's, others are shown as they are."""

    method: Method
    set: FewShotSet
    seed: int | None
    order: int = 0


def cells_of(method: Method, sets: Sequence[FewShotSet], shots: int) -> Iterator[Cell]:
    """Every episode of a method.

    Raises:
        ExtractError: a set has fewer support sets than are asked for.
    """
    for each in sets:
        if method.how == ZERO_SHOT:
            yield Cell(method, each, None)
            continue
        seeds = each.seeds(shots)
        if len(seeds) < method.seeds:
            raise ExtractError(
                f"'{each.name}' has {len(seeds)} support sets of {shots} {'shot' if shots == 1 else 'shots'}, but {method.seeds} were asked for: "
                "give a smaller --seeds, or other --shots (the sets of the paper have 1 and 5)."
            )
        for n, seed in enumerate(seeds[: method.seeds]):
            for order in range(method.orders if n == 0 else 1):
                yield Cell(method, each, seed, order)


def ordered(support: Sequence[Document], order: int, name: str) -> tuple[Document, ...]:
    """Demonstrations in one of their orders.

    Args:
        order: 0: as they stand; else a shuffle that this number and `name` decide.
    """
    shown = list(support)
    if order:
        random.Random(f"{name}/{order}").shuffle(shown)
    return tuple(shown)


@dataclass
class Watch:
    """Who is told, and asked.

    Attributes:
        say: a sentence for people. progress: (texts or steps done, in all, what is done). stopped: whether to stop.
    """

    say: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int, str], None] = lambda *_: None
    stopped: Callable[[], bool] = lambda: False


def run(
    methods: Sequence[Method],
    sets: Sequence[FewShotSet],
    protocol: Protocol,
    store: Store | None = None,
    watch: Watch | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Every method over its episodes; what the store has is not done again.

    Returns:
        For each method, in order: the form of `summary`. Stopped early, the episodes that were done.

    Raises:
        ExtractError: a method, set or support set cannot be had.
    """
    store, watch = store if store is not None else Store(), watch if watch is not None else Watch()
    planned = []
    for method in methods:
        method.check()
        planned.append((method, list(cells_of(method, sets, protocol.shots))))
    results: dict[str, Any] = {}
    for method, cells in planned:
        engine: Engine | None = None
        done: list[tuple[Cell, dict[str, Any]]] = []
        for cell in cells:
            key = key_of(cell, protocol)
            value = store.get(key)
            if value is None:
                if watch.stopped():
                    break
                if engine is None:
                    options: dict[str, Any] = {} if device == "auto" else {"device": device}
                    if method.anonymous is not None:
                        options["anonymous"] = method.anonymous
                    engine = load_engine(method.engine, method.model, **options)
                value = one(engine, cell, protocol, watch)
                if value is None:
                    break
                store.put(key, value)
                watch.say(f"{method.name}: {_said(cell)}: F1 {value['f1']:.4f} in {value['seconds']:.0f} s")
            done.append((cell, value))
        results[method.name] = summary(method, done, len(cells))
    return results


def key_of(cell: Cell, protocol: Protocol) -> dict[str, Any]:
    """Everything that decides the result of an episode."""
    method = cell.method
    shipped = CHECKPOINTS / (method.model or engine_spec(method.engine).default_model or "")
    model = str(shipped) if shipped.is_dir() and shipped != CHECKPOINTS else method.model
    return {
        "engine": method.engine, "model": method.model, "weights": weights_mark(model), "how": method.how, "set": cell.set.name,
        "shots": None if cell.seed is None else protocol.shots, "seed": cell.seed, "order": cell.order, "limit": protocol.limit,
        "sample_seed": protocol.sample_seed if protocol.limit is not None else None, "threshold": protocol.threshold,
        "tuning": protocol.tuning.to_json() if method.how == TUNED else None,
        **({"as_given": True} if cell.order and engine_spec(method.engine).ordered else {}),
        **({} if method.anonymous is None else {"anonymous": method.anonymous}),
    }  # fmt: skip


def one(engine: Engine, cell: Cell, protocol: Protocol, watch: Watch) -> dict[str, Any] | None:
    """One episode: F1, counts and seconds; None where it was stopped."""
    test, schema, what = cell.set.sample(protocol.limit, protocol.sample_seed), cell.set.schema, _said(cell)
    start = time.perf_counter()
    shots: tuple[Document, ...] = ()
    if cell.seed is not None:
        shots = ordered(cell.set.support(cell.seed, protocol.shots), cell.order, f"{cell.set.name}/{cell.seed}")
    if cell.order and cell.method.how == IN_CONTEXT:  # an engine that sorts them by type would undo most of it
        engine = getattr(engine, "in_order", lambda: engine)()
    if cell.method.how == TUNED:
        try:
            engine = fine_tuned(
                engine, shots, schema, protocol.tuning, lambda done, total: watch.progress(done, total, f"{what}: training steps"), watch.stopped
            )  # fmt: skip
        except Stopped:
            return None
        shots = ()
    found = engine.extract(
        [document.text for document in test], schema, shots, batch_size=protocol.batch_size,
        progress=lambda done: watch.progress(done, len(test), f"{what}: sentences"), stopped=watch.stopped,
    )  # fmt: skip
    if len(found) < len(test):
        return None
    # as after the vote of the paper, results are flat: of those that overlap one stays
    predicted = [e.select(protocol.threshold, nested=False, document_id=d.id) for e, d in zip(found, test, strict=True)]
    counts = episode_count(test, predicted)
    whole = sum(counts.values(), Count())
    return {
        "f1": whole.f1, "precision": whole.precision, "recall": whole.recall, **whole._asdict(), "sentences": len(test),
        "by_type": {name: {**count._asdict(), "f1": count.f1} for name, count in sorted(counts.items())},
        "seconds": round(time.perf_counter() - start, 2), "device": str(engine.device),
        "notes": sorted({note for each in found for note in each.notes})[:20],
    }  # fmt: skip


def summary(method: Method, done: Sequence[tuple[Cell, dict[str, Any]]], planned: int) -> dict[str, Any]:
    """What a method came to: for each set mean and std over seeds, each seed's figures, and the spread over orders."""
    sets: dict[str, Any] = {}
    for name in dict.fromkeys(cell.set.name for cell, _ in done):
        here = [(cell, value) for cell, value in done if cell.set.name == name]
        main = [(cell, value) for cell, value in here if cell.order == 0]
        sets[name] = {
            **over_seeds([value["f1"] for _, value in main]),
            "seeds": {str(cell.seed) if cell.seed is not None else "none": value for cell, value in main},
            "episodes": len(main),
            "sentences": max((value["sentences"] for _, value in main), default=0),
        }
        first = main[0][0].seed if main else None
        orders = [value["f1"] for cell, value in here if cell.seed == first]
        if method.orders > 1:
            sets[name]["orders"] = {"seed": first, "f1": orders, **spread(orders)}
    return {
        "engine": method.engine, "model": method.model, "how": method.how, "sets": sets, "episodes_done": len(done), "episodes": planned,
    }  # fmt: skip


def against(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """For each set how far the first of two summaries is above the second, support set by support set."""

    def f1(result: Mapping[str, Any], name: str) -> dict[str, float]:
        return {seed: value["f1"] for seed, value in result["sets"][name]["seeds"].items()}

    shared = [name for name in first["sets"] if name in second["sets"]]
    return {name: paired(f1(first, name), f1(second, name)) for name in shared}


def _said(cell: Cell) -> str:
    seed = "" if cell.seed is None else f", seed {cell.seed}"
    return f"{cell.set.name}{seed}{f', order {cell.order}' if cell.order else ''}"
