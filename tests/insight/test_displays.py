"""Saturation, surprise, passages: against what a trace says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chargen.inference.engine import Stepper
from chargen.insight.saturation import (
    measure_saturation,
    saturation_figure,
    summary,
    watched,
)
from chargen.insight.surprise import measure_surprise, positions_of
from chargen.insight.trace import record
from chargen.insight.why import build_passages, quote
from tests.conftest import CELLS, make_model
from tests.insight import equations

IDS = np.random.default_rng(3).integers(9, size=300)


@pytest.mark.parametrize("cell", CELLS)
def test_saturation_counts_what_a_trace_shows(cell):
    model = make_model(cell, 2)
    for layer in range(2):  # strong enough that gates do reach their ends
        model.weights[f"layers.{layer}.weight_ih"] *= 8
    stepper = Stepper(model.config, model.weights)
    found = measure_saturation(stepper, IDS)
    trace = record(stepper, IDS)
    assert [one.name for one in found] == watched(model.config.cell_row)
    for one in found:
        if one.name == "hidden":
            values, low, high = trace.states[:, :, 0], -0.8, 0.8
            if cell == "rnn-relu":
                low, high = 1e-6, np.inf
        else:
            values = trace.gates[:, :, model.config.cell_row.gates.index(one.name)]
            low, high = 0.1, 0.9
        np.testing.assert_allclose(one.left, (values < low).mean(0), atol=0.011)
        np.testing.assert_allclose(one.right, (values > high).mean(0), atol=0.011)
        np.testing.assert_allclose(one.mean, values.mean(0), atol=1e-3)
        assert one.left.max() > 0


def test_saturation_in_words_and_points():
    gates = {"lstm": 3, "gru": 2, "rnn": 1, "rnn-relu": 1}
    for cell, count in gates.items():
        model = make_model(cell, 2)
        row = model.config.cell_row
        found = measure_saturation(Stepper(model.config, model.weights), IDS[:50])
        figure = saturation_figure(found, row)
        assert len(figure.plots) == count
        assert [len(plot.series) for plot in figure.plots] == [2] * count
        assert figure.plots[0].series[1].labels[3] == "L2:3"
        assert len(summary(found, row)) == 2 * count
    assert (
        "of forget gates stay open"
        in summary(
            measure_saturation(
                Stepper(make_model("lstm").config, make_model("lstm").weights), IDS[:20]
            ),
            make_model("lstm").config.cell_row,
        )[1]
    )


def test_surprise_is_what_each_token_cost():
    model = make_model("gru", 2)
    found = measure_surprise(Stepper(model.config, model.weights), IDS)
    _, rows = equations.read(model, IDS)
    assert np.isnan(found.bits[0])
    assert np.isnan(found.chance[0])
    expected = [
        equations.nats(row, one) / np.log(2) for row, one in zip(rows, IDS[1:], strict=False)
    ]
    np.testing.assert_allclose(found.bits[1:], expected, atol=1e-4)
    assert found.expected[1:].tolist() == [int(row.argmax()) for row in rows[:-1]]
    best = [np.exp(-equations.nats(row, row.argmax())) for row in rows[:-1]]
    np.testing.assert_allclose(found.chance[1:], best, atol=1e-4)


def test_lines_and_columns():
    labels = ("a", "b\n", "\n", "", "cd", "e")
    places = positions_of(labels, np.arange(6))
    assert [(one.line, one.column) for one in places] == [
        (1, 1), (1, 2), (2, 1), (3, 1), (3, 1), (3, 3)
    ]  # fmt: skip
    some = positions_of(labels, np.array([2, 5]))
    assert [(one.token, one.line, one.column) for one in some] == [(2, 2, 1), (5, 3, 3)]


def test_passages_have_the_states_of_their_places():
    model = make_model("lstm", 2)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(4).integers(9, size=5000).astype(np.uint8)
    index = build_passages(stepper, ids, count=1000)
    trace = record(stepper, ids)
    assert len(set(index.places.tolist())) == len(index.places) >= 900
    for row in range(0, len(index.places), 97):
        own = trace.states[index.places[row], :, 0].ravel()
        np.testing.assert_allclose(index.states[row], own / np.linalg.norm(own), atol=2e-3)


def test_the_nearest_place_is_the_place_itself_and_others_stand_apart():
    model = make_model("gru", 1)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(4).integers(9, size=3000).astype(np.uint8)
    index = build_passages(stepper, ids, count=1500)
    place = int(index.places[700])
    state = stepper.read(ids[: place + 1], stepper.zero_state())
    near = index.nearest(state, 4, apart=50)
    assert near[0][0] == place
    assert near[0][1] == pytest.approx(1, abs=2e-3)
    cosines = [one for _, one in near]
    assert cosines == sorted(cosines, reverse=True)
    places = sorted(one for one, _ in near)
    assert all(b - a >= 50 for a, b in itertools.pairwise(places))


@pytest.mark.parametrize("length", [1, 5, 200])
def test_short_texts_have_passages_too(length):
    model = make_model("rnn", 1)
    stepper = Stepper(model.config, model.weights)
    index = build_passages(stepper, IDS[:length])
    assert sorted(index.places) == list(range(length))


def test_a_passage_is_quoted_with_its_line():
    tokenizer = make_model().build_tokenizer()
    ids = tokenizer.encode("ab\ncd\nef")
    found = quote(ids, tokenizer, 4, 0.5, around=3)
    assert (found.before, found.after, found.line, found.cosine) == ("\ncd", "\nef", 2, 0.5)
