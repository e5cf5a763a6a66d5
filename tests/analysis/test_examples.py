"""The tokens behind a cell, against a plain loop over the rows, and on rows written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.capture_factory import make_capture, make_sites
from workbench.analysis.examples import Examples, tokens_behind
from workbench.capture import Capture, CaptureError


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(3, 8, 3, [300, 200, 100], top_k=2, seed=5)


def brute(
    capture: Capture, site: str, expert: int, group: str | None, phase: str | None
) -> list[tuple[str, int, float]]:
    """(document, position, weight) of every row that chose the expert, found one row at a time."""
    assert capture.tokens is not None
    found = []
    for row in capture.tokens[capture.site(site).stack].to_pylist():
        for chosen, weight in zip(row[f"experts_{site}"] or (), row[f"weights_{site}"] or (), strict=True):
            if chosen == expert and group in (None, row["group"]) and phase in (None, row["phase"]):
                found.append((row["document"], row["position"], float(weight)))
    return found


@pytest.mark.parametrize("group", [None, "Text", "Video und."])
@pytest.mark.parametrize("phase", [None, "prefill", "decode"])
@pytest.mark.parametrize("expert", [0, 5])
def test_found_and_weights_equal_a_plain_loop(
    capture: Capture, group: str | None, phase: str | None, expert: int
) -> None:
    site = capture.sites[1].id
    expected = brute(capture, site, expert, group, phase)
    got = tokens_behind(capture, site, expert, group, phase, limit=10_000, window=0)
    assert got.found == len(expected) == len(got.contexts)
    assert sorted((c.document, c.position, c.weight) for c in got.contexts) == sorted(expected)
    assert got.strongest == max((weight for *_, weight in expected), default=0.0)


def test_counts_agree_with_the_tables(capture: Capture) -> None:
    """Every row was kept, so the rows found are the count of the capture."""
    for index, site in enumerate(capture.sites):
        for g, group in enumerate(capture.groups):
            for expert in range(site.experts):
                got = tokens_behind(capture, site.id, expert, group, limit=1)
                assert got.found == capture.count[index, g, expert]
                assert got.rows == capture.token_count[index, g] and got.kept == got.seen == 600


def test_strongest_first_and_random_is_a_sample_of_the_same(capture: Capture) -> None:
    site = capture.sites[0].id
    strong = tokens_behind(capture, site, 3, limit=10_000, window=0)
    weights = [context.weight for context in strong.contexts]
    assert weights == sorted(weights, reverse=True)
    random = tokens_behind(capture, site, 3, limit=10_000, window=0, order="random", seed=1)
    again = tokens_behind(capture, site, 3, limit=10_000, window=0, order="random", seed=1)
    other = tokens_behind(capture, site, 3, limit=10_000, window=0, order="random", seed=2)
    assert random.contexts == again.contexts != other.contexts
    assert {(c.document, c.position) for c in random.contexts} == {(c.document, c.position) for c in strong.contexts}


def test_windows_hold_neighbours_of_the_same_document_in_reading_order(capture: Capture) -> None:
    assert capture.tokens is not None
    pieces: dict[str, dict[int, str]] = {}
    for row in capture.tokens["text"].to_pylist():
        pieces.setdefault(row["document"], {})[row["position"]] = row["piece"]
    got = tokens_behind(capture, capture.sites[2].id, 1, limit=30, window=4)
    assert got.contexts
    for context in got.contexts:
        document = pieces[context.document]
        first = max(0, context.position - 4)
        last = min(max(document), context.position + 4)
        assert [piece.text for piece in context.pieces] == [document[position] for position in range(first, last + 1)]
        assert context.centre == context.position - first
        assert context.cut_before == (first > 0) and context.cut_after == (last < max(document))
        assert context.pieces[context.centre].chosen and context.pieces[context.centre].weight == context.weight


def test_no_token_is_the_centre_of_a_context_that_follows_one_showing_it(capture: Capture) -> None:
    got = tokens_behind(capture, capture.sites[0].id, 2, limit=10_000, window=6)
    shown: set[tuple[str, int]] = set()
    for context in got.contexts:
        assert (context.document, context.position) not in shown
        start = context.position - context.centre
        shown |= {(context.document, start + index) for index in range(len(context.pieces))}
    assert {(d, p) for d, p, _ in brute(capture, capture.sites[0].id, 2, None, None)} <= shown


def test_limit(capture: Capture) -> None:
    got = tokens_behind(capture, capture.sites[0].id, 2, limit=3)
    assert len(got.contexts) == 3 and got.found > 3


def by_hand() -> Capture:
    """One site, two documents; the second one's rows come first and backwards, one row did not reach the site."""
    base = make_capture(
        make_sites(1, 4, 2), groups=["a", "b"], tokens_per_group=[3, 3], token_rows=False, coactivation=False
    )
    site = base.sites[0].id
    weights = [[0.5, 0.5], [1, 0], [0.25, 0.75], [0.75, 0.25], None, [0.5, 0.5]]
    rows = pa.table(
        {
            "document": ["two", "two", "two", "one", "one", "one"],
            "position": pa.array([2, 1, 0, 0, 1, 2], pa.int32()),
            "piece": ["c", "b", "<b>a", None, "", "z\n"],
            "modality": ["text", "text", "text", "image", "image", "text"],
            "group": pa.array(["b", "b", "b", "a", "a", None], pa.string()).dictionary_encode(),
            "phase": ["decode", "prefill", "prefill", "prefill", "prefill", "prefill"],
            f"experts_{site}": pa.array([[0, 1], [1, -1], [2, 3], [1, 0], None, [3, 1]], pa.list_(pa.int16())),
            f"weights_{site}": pa.array(
                [None if w is None else np.array(w, dtype=np.float16) for w in weights], pa.list_(pa.float16())
            ),
        }
    )
    sampling = {"text": {"kept": 6, "seen": 60, "documents_kept": 2, "documents_seen": 20}}
    manifest = base.manifest.model_validate(
        base.manifest.model_dump() | {"streams": ("load", "tokens"), "sampling": sampling}
    )
    return Capture(manifest, base._load, tokens={"text": rows})


def test_by_hand() -> None:
    capture = by_hand()
    got = tokens_behind(capture, capture.sites[0].id, 1, window=1)
    assert (got.found, got.rows, got.kept, got.seen) == (4, 5, 6, 60)
    said = [(c.document, c.position, c.weight, [p.text for p in c.pieces], c.centre) for c in got.contexts]
    assert said == [
        ("two", 1, 1.0, ["<b>a", "b", "c"], 1),
        ("one", 0, 0.75, [None, None], 0),
        ("one", 2, 0.5, [None, "z\n"], 1),
    ]
    assert [piece.chosen for piece in got.contexts[0].pieces] == [False, True, True]
    assert got.contexts[1].pieces[0].modality == "image" and got.contexts[2].group is None
    assert (got.contexts[1].cut_before, got.contexts[1].cut_after) == (False, True)


def test_skipped_choice_is_no_expert() -> None:
    """A row value of -1 means that no expert took the token; it must not match anything."""
    capture = by_hand()
    with pytest.raises(CaptureError, match="experts 0 to 3, and expert -1"):
        tokens_behind(capture, capture.sites[0].id, -1)


def test_frame_has_a_row_a_context_and_whole_text(capture: Capture) -> None:
    got = tokens_behind(capture, capture.sites[0].id, 2, "Text", limit=7, window=3)
    frame = got.frame()
    assert len(frame) == 7 and list(frame["gate_weight"]) == [context.weight for context in got.contexts]
    for context, row in zip(got.contexts, frame.itertuples(), strict=True):
        assert row.before + row.token + row.after == "".join(piece.text or "" for piece in context.pieces)


def test_nothing_found_is_empty_and_not_an_error() -> None:
    logits = np.zeros((1, 1, 4))
    logits[..., 3] = -np.inf
    got = tokens_behind(make_capture(1, 4, 1, 40, logits=logits), "text_0_mlp", 3)
    assert (got.found, got.contexts, got.strongest, got.rows) == (0, (), 0.0, 40)
    assert list(got.frame().columns)[:3] == ["site", "expert", "document"] and got.frame().empty


def test_capture_without_text_still_shows_where(tmp_path: Path, capture: Capture) -> None:
    path = capture.save(tmp_path / "bare", text=False)
    got = tokens_behind(Capture.load(path), capture.sites[0].id, 2, limit=5)
    assert (
        not got.has_text
        and got.contexts
        and all(piece.text is None for context in got.contexts for piece in context.pieces)
    )


def test_from_disk_equals_from_memory(tmp_path: Path, capture: Capture) -> None:
    path = capture.save(tmp_path / "saved")
    here, there = (tokens_behind(c, capture.sites[1].id, 4, limit=9) for c in (capture, Capture.load(path)))
    assert here == there


def test_reads_only_the_columns_of_its_site(tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Capture.load(capture.save(tmp_path / "saved"))
    asked: list[str] = []
    read = Capture.read_tokens

    def spy(self: Capture, stack: str, columns: Any = None) -> pa.Table:
        asked.extend(columns)
        return read(self, stack, columns)

    monkeypatch.setattr(Capture, "read_tokens", spy)
    tokens_behind(loaded, capture.sites[1].id, 4)
    assert {name for name in asked if "_" in name} == {
        f"experts_{capture.sites[1].id}",
        f"weights_{capture.sites[1].id}",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere", 0), "no site 'nowhere'"),
        (("text_0_mlp", 8), "experts 0 to 7, and expert 8"),
        (("text_0_mlp", 0, "Nobody"), "no group 'Nobody'"),
        (("text_0_mlp", 0, None, "training"), "not 'training'"),
    ],
)
def test_wrong_choices_are_named(capture: Capture, arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(CaptureError, match=sentence):
        tokens_behind(capture, *arguments)


def test_no_token_rows_is_said() -> None:
    with pytest.raises(CaptureError, match="no token rows"):
        tokens_behind(make_capture(1, 4, 1, 10, token_rows=False), "text_0_mlp", 0)


def test_unequal_lists_are_named_as_damage() -> None:
    capture = by_hand()
    assert capture.tokens is not None
    rows = capture.tokens["text"]
    name = f"weights_{capture.sites[0].id}"
    broken = rows.set_column(rows.column_names.index(name), name, pa.array([[0.5]] * 6, pa.list_(pa.float16())))
    with pytest.raises(CaptureError, match="capture is damaged"):
        tokens_behind(Capture(capture.manifest, capture._load, tokens={"text": broken}), capture.sites[0].id, 1)


def test_result_is_plain_and_comparable(capture: Capture) -> None:
    """A page caches it: it must survive a round through a copy."""
    import copy

    got = tokens_behind(capture, capture.sites[0].id, 0, limit=2)
    assert isinstance(got, Examples) and copy.deepcopy(got) == got
