"""Compare a capture with routing computed elsewhere: token rows, counts and sums, by brute force."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.probes.families.build import Built
from tests.probes.families.observe import expected_routing
from tests.probes.families.scores import Choice
from workbench.capture import Capture, Site

# Weights are kept as float16: 11 bits, so half a unit in the last place is 2 ** -11 of the value.
RELATIVE, ABSOLUTE = 1e-3, 1e-6


@dataclass(frozen=True)
class Rows:
    """Token rows of one site that saw them, in document and position order."""

    ids: np.ndarray
    weights: np.ndarray
    documents: list[str]
    groups: list[str]


def rows_of(capture: Capture, site: Site) -> Rows:
    """What the capture says of every token at a site: ids int64 [T, K], weights float64 [T, K]."""
    table = capture.read_tokens(site.stack)
    documents, positions = table["document"].to_pylist(), table["position"].to_pylist()
    order = sorted(range(table.num_rows), key=lambda row: (int(documents[row]), positions[row]))
    ids, weights = table[f"experts_{site.id}"].to_pylist(), table[f"weights_{site.id}"].to_pylist()
    groups = table["group"].to_pylist()
    seen = [row for row in order if ids[row] is not None]
    return Rows(
        np.array([ids[row] for row in seen], dtype=np.int64).reshape(len(seen), -1),
        np.array([weights[row] for row in seen], dtype=np.float64).reshape(len(seen), -1),
        [documents[row] for row in seen],
        [groups[row] for row in seen],
    )


def by_expert(ids: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same choices with the experts of every token in rising order, lost choices first and without weight."""
    order = np.argsort(ids, axis=-1, kind="stable")
    ids = np.take_along_axis(ids, order, axis=-1)
    return ids, np.where(ids < 0, 0.0, np.take_along_axis(weights, order, axis=-1))


def expected_rows(built: Built) -> dict[str, Choice]:
    """Block path -> the reference's choice for every row of the capture.

    A row is a token; ViTPose has a row an image, so one patch of each is kept.
    """
    expected = expected_routing(built.model, built.inputs)
    if built.family.kind != "vision":
        return expected
    images = len(built.inputs["pixel_values"])
    return {
        block: Choice(choice.ids[:: len(choice.ids) // images], choice.weights[:: len(choice.ids) // images])
        for block, choice in expected.items()
    }


def assert_same_choices(recorded: Rows, expected: Choice, where: str) -> None:
    """Fail unless every token has the same set of experts and, expert by expert, the same weights."""
    assert recorded.ids.shape == expected.ids.shape, (
        f"{where}: rows and choices {recorded.ids.shape} {expected.ids.shape}"
    )
    ids, weights = by_expert(recorded.ids, recorded.weights)
    wanted_ids, wanted_weights = by_expert(expected.ids, expected.weights)
    np.testing.assert_array_equal(ids, wanted_ids, err_msg=f"{where}: ids")
    np.testing.assert_allclose(weights, wanted_weights, rtol=RELATIVE, atol=ABSOLUTE, err_msg=f"{where}: weights")


def assert_counts(capture: Capture, site: Site, expected: Choice, groups: list[str]) -> None:
    """Fail unless counts, sums, token numbers and co-activation equal a count by hand.

    Args:
        expected: the reference's choice for every row of the site.
        groups: group name of every row.
    """
    index = capture.site_index(site.id)
    for group in capture.groups:
        of_group = [token for token, name in enumerate(groups) if name == group]
        column = capture.group_index(group)
        count, mass, lost = np.zeros(site.experts, dtype=np.int64), np.zeros(site.experts), 0
        for token in of_group:
            for expert, weight in zip(expected.ids[token], expected.weights[token], strict=True):
                if expert < 0:
                    lost += 1
                    continue
                count[expert] += 1
                mass[expert] += weight
        where = f"{site.id}, {group}"
        np.testing.assert_array_equal(capture.count[index, column, : site.experts], count, err_msg=where)
        np.testing.assert_allclose(
            capture.mass[index, column, : site.experts], mass, rtol=1e-4, atol=1e-5, err_msg=where
        )
        assert capture.token_count[index, column] == len(of_group), where
        assert capture.dropped[index, column] + capture.skipped[index, column] == lost, where
    together = np.zeros((site.experts, site.experts), dtype=np.int64)
    for token in range(len(groups)):
        chosen = [expert for expert in expected.ids[token] if expert >= 0]
        for one in chosen:
            for other in chosen:
                together[one, other] += 1
    assert capture.coactivation is not None
    np.testing.assert_array_equal(
        capture.coactivation[index, : site.experts, : site.experts], together, err_msg=f"{site.id}: co-activation"
    )
