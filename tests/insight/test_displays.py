"""Saturation, surprise and passages, compared with a trace of the same text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chargen.inference.engine import Stepper
from chargen.insight.saturation import (
    describe_saturation,
    measure_saturation,
    saturation_figure,
    watched,
)
from chargen.insight.surprise import measure_surprise, positions_of
from chargen.insight.trace import record
from chargen.insight.why import build_passages, quote_passage
from tests.conftest import CELLS, make_model
from tests.insight import equations

IDS = np.random.default_rng(3).integers(9, size=300)


@pytest.mark.parametrize("cell", CELLS)
def test_saturation_equals_that_counted_in_a_trace(cell):
    model = make_model(cell, 2)
    for layer in range(2):  # strong enough to saturate gates
        model.weights[f"layers.{layer}.weight_ih"] *= 8
    stepper = Stepper(model.config, model.weights)
    gates = measure_saturation(stepper, IDS)
    trace = record(stepper, IDS)
    assert [gate.name for gate in gates] == watched(model.config.cell_row)
    for gate in gates:
        if gate.name == "hidden":
            values, low, high = trace.states[:, :, 0], -0.8, 0.8
            if cell == "rnn-relu":
                low, high = 1e-6, np.inf
        else:
            values = trace.gates[:, :, model.config.cell_row.gates.index(gate.name)]
            low, high = 0.1, 0.9
        np.testing.assert_allclose(gate.left, (values < low).mean(0), atol=0.011)
        np.testing.assert_allclose(gate.right, (values > high).mean(0), atol=0.011)
        np.testing.assert_allclose(gate.mean, values.mean(0), atol=1e-3)
        assert gate.left.max() > 0


def test_saturation_has_a_description_and_a_point_for_each_unit():
    plots = {"lstm": 3, "gru": 2, "rnn": 1, "rnn-relu": 1}
    for cell, count in plots.items():
        model = make_model(cell, 2)
        row = model.config.cell_row
        gates = measure_saturation(Stepper(model.config, model.weights), IDS[:50])
        figure = saturation_figure(gates, row)
        assert len(figure.plots) == count
        assert [len(plot.series) for plot in figure.plots] == [2] * count
        assert figure.plots[0].series[1].labels[3] == "L2:3"
        assert len(describe_saturation(gates, row)) == 2 * count
    lstm = make_model("lstm")
    gates = measure_saturation(Stepper(lstm.config, lstm.weights), IDS[:20])
    assert "of forget gates stay open" in describe_saturation(gates, lstm.config.cell_row)[1]


def test_surprise_is_the_cost_of_each_token_in_bits():
    model = make_model("gru", 2)
    surprise = measure_surprise(Stepper(model.config, model.weights), IDS)
    _, rows = equations.read(model, IDS)
    assert np.isnan(surprise.bits[0])
    assert np.isnan(surprise.probability[0])
    expected = [
        equations.nats(row, token) / np.log(2) for row, token in zip(rows, IDS[1:], strict=False)
    ]
    np.testing.assert_allclose(surprise.bits[1:], expected, atol=1e-4)
    assert surprise.expected[1:].tolist() == [int(row.argmax()) for row in rows[:-1]]
    best = [np.exp(-equations.nats(row, row.argmax())) for row in rows[:-1]]
    np.testing.assert_allclose(surprise.probability[1:], best, atol=1e-4)


def test_tokens_have_a_line_and_a_column():
    labels = ("a", "b\n", "\n", "", "cd", "e")
    positions = positions_of(labels, np.arange(6))
    assert [(position.line, position.column) for position in positions] == [
        (1, 1), (1, 2), (2, 1), (3, 1), (3, 1), (3, 3)
    ]  # fmt: skip
    third, last = positions_of(labels, np.array([2, 5]))
    assert (third.token, third.line, third.column) == (2, 2, 1)
    assert (last.token, last.line, last.column) == (5, 3, 3)


def test_passages_have_the_states_of_their_positions():
    model = make_model("lstm", 2)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(4).integers(9, size=5000).astype(np.uint8)
    index = build_passages(stepper, ids, count=1000)
    trace = record(stepper, ids)
    assert len(set(index.positions.tolist())) == len(index.positions) >= 900
    for row in range(0, len(index.positions), 97):
        state = trace.states[index.positions[row], :, 0].ravel()
        np.testing.assert_allclose(index.states[row], state / np.linalg.norm(state), atol=2e-3)


def test_the_nearest_position_is_the_position_itself_and_others_keep_their_distance():
    model = make_model("gru", 1)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(4).integers(9, size=3000).astype(np.uint8)
    index = build_passages(stepper, ids, count=1500)
    position = int(index.positions[700])
    state = stepper.read(ids[: position + 1], stepper.zero_state())
    near = index.nearest(state, 4, apart=50)
    assert near[0][0] == position
    assert near[0][1] == pytest.approx(1, abs=2e-3)
    cosines = [cosine for _, cosine in near]
    assert cosines == sorted(cosines, reverse=True)
    positions = sorted(row for row, _ in near)
    assert all(b - a >= 50 for a, b in itertools.pairwise(positions))


@pytest.mark.parametrize("length", [1, 5, 200])
def test_short_texts_have_passages_too(length):
    model = make_model("rnn", 1)
    stepper = Stepper(model.config, model.weights)
    index = build_passages(stepper, IDS[:length])
    assert sorted(index.positions) == list(range(length))


def test_a_passage_is_quoted_with_its_line():
    tokenizer = make_model().build_tokenizer()
    ids = tokenizer.encode("ab\ncd\nef")
    passage = quote_passage(ids, tokenizer, 4, 0.5, around=3)
    assert (passage.before, passage.after, passage.line, passage.cosine) == ("\ncd", "\nef", 2, 0.5)
