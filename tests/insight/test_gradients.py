"""Gradients through time, compared with numeric differences and with products of Jacobians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chargen.inference.engine import Stepper
from chargen.insight.gradients import (
    GradientNorms,
    describe_gradients,
    gradient_figure,
    measure_gradient_norms,
    measure_input_gradients,
    steps_to_fall,
)
from tests.conftest import CELLS, make_model
from tests.insight import equations

TEXT = np.array([1, 3, 2, 5, 4, 0, 6, 7, 2, 1, 3, 3, 8, 0, 4])
EPSILON = 1e-6


def loss_from(model, state, ids, index=None, change=0.0):
    """Nats of the last of `ids` when the state before them is changed."""
    state = np.array(state, np.float64)
    if index is not None:
        state[index] += change
    logits = None
    for token in ids[:-1]:
        _, state, logits = equations.step(model, equations.embedded(model, token), state)
    if logits is None:
        head = model.weights.get("head.weight", model.weights["embedding.weight"])
        logits = head.astype(np.float64) @ state[-1, 0] + model.weights["head.bias"]
    return equations.nats(logits, ids[-1])


def numeric_norms(model, ids, back):
    """Norms of the gradient of the last token's loss, `back` steps before, by layer."""
    states, _ = equations.read(model, ids[:-1])
    state = states[len(ids) - 2 - back]
    rest = ids[len(ids) - 1 - back :]
    slopes = np.zeros(state.shape)
    for index in np.ndindex(*state.shape):
        up = loss_from(model, state, rest, index, EPSILON)
        slopes[index] = (up - loss_from(model, state, rest, index, -EPSILON)) / (2 * EPSILON)
    return np.sqrt((slopes**2).sum((1, 2)))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
def test_norms_equal_those_of_the_numeric_gradient(cell, layers):
    model = make_model(cell, layers, hidden_size=5, embedding_size=4)
    back = len(TEXT) - 2
    norms = measure_gradient_norms(
        model.config, model.weights, TEXT, steps=back, positions=1, dtype=torch.float64
    )
    assert (norms.positions, norms.layers.shape) == (1, (back + 1, layers))
    for k in (0, 1, 2, 7, back):
        expected = numeric_norms(model, TEXT, k)
        np.testing.assert_allclose(norms.layers[k], expected, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(
            norms.state[k], np.sqrt((expected**2).sum()), rtol=1e-5, atol=1e-9
        )


@pytest.mark.parametrize("cell", CELLS)
def test_norms_of_the_inputs_equal_those_of_the_numeric_gradient(cell):
    model = make_model(cell, 2, hidden_size=5, embedding_size=4, tied_head=False)
    back = len(TEXT) - 2
    norms = measure_gradient_norms(
        model.config, model.weights, TEXT, steps=back, positions=1, dtype=torch.float64
    )
    slopes = input_slopes(model, TEXT)
    np.testing.assert_allclose(
        norms.inputs, np.linalg.norm(slopes, axis=1)[::-1], rtol=1e-5, atol=1e-9
    )


def input_slopes(model, ids):
    """Of the last token's nats, with respect to each embedded token before it."""
    vectors = [equations.embedded(model, token) for token in ids[:-1]]

    def cost(position, k, change):
        state, logits = equations.zero_state(model), None
        for number, vector in enumerate(vectors):
            x = vector.copy()
            if number == position:
                x[k] += change
            _, state, logits = equations.step(model, x, state)
        return equations.nats(logits, ids[-1])

    return np.array(
        [
            [
                (cost(position, k, EPSILON) - cost(position, k, -EPSILON)) / (2 * EPSILON)
                for k in range(len(vectors[0]))
            ]
            for position in range(len(vectors))
        ]
    )


def test_the_gradient_of_a_plain_rnn_is_the_product_of_jacobians():
    model = make_model("rnn", 1, hidden_size=6)
    states, logits = equations.read(model, TEXT[:-1])
    chances = np.exp(logits[-1] - logits[-1].max())
    chances /= chances.sum()
    chances[TEXT[-1]] -= 1
    slope = model.weights["head.weight"].astype(np.float64).T @ chances
    expected = [np.linalg.norm(slope)]
    recurrent = model.weights["layers.0.weight_hh"].astype(np.float64)
    for state in states[:0:-1]:  # h' = tanh(W x + U h + b): dh'/dh = diag(1 - h'^2) U
        slope = recurrent.T @ ((1 - state[0, 0] ** 2) * slope)
        expected.append(np.linalg.norm(slope))
    norms = measure_gradient_norms(
        model.config, model.weights, TEXT, steps=len(TEXT) - 2, positions=1, dtype=torch.float64
    )
    np.testing.assert_allclose(norms.state, expected, rtol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_means_over_positions_and_float32_is_nearly_exact(cell):
    model = make_model(cell, 2, hidden_size=6)
    averaged = measure_gradient_norms(model.config, model.weights, TEXT, steps=4, positions=5)
    ends = np.unique(np.linspace(4, len(TEXT) - 2, 5).astype(int))
    single = []
    for end in ends:  # one position at a time, each with all the text before it
        norms = measure_gradient_norms(
            model.config,
            model.weights,
            TEXT[: end + 2],
            steps=end,
            positions=1,
            dtype=torch.float64,
        )
        single.append(norms.state[:5])
    assert averaged.positions == len(ends)
    np.testing.assert_allclose(averaged.state, np.mean(single, axis=0), rtol=1e-4)


def norms_of(curve) -> GradientNorms:
    curve = np.asarray(curve, float)
    return GradientNorms(layers=curve[:, None], state=curve, inputs=curve, positions=1)


@given(st.floats(0.5, 60))
def test_an_exponential_decay_has_its_half_life(half):
    curve = np.concatenate([[7.0], 0.5 ** (np.arange(200) / half)])
    norms = norms_of(curve)
    assert norms.half_life == pytest.approx(half, rel=1e-6)
    if half < 150:
        assert norms.first_half == pytest.approx(half, rel=1e-6)
    assert norms.verdict == ("healthy" if half >= 7.5 else "vanishing")


def test_gradients_that_do_not_shrink_explode_and_zero_gradients_have_no_half_life():
    assert norms_of(1.1 ** np.arange(50)).verdict == "exploding"
    assert norms_of([1.0, np.inf, np.inf]).verdict == "exploding"
    assert "grows" in describe_gradients(norms_of(1.1 ** np.arange(50)), "character")
    gone = norms_of([1.0, 0.5, 0.0, 0.0])
    assert (gone.half_life, gone.verdict) == (0.0, "vanishing")
    assert steps_to_fall(np.array([4.0, 3.0, 2.9]), 0.5) == float("inf")
    assert steps_to_fall(np.array([1.0, 0.25]), 0.5) == pytest.approx(0.5)


def test_numbers_too_small_for_float32_become_zero():
    """The norms end at zero, and torch computes with subnormal numbers again afterwards."""
    model = make_model("rnn", 1, hidden_size=8)
    model.weights["layers.0.weight_hh"] *= 0.05
    norms = measure_gradient_norms(
        model.config, model.weights, np.tile(TEXT, 12), steps=150, positions=2
    )
    assert norms.state[-1] == 0
    assert torch.tensor(1e-40) * 1 > 0


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_and_gradient_times_input_equal_numeric_differences(cell):
    model = make_model(cell, 1, hidden_size=5, embedding_size=4)
    gradients = measure_input_gradients(
        model.config, model.weights, TEXT,
        Stepper(model.config, model.weights).zero_state(), torch.float64,
    )  # fmt: skip
    slopes = -input_slopes(model, TEXT)  # of the log-probability
    np.testing.assert_allclose(
        gradients.norms, np.linalg.norm(slopes, axis=1), rtol=1e-4, atol=1e-8
    )
    vectors = np.array([equations.embedded(model, token) for token in TEXT[:-1]])
    expected = (slopes * vectors).sum(1) / np.log(2)
    np.testing.assert_allclose(gradients.products, expected, rtol=1e-4, atol=1e-8)


def test_figures_have_a_curve_for_each_model_or_for_each_layer():
    model = make_model("lstm", 2)
    norms = measure_gradient_norms(model.config, model.weights, TEXT, steps=5, positions=3)
    figure = gradient_figure({"a": norms}, "character")
    assert [len(plot.series) for plot in figure.plots] == [1, 1, 2]
    pair = gradient_figure({"a": norms, "b": norms}, "character")
    assert [len(plot.series) for plot in pair.plots] == [2, 2]
    assert len(pair.notes) == 2
