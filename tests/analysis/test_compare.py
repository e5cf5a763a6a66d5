"""Differences of captures against plain loops, what is refused and why, and how often noise is taken for a difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.capture_factory import make_capture, make_logits, make_sites
from workbench.analysis.align import align, likely_lineage
from workbench.analysis.compare import COMPARED, compare_table
from workbench.analysis.load import normalised_entropy
from workbench.analysis.pvalues import error_pvalues
from workbench.capture import Capture, CaptureError, Flag, Group
from workbench.capture.join_parts import join_parts


def two(effect: float = 0.0, seed: int = 1, **more: Any) -> tuple[Capture, Capture]:
    """A capture and another one of the same documents, whose group 0 prefers expert 3 at site 1."""
    logits = make_logits(2, 2, 8, seed=0)
    moved = logits.copy()
    moved[1, 0, 3] += effect
    made = [
        make_capture(2, 8, 2, 1500, 2, seed=at, logits=of, **more) for at, of in ((seed, logits), (seed + 50, moved))
    ]
    return made[0], made[1]


def test_difference_is_that_of_the_loads_cell_by_cell() -> None:
    first, second = two(1.0)
    got = compare_table([first, second], resamples=60, names=["before", "after"])
    assert got.paired == (True,) and got.lineage == "same" and got.names == ("after",)
    for site in range(2):
        for group in range(2):
            for expert in range(8):
                loads = []
                for capture in (first, second):
                    count = capture.count[site, group] + 0.5
                    loads.append(np.log2(count[expert] / count.sum() * 8))
                assert got.difference[0, site, group, expert] == pytest.approx(loads[1] - loads[0])
    assert got.low[0, 1, 0, 3] > 0 and got.significant[0, 1, 0, 3]
    assert "beyond noise" in got.summary() and "same documents" in got.summary()
    frame = got.frame()
    assert len(frame) == 2 * 2 * 8 and frame["more_than_noise"].sum() == got.significant.sum()


def test_a_layer_that_was_left_out_does_not_make_the_documents_others() -> None:
    first, second = two(0.5)
    for name in ("tokens", "count", "mass"):
        second.table(name).values[:, 1] = 0  # a sub-model without the layer of site 1
    got = align([first, second])
    assert got.paired == (True,)
    second.table("tokens").values[0, 0, 0, 0] += 1
    assert align([first, second]).paired == (False,)


def test_interval_is_the_loop_over_blocks_drawn_for_both() -> None:
    from workbench.analysis.intervals import resample_weights

    first, second = two(0.5)
    got = compare_table([first, second], "normalised entropy", resamples=40)
    filled = np.flatnonzero(first.table("tokens").values.any(axis=(1, 2, 3)))
    draws = []
    for weights in resample_weights(len(filled), 40, 0):
        blocks = np.repeat(filled, weights.astype(int))
        loads = [capture.table("count").values[blocks].sum(axis=(0, 2)) for capture in (first, second)]
        draws.append(normalised_entropy(loads[1]) - normalised_entropy(loads[0]))
    assert got.low[0] == pytest.approx(np.quantile(draws, 0.025, axis=0))
    assert got.high[0] == pytest.approx(np.quantile(draws, 0.975, axis=0))


@pytest.mark.parametrize("paired", [True, False])
def test_noise_is_rarely_taken_for_a_difference(paired: bool) -> None:
    """Two recordings of one routing distribution: of 32 cells in each of 25 pairs, corrected p finds next to nothing."""
    found = 0
    for seed in range(25):
        first, second = two(0.0, seed)
        if not paired:
            second = make_capture(2, 8, 2, 1400, 2, seed=seed + 90, logits=make_logits(2, 2, 8, seed=0))
        table = compare_table([first, second], resamples=100)
        assert table.paired == (paired,)
        found += bool(table.significant.any())
    assert found <= 4  # a table with any find: 5 % each if calibrated, P(X > 4 | 25, .05) = .007


def test_t_of_known_numbers() -> None:
    p = error_pvalues(np.array([2.042, 0.0, np.nan, 1.0]), np.array([1.0, 0.0, 1.0, 0.0]), np.array([30.0, 5, 5, 5]))
    assert p[0] == pytest.approx(0.05, abs=1e-4)  # the table of Student's t: 2.042 at 30 degrees of freedom
    assert p[1] == 1.0 and np.isnan(p[2]) and p[3] == 0.0


@pytest.mark.parametrize("measure", COMPARED)
def test_every_measure_of_three_captures(measure: str) -> None:
    first, second = two(2.0)
    table = compare_table([first, second, first], measure, resamples=60)
    assert table.difference.shape[0] == 2 and np.nanmax(np.abs(table.difference[1])) == 0.0
    assert "cannot be told" in table.summary(1) and not table.significant[1].any()
    assert {"difference", "low", "high", "more_than_noise"} <= set(table.frame().columns)


def test_models_trained_apart_compare_what_has_no_numbers() -> None:
    first, second = two()
    renumbered = Capture(
        second.manifest.model_copy(
            update={
                "streams": ("load",),
                "sampling": {},
                "model": second.manifest.model.model_copy(update={"id": "other"}),
            }
        ),
        {
            name: second.table(name).values[..., ::-1] if name in ("count", "mass") else second.table(name).values
            for name in ("count", "mass", "tokens", "dropped", "skipped")
        },
    )
    assert likely_lineage([first, renumbered]) == "apart"
    with pytest.raises(CaptureError, match="one lineage of weights"):
        compare_table([first, renumbered], "load")
    for measure in ("sorted load", "normalised entropy", "IoU"):
        own, other = (
            compare_table([first, second], measure, resamples=40),
            compare_table([first, renumbered], measure, resamples=40),
        )
        assert other.difference == pytest.approx(own.difference, nan_ok=True)
        assert "expert numbers are not compared" in other.caption


def test_untrained_capture_is_of_no_lineage() -> None:
    first, second = two()
    flagged = Capture(
        second.manifest.model_copy(update={"flags": (Flag(kind="untrained", detail="fresh"),)}),
        second._load,
        tokens=second.tokens,
    )
    assert likely_lineage([first, second]) == "same" and likely_lineage([first, flagged]) == "apart"
    said = align([first, flagged], ["full", "fresh"]).reason
    assert said == "fresh is the same model with untrained weights, so no expert there is one of the trained model's"
    assert "full" not in said and "all are of untrained" in align([flagged, flagged]).reason
    assert align([first, second]).reason == "the captures name the same model"
    assert align([first, second], lineage="apart").reason == "this was chosen so"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: make_capture(2, 12, 2, 300), "8 experts in A and 12 in B"),
        (lambda: make_capture(3, 8, 2, 300), "2 sets of experts and B has 3"),
        (lambda: make_capture(make_sites(2, 8, stack="vision"), groups=2), "no layer in common"),
        (lambda: make_capture(2, 8, ["x", "y"], 300), "no group in common"),
        (lambda: make_capture(2, 8, 2, 300, blocks=8), "32 blocks and B into 8"),
    ],
)
def test_what_does_not_match_is_refused_in_one_sentence(other: Any, says: str) -> None:
    with pytest.raises(CaptureError, match=says) as fault:
        compare_table([two()[0], other()], names=["A", "B"], lineage="same")
    assert str(fault.value).endswith(".") and "\n" not in str(fault.value)


def test_other_tokenizer_is_refused() -> None:
    import pyarrow as pa

    first, second = two()
    assert second.tokens is not None
    rows = second.tokens["text"]
    place = rows.column_names.index("piece")
    changed = rows.set_column(place, "piece", pa.array([f"{piece}x" for piece in rows.column("piece").to_pylist()]))
    other = Capture(second.manifest, second._load, tokens={"text": changed})
    with pytest.raises(CaptureError, match="different tokenizers"):
        align([first, other])


def test_common_layers_and_one_capture() -> None:
    longer = make_capture(3, 8, 2, 300)
    table = compare_table([longer, make_capture(2, 8, 2, 300)], common=True, resamples=40)
    assert [site.id for site in table.sites] == ["text_0_mlp", "text_1_mlp"] and "only the 2 sites" in table.caption
    with pytest.raises(CaptureError, match="name a second one"):
        align([longer])


def isolated() -> Capture:
    """Text tokens go to four text experts, image tokens to four vision experts, as in ERNIE 4.5 VL."""
    sites = [
        site.model_copy(update={"id": f"text_{layer}_{part}", "part": part})
        for layer in range(2)
        for part, site in (("text", make_sites(1, 4)[0]), ("vision", make_sites(1, 4)[0]))
    ]
    sites = [site.model_copy(update={"layer": number // 2}) for number, site in enumerate(sites)]
    full = make_capture(
        sites,
        groups=[Group(name="Text", modality="text"), Group(name="Image und.", modality="image")],
        tokens_per_group=800,
        token_rows=False,
        coactivation=False,
    )
    load = {name: np.array(full.table(name).values) for name in ("count", "mass", "tokens", "dropped", "skipped")}
    for name in load:
        load[name][:, 0::2, :, 1] = 0
        load[name][:, 1::2, :, 0] = 0
    return Capture(full.manifest, load)


def test_isolated_experts_are_laid_side_by_side() -> None:
    capture = isolated()
    joined = join_parts(capture)
    assert [site.experts for site in joined.sites] == [8, 8] and joined.count.sum() == capture.count.sum()
    assert joined.count[1, 0].tolist() == [*capture.count[2, 0, :4], 0, 0, 0, 0]
    assert joined.count[1, 1].tolist() == [0, 0, 0, 0, *capture.count[3, 1, :4]]
    assert joined.token_count.tolist() == [[800, 800], [800, 800]]
    joined.validate()
    agnostic = make_capture(2, 8, 2, 800, token_rows=False)
    table = compare_table([agnostic, capture], "IoU", resamples=60)
    assert table.others[0].max() == 0.0 and (table.difference[0] <= 0).all() and "by design" in table.caption
    with pytest.raises(CaptureError, match="sets by modality"):
        compare_table([agnostic, capture], "load", lineage="same")
