"""The parts of the sample runs' recipe: rows, balance loss, learning rate, one step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.training.packing import Stream, batch
from workbench.training.sample_recipe import Recipe, balance_loss, build_model, learning_rate, train_step


def test_rows_cover_every_token_once_an_epoch_and_depend_on_the_index_alone() -> None:
    documents = [np.arange(10 * n + 2, 10 * n + 2 + n % 5 + 1) for n in range(50)]
    stream, again = (Stream(documents, 0, 8, (3, 1)) for _ in range(2))
    rows = [stream.row(i) for i in range(2 * stream.rows_per_epoch)]
    np.testing.assert_array_equal(again.row(len(rows) - 1), rows[-1])  # straight to a late row
    np.testing.assert_array_equal(again.row(1), rows[1])
    assert all(row[0] == 0 and len(row) == 8 for row in rows)
    first = np.concatenate([row[1:] for row in rows[: stream.rows_per_epoch]])
    content = first[first > 0]
    assert len(set(content.tolist())) == len(content), "no token twice in an epoch"
    assert len(content) + 8 > sum(map(len, documents)) - 8
    second = np.concatenate([row[1:] for row in rows[stream.rows_per_epoch :]])
    assert not np.array_equal(first, second), "another epoch, another order"
    assert batch([stream, again], 1, 2).shape == (4, 8)


def test_balance_loss_is_per_layer_and_least_when_even() -> None:
    even = torch.eye(4).repeat(5, 1) * 20.0
    skewed = torch.zeros(20, 4)
    skewed[:, 0] = 20.0
    assert balance_loss((even,), 4, 1).item() == pytest.approx(1.0, abs=1e-3)
    assert balance_loss((skewed,), 4, 1).item() == pytest.approx(4.0, abs=1e-3)
    # Two layers, each all on one expert, but another one: pooled they would look half as bad.
    assert balance_loss((skewed, skewed.roll(1, 1)), 4, 1).item() == pytest.approx(4.0, abs=1e-3)


def test_learning_rate_warms_up_stays_and_decays_to_zero() -> None:
    recipe = Recipe(learning_rate=1.0, warm_up=10, decay_share=0.5)
    rates = [learning_rate(recipe, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:51] == [1.0] * 42
    assert rates[75] == pytest.approx(0.5) and rates[99] == pytest.approx(0.02)


def test_a_step_reports_the_loss_of_each_kind_and_learns() -> None:
    torch.set_num_threads(1)
    recipe = replace(Recipe(), kinds=("a", "b"), vocabulary=20, context=8, width=16, heads=1, head_width=16, layers=1)
    model = build_model(recipe, 1, 0).train()
    ids = torch.arange(2, 18).view(2, 8)
    with torch.no_grad():
        # transformers' own loss of each row by itself.
        expected = [float(model(input_ids=row[None], labels=row[None]).loss) for row in ids]
    optimizer = torch.optim.AdamW(model.parameters())
    first = train_step(model, optimizer, recipe, ids, 1e-2)
    assert [first["loss/a"], first["loss/b"]] == pytest.approx(expected, abs=1e-4)
    assert first["loss"] == pytest.approx(sum(expected) / 2, abs=1e-4)
    assert first["loss/balance"] >= recipe.top_k - 1e-3 and first["grad_norm"] > 0
    for _ in range(5):
        last = train_step(model, optimizer, recipe, ids, 1e-2)
    assert last["loss"] < first["loss"]
