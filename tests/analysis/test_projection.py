"""PCA against scikit-learn, features by loops over single tokens, UMAP in its own process: seed, progress, cancel."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.capture_factory import make_capture, make_logits, make_sites
from workbench.analysis.map_features import bound_tokens, expert_features, token_features
from workbench.analysis.projection import MapTable, pca, pca_map, trustworthiness, umap_map
from workbench.analysis.umap_run import run_umap
from workbench.capture import Capture, CaptureError


# ---------------------------------------------------------------------- PCA
@pytest.mark.parametrize("shape", [(200, 12), (15, 300), (50, 50), (4, 3), (30, 1)])
def test_pca_against_scikit_learn(shape: tuple[int, int]) -> None:
    from sklearn.decomposition import PCA

    matrix = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1]) + 7
    xy, share = pca(matrix)
    model = PCA(min(2, *shape), svd_solver="full").fit(matrix)
    theirs = model.transform(matrix)
    for axis in range(theirs.shape[1]):
        assert np.allclose(np.abs(xy[:, axis]), np.abs(theirs[:, axis]), atol=1e-6)
        assert np.allclose(xy[:, axis], theirs[:, axis]) or np.allclose(xy[:, axis], -theirs[:, axis], atol=1e-6)
    assert np.allclose(share[: theirs.shape[1]], model.explained_variance_ratio_) and xy.shape == (shape[0], 2)


def test_pca_signs_do_not_depend_on_the_order_of_points() -> None:
    matrix = np.random.default_rng(1).normal(size=(60, 8))
    order = np.random.default_rng(2).permutation(60)
    assert np.allclose(pca(matrix)[0][order], pca(matrix[order])[0])


def test_pca_of_three_or_of_equal_points_is_a_sentence() -> None:
    with pytest.raises(CaptureError, match="lie in a plane"):
        pca(np.eye(3))
    with pytest.raises(CaptureError, match="All 9 points are the same"):
        pca(np.full((9, 4), 0.1))
    with pytest.raises(CaptureError, match="not finite"):
        pca(np.full((9, 4), np.nan))


# ---------------------------------------------------------------------- features, by loops over tokens
def rows_of(capture: Capture, stack: str = "text") -> list[dict[str, Any]]:
    assert capture.tokens is not None
    return list(capture.tokens[stack].to_pylist())


def test_experts_by_load() -> None:
    capture = make_capture(2, 6, 3, [300, 200, 100])
    made = expert_features(capture, "load")
    tokens = rows_of(capture)
    for number, row in made.rows.iterrows():
        rate = []
        for group in capture.groups:
            own = [token for token in tokens if token["group"] == group]
            rate.append(sum(row["expert"] in token[f"experts_{row['site']}"] for token in own) / len(own))
        assert np.allclose(made.matrix[number] ** 2, np.array(rate) / sum(rate))
        assert row["group"] == capture.groups[int(np.argmax(rate))]
        assert row["n_choices"] == sum(row["expert"] in token[f"experts_{row['site']}"] for token in tokens)
    assert made.matrix.shape == (12, 3) and made.seen == 12 and made.unused == 0


def test_experts_by_vocabulary() -> None:
    capture = make_capture(2, 6, 2, 300)
    made = expert_features(capture, "vocabulary", "text_1_mlp")
    tokens = rows_of(capture)
    ids = sorted({token["token_id"] for token in tokens})
    assert all(sum(token["token_id"] == one for token in tokens) >= 10 for one in ids), (
        "else the test has to leave some out"
    )
    for number, row in made.rows.iterrows():
        own = [token["token_id"] for token in tokens if row["expert"] in token["experts_text_1_mlp"]]
        profile = np.array([own.count(one) for one in ids]) / len(own)
        assert np.allclose(made.matrix[number] ** 2, profile)


def test_experts_by_coactivation() -> None:
    capture = make_capture(2, 6, 2, 300, top_k=3)
    made = expert_features(capture, "coactivation", "text_0_mlp")
    tokens = rows_of(capture)
    for number, row in made.rows.iterrows():
        pairs = np.zeros(6)
        for token in tokens:
            chosen = token["experts_text_0_mlp"]
            if row["expert"] in chosen:
                for other in chosen:
                    pairs[other] += other != row["expert"]
        assert np.allclose(made.matrix[number] ** 2, pairs / pairs.sum())


@pytest.mark.parametrize("sites", ["text_1_mlp", None])
def test_tokens_by_chosen_experts(sites: str | None) -> None:
    capture = make_capture(2, 6, 2, 100)
    made = token_features(capture, "experts", sites, most=50, seed=4)
    shown = ["text_1_mlp"] if sites else ["text_0_mlp", "text_1_mlp"]
    by_place = {(token["document"], token["position"]): token for token in rows_of(capture)}
    assert len(made.rows) == 50 and made.seen == 200
    for number, row in made.rows.iterrows():
        token = by_place[row["document"], row["position"]]
        expected = np.zeros(6 * len(shown))
        for index, site in enumerate(shown):
            for expert, weight in zip(token[f"experts_{site}"], token[f"weights_{site}"], strict=True):
                expected[6 * index + expert] = weight
        assert np.allclose(made.matrix[number], expected)
        assert (row["token"], row["group"], row["modality"], row["role"], row["phase"]) == (
            token["piece"], token["group"], token["modality"], token["role"], token["phase"],
        )  # fmt: skip
        if sites:
            assert row["expert"] == token["experts_text_1_mlp"][0]
    again = token_features(capture, "experts", sites, most=50, seed=4)
    other = token_features(capture, "experts", sites, most=50, seed=5)
    assert again.rows.equals(made.rows) and not other.rows.equals(made.rows)


def test_tokens_by_router_scores() -> None:
    import pyarrow as pa

    capture = make_capture(1, 5, 2, 40)
    assert capture.tokens is not None
    scores = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32)
    table = capture.tokens["text"].append_column("scores_text_0_mlp", pa.array(list(scores), pa.list_(pa.float32())))
    with_scores = Capture(capture.manifest, capture._load, tokens={"text": table})
    made = token_features(with_scores, "scores", "text_0_mlp")
    place = {(row["document"], row["position"]): index for index, row in enumerate(rows_of(capture))}
    for number, row in made.rows.iterrows():
        own = scores[place[row["document"], row["position"]]]
        assert np.allclose(made.matrix[number], own - own.mean(), atol=1e-6)
    with pytest.raises(CaptureError, match="no router scores"):
        token_features(capture, "scores", "text_0_mlp")


def test_tokens_of_one_group() -> None:
    made = token_features(make_capture(1, 6, 3, [50, 70, 90]), "experts", group="Image und.")
    assert len(made.rows) == 70 and set(made.rows["group"]) == {"Image und."}


def test_experts_never_chosen_are_left_out_and_counted() -> None:
    logits = make_logits(1, 2, 8)
    logits[:, :, [2, 5]] = -np.inf
    made = expert_features(make_capture(1, 8, 2, 200, logits=logits), "load")
    assert made.unused == 2 and made.seen == 8 and not set(made.rows["expert"]) & {2, 5}
    assert "2 were never chosen" in pca_map(made, ()).caption


def test_most_bound_token() -> None:
    capture = make_capture(1, 6, 2, 300)
    made = expert_features(capture, "load")
    tokens = rows_of(capture)
    for expert, word in zip(made.rows["expert"], bound_tokens(capture, made.rows), strict=True):
        shares = {}
        for one in {token["token_id"] for token in tokens}:
            own = [token for token in tokens if token["token_id"] == one]
            shares[one] = sum(expert in token["experts_text_0_mlp"] for token in own) / len(own)
        best = max(shares, key=lambda one: (shares[one], -one))
        assert word in {token["piece"] for token in tokens if token["token_id"] == best}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: expert_features(make_capture(2, 6, ["only"], 50), "load"), "one group with tokens"),
        (lambda: expert_features(make_capture(2, 6, 2, 50), "coactivation"), "choose one layer"),
        (lambda: expert_features(make_capture(1, 6, 2, 50, coactivation=False), "coactivation"), "no co-activation"),
        (lambda: expert_features(make_capture(1, 6, 2, 50, top_k=1), "coactivation"), "chooses one expert"),
        (lambda: expert_features(make_capture(1, 6, 2, 50, token_rows=False), "vocabulary"), "no token rows"),
        (lambda: token_features(make_capture(1, 6, 2, 50, token_rows=False), "experts"), "no token rows"),
        (lambda: token_features(make_capture(1, 6, 1, 3), "experts"), "any three points lie in a plane"),
        (lambda: expert_features(make_capture(1, 3, 2, 50), "load"), "any three points lie in a plane"),
        (lambda: expert_features(make_capture((*make_sites(1), *make_sites(1, stack="vision")), groups=2, tokens_per_group=60), "vocabulary"), "one stack"),
        (lambda: token_features(make_capture(2, 6, 2, 50), "scores"), "one layer at a time"),
        (lambda: expert_features(make_capture(1, 6, 2, 50), "weather"), "not by 'weather'"),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped_is_one_sentence(make: Any, said: str) -> None:
    with pytest.raises(CaptureError, match=said) as fault:
        make()
    assert "\n" not in str(fault.value) and str(fault.value).endswith(".")


# ---------------------------------------------------------------------- the map
def test_planted_groups_lie_apart_and_trust_is_high() -> None:
    logits = np.full((1, 2, 12), -3.0)
    logits[0, 0, :6] = logits[0, 1, 6:] = 3.0
    features = expert_features(make_capture(1, 12, 2, 600, logits=logits), "load")
    table = pca_map(features, ())
    left = table.xy[features.rows["expert"] < 6, 0]
    right = table.xy[features.rows["expert"] >= 6, 0]
    assert left.max() < right.min() or right.max() < left.min()
    assert table.explained is not None and table.explained[0] > 0.95
    value, n = trustworthiness(table)
    assert value > 0.8 and n == 12
    frame = table.frame()
    assert list(frame.columns[:2]) == ["x", "y"] and len(frame) == 12 and "layer" in frame


def test_trustworthiness_of_a_map_that_is_the_data_is_one() -> None:
    features = token_features(make_capture(1, 6, 2, 60), "experts")
    object.__setattr__(features, "matrix", features.matrix[:, :2] + np.random.default_rng(0).normal(size=(120, 2)))
    table = MapTable("pca", features, features.matrix, np.ones(2), None, None, None, (), "")
    assert trustworthiness(table)[0] == 1.0


# ---------------------------------------------------------------------- UMAP
def children() -> set[int]:
    found = psutil.Process().children(recursive=True)
    return {child.pid for child in found if "umap_worker" in " ".join(child.cmdline())}


@pytest.mark.full  # each start compiles for half a minute or more
def test_umap_twice_with_a_seed_and_its_progress() -> None:
    features = token_features(make_capture(1, 8, 2, 40), "experts")
    said: list[tuple[int, int | None, str]] = []
    first = run_umap(features.matrix, seed=3, neighbours=10, progress=lambda *at: said.append(at))
    assert first.shape == (80, 2) and np.isfinite(first).all() and not children()
    assert "compiles" in said[0][2] and said[-1][0] == said[-1][1] and said[-1][1]
    assert np.array_equal(first, run_umap(features.matrix, seed=3, neighbours=10))
    table = umap_map(features, (), first, seed=3, neighbours=10, min_dist=0.1)
    assert (
        0 <= trustworthiness(table)[0] <= 1 and "seed 3" in table.caption and set(table.frame()["method"]) == {"umap"}
    )


def test_umap_is_really_stopped() -> None:
    """Cancelled while numba compiles: the process is gone when the exception arrives."""

    class Stop(Exception):
        pass

    began = threading.Event()
    seen: set[int] = set()

    def check() -> None:
        seen.update(children())
        if began.is_set():
            raise Stop

    with pytest.raises(Stop):
        run_umap(np.random.default_rng(0).normal(size=(500, 20)), check=check, progress=lambda *_: began.set())
    assert seen and not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in seen)


def test_umap_process_leaves_when_its_parent_is_killed(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys

    code = "import numpy as np; from workbench.analysis.umap_run import run_umap; run_umap(np.random.normal(size=(4000, 50)))"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2])
    worker: list[psutil.Process] = []
    while not worker and parent.poll() is None:
        worker = psutil.Process(parent.pid).children()
        time.sleep(0.1)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert psutil.wait_procs(worker, timeout=60)[1] == []


def test_umap_of_few_or_broken_points_is_a_sentence() -> None:
    with pytest.raises(CaptureError, match="needs 10 points or more, but 9 came"):
        run_umap(np.eye(9))
    with pytest.raises(CaptureError, match="not finite"):
        run_umap(np.full((20, 3), np.inf))
