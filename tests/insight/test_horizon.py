"""The memory horizon, compared with reading each context separately."""

from __future__ import annotations

import numpy as np
import pytest

from chargen.inference.engine import Stepper
from chargen.insight import horizon as module
from chargen.insight.horizon import horizon_figure, measure_horizon, reached
from tests.conftest import CELLS, make_cycle_model, make_model
from tests.insight import equations

IDS = np.random.default_rng(5).integers(9, size=90)


def bits(model, context, token):
    _, rows = equations.read(model, context)
    return equations.nats(rows[-1], token) / np.log(2)


@pytest.mark.parametrize("cell", CELLS)
def test_each_point_is_the_mean_over_contexts_of_that_length(cell):
    model = make_model(cell, 1, hidden_size=6)
    horizon = measure_horizon(Stepper(model.config, model.weights), IDS, longest=8, starts=6)
    firsts = np.unique(np.linspace(8, len(IDS) - 9, 6).astype(int))
    _, rows = equations.read(model, IDS)
    full = np.array(
        [equations.nats(row, token) / np.log(2) for row, token in zip(rows, IDS[1:], strict=False)]
    )
    assert horizon.full == pytest.approx(full.mean(), rel=1e-5)
    assert horizon.visible.tolist()[:5] == [1, 2, 3, 4, 5]
    for number in range(4):  # the first bins hold a single count each
        missing = [
            bits(model, IDS[first : first + number + 1], IDS[first + number + 1])
            - full[first + number]
            for first in firsts
        ]
        assert horizon.bits[number] - horizon.full == pytest.approx(np.mean(missing), abs=1e-5)
        error = np.std(missing) / np.sqrt(len(missing))
        assert horizon.error[number] == pytest.approx(error, abs=1e-5)


def test_the_tokens_before_are_shuffled(monkeypatch):
    """Unshuffled, what is read before the visible tokens is the text itself: little is missing."""
    model = make_model("gru", 1, hidden_size=6)
    stepper = Stepper(model.config, model.weights)
    shuffled = measure_horizon(stepper, IDS, longest=16, starts=6)

    class Keep:
        def permutation(self, values):
            return values

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Keep())
    unshuffled = measure_horizon(stepper, IDS, longest=16, starts=6)
    np.testing.assert_allclose(unshuffled.bits, shuffled.bits)
    assert np.abs(unshuffled.shuffled - unshuffled.full)[2:].max() < 1e-3
    assert np.abs(shuffled.shuffled - shuffled.full)[0] > 1e-3


def test_a_model_that_only_sees_the_last_character_has_a_horizon_of_one():
    model = make_cycle_model()
    horizon = measure_horizon(Stepper(model.config, model.weights), np.arange(200) % 28, longest=32)
    assert (horizon.horizon, horizon.order) == (1, 1)


def test_the_horizon_is_where_no_bits_are_missing_from_then_on():
    visible = np.array([1, 2, 3, 5])
    assert reached(visible, np.array([1.0, 0.5, 0.009, 0.0])) == 3
    assert reached(visible, np.array([1.0, 0.5, 0.009, 0.02])) == float("inf")
    assert reached(visible, np.array([0.0, 0.0, 0.0, 0.0])) == 1


@pytest.mark.parametrize("length", [16, 17, 40])
def test_short_texts_have_a_horizon_too(length):
    model = make_model("lstm", 1)
    horizon = measure_horizon(Stepper(model.config, model.weights), IDS[:length])
    assert 4 <= horizon.longest <= length // 2
    assert np.isfinite(horizon.bits).all()
    assert np.isfinite(horizon.shuffled).all()


def test_a_long_text_is_read_in_part(monkeypatch):
    monkeypatch.setattr(module, "_MAX_TOKENS", 40)
    model = make_model("lstm", 1)
    stepper = Stepper(model.config, model.weights)
    whole, part = measure_horizon(stepper, IDS), measure_horizon(stepper, IDS[:40])
    np.testing.assert_array_equal(whole.bits, part.bits)


def test_a_horizon_has_a_description_and_curves():
    model = make_model("lstm", 1)
    horizon = measure_horizon(Stepper(model.config, model.weights), IDS, longest=8)
    figure = horizon_figure(horizon, "character")
    assert [series.name for series in figure.plots[0].series] == [
        "nothing before them", "before them, shuffled"
    ]  # fmt: skip
    np.testing.assert_allclose(figure.plots[0].series[0].y, horizon.bits - horizon.full)
    assert len(figure.notes) == 1
