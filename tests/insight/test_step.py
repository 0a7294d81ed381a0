"""One step, equation by equation: the values, their order and their pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.inference.engine import Stepper
from chargen.insight.step import (
    Line,
    break_down_step,
    most_active,
    most_likely_tokens,
    states_before_tokens,
    step_grid,
    to_columns,
)
from chargen.insight.trace import record
from tests.conftest import CELLS, make_model
from tests.insight import equations

ORDERS = {
    "lstm": ["input and state", "forget gate", "candidate", "input gate", "cell state",
             "output gate", "hidden state"],
    "gru": ["input and state", "reset gate", "update gate", "candidate", "hidden state"],
    "rnn": ["input and state", "hidden state"],
    "rnn-relu": ["input and state", "hidden state"],
}  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied_head", [False, True])
def test_every_line_has_the_values_of_its_equation(cell, tied_head):
    model = make_model(cell, 2, tied_head=tied_head)
    stepper = Stepper(model.config, model.weights)
    ids = np.array([1, 4, 2, 8, 5])
    states = states_before_tokens(stepper, ids)
    breakdown = break_down_step(stepper, int(ids[-1]), states[-1])
    before, _ = equations.read(model, ids[:-1])
    x = equations.embedded(model, ids[-1])
    gates, after, logits = equations.step(model, x, before[-1])
    for layer, lines in enumerate(breakdown.layers):
        assert [line.name for line in lines] == ORDERS[cell]
        values = {line.name.removesuffix(" gate"): line.values for line in lines}
        below = x if layer == 0 else after[layer - 1, 0]
        np.testing.assert_allclose(
            values["input and state"], np.concatenate([below, before[-1][layer, 0]]), atol=1e-5
        )
        for name, gate in gates[layer].items():
            if name in values:
                np.testing.assert_allclose(values[name], gate, atol=1e-5)
        np.testing.assert_allclose(values["hidden state"], after[layer, 0], atol=1e-5)
        if cell == "lstm":
            np.testing.assert_allclose(values["cell state"], after[layer, 1], atol=1e-5)
    np.testing.assert_allclose(breakdown.logits, logits, atol=1e-4)
    likelihoods = np.exp(logits - logits.max())
    np.testing.assert_allclose(breakdown.probabilities, likelihoods / likelihoods.sum(), atol=1e-5)
    assert most_likely_tokens(breakdown, 3).tolist() == np.argsort(-logits)[:3].tolist()


def test_each_token_has_the_state_before_it():
    model = make_model("lstm", 2)
    stepper = Stepper(model.config, model.weights)
    ids = np.array([3, 1, 4, 1, 5])
    states = states_before_tokens(stepper, ids)
    trace = record(stepper, ids)
    assert not states[0].any()
    np.testing.assert_array_equal(states[1:], trace.states[:-1])


def line(values, *, gate=False, inputs=0) -> Line:
    return Line(
        name="n", formula="f", meaning="s", values=np.array(values, np.float32), gate=gate,
        inputs=inputs,
    )  # fmt: skip


def test_a_column_can_summarise_several_units():
    assert to_columns(line([0.0, 1.0, 0.5, 0.5], gate=True), 2).tolist() == [0.5, 0.5]
    columns = to_columns(line([0.3, -0.4, 0.6, 0.8]), 2)
    np.testing.assert_allclose(columns, [-np.sqrt(0.125), np.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_allclose(to_columns(line([4.0, -2.0]), 5), [1.0, -0.5])


@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=50), st.integers(1, 60))
def test_columns_are_between_minus_one_and_one(values, columns):
    result = to_columns(line(values), columns)
    assert len(result) == min(columns, len(values))
    assert (np.abs(result) <= 1 + 1e-6).all()


def test_the_units_furthest_from_zero_by_name():
    assert most_active(line([0.25, -0.5, 0.125]), 2) == [("1", -0.5), ("0", 0.25)]
    combined = line([0.25, -0.5, 0.125], inputs=2)
    assert [name for name, _ in most_active(combined, 3)] == ["x1", "x0", "h0"]


def test_a_grid_has_a_row_for_each_line():
    model = make_model("gru", 2)
    stepper = Stepper(model.config, model.weights)
    grid = step_grid(break_down_step(stepper, 3, stepper.zero_state()), "a step", ("note",))
    assert grid.values.shape == (10, 80)
    assert grid.row_labels[1] == "L1 r = σ(Wr·x + Ur·h + br)"
    assert (grid.layout, grid.notes) == ("strips", ("note",))
