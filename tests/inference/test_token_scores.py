"""Scores of a long text read in batch rows, compared with the scores of one reading."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chargen.inference import batched_read, token_scores
from chargen.inference.batched_read import read_in_rows
from chargen.inference.engine import Stepper
from chargen.inference.token_scores import token_logprobs, total_nats
from chargen.insight.trace import record
from tests.conftest import CELLS, make_model


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("length", [700, 777])
def test_the_total_in_rows_equals_the_total_of_one_reading(cell, length, monkeypatch):
    model = make_model(cell, 2, hidden_size=16)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(0).integers(10, size=length).astype(np.uint8)
    expected = total_nats(stepper, ids)
    monkeypatch.setattr(batched_read, "MIN_TOKENS_IN_ROWS", 600)
    monkeypatch.setattr(token_scores, "WARM_UP_TOKENS", 300)
    assert total_nats(stepper, ids) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_rows_compute_the_logits_and_states_of_one_reading(cell):
    model = make_model(cell, 2, hidden_size=16)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(0).integers(10, size=777).astype(np.uint8)
    trace = record(stepper, ids)
    shares: list[float] = []
    seen = np.zeros(len(ids), int)
    for step in read_in_rows(stepper, ids, rows=7, warm_up=300, progress=shares.append):
        positions = step.counted_positions
        seen[positions] += 1
        states = step.state[:, :, step.counts].transpose(2, 0, 1, 3)
        np.testing.assert_allclose(states, trace.states[positions], atol=1e-5)
        for layer in range(2):
            gates = np.stack([gate[step.counts] for gate in step.gates(layer)], axis=1)
            np.testing.assert_allclose(gates, trace.gates[positions, layer], atol=1e-5)
    assert (seen == 1).all()
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1


@pytest.mark.parametrize("length", [1, 2, 5])
def test_texts_with_fewer_tokens_than_rows_can_be_read(length):
    model = make_model("lstm", 1)
    stepper = Stepper(model.config, model.weights)
    ids = np.arange(length)
    steps = read_in_rows(stepper, ids, rows=64, warm_up=10)
    assert sorted(np.concatenate([step.counted_positions for step in steps])) == list(range(length))
    logprobs = token_logprobs(stepper, ids, clamps={0: ([0], [3], [0.0])})
    assert logprobs.shape == (length - 1,)


def test_scores_with_clamped_units_and_of_long_texts_equal_those_of_single_steps(monkeypatch):
    model = make_model("gru", 2)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(2).integers(9, size=400)
    clamps = {1: ([0], [5], [0.75])}
    state, expected = stepper.zero_state(), []
    for token, following in itertools.pairwise(ids):
        logits = stepper.step(int(token), state, state, clamps).astype(np.float64)
        expected.append(logits[following] - np.log(np.exp(logits).sum()))
    np.testing.assert_allclose(token_logprobs(stepper, ids, clamps=clamps), expected, atol=1e-5)
    exact = token_logprobs(stepper, ids)
    monkeypatch.setattr(token_scores, "_MIN_TOKENS_PREDICTED_IN_ROWS", 300)
    np.testing.assert_allclose(token_logprobs(stepper, ids), exact, atol=1e-5)


def test_the_total_is_the_sum_over_the_tokens():
    model = make_model("lstm", 1, hidden_size=16)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(1).integers(10, size=300)
    state, nats = stepper.zero_state(), 0.0
    for token, following in itertools.pairwise(ids):
        logits = stepper.step(int(token), state, state).astype(np.float64)
        nats += np.log(np.exp(logits).sum()) - logits[following]
    assert total_nats(stepper, ids) == pytest.approx(nats, rel=1e-5)
