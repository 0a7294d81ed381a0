"""The learning rate of each step, by each schedule."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.training.config import SCHEDULES
from chargen.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]),
        ("cosine", [0.5, 1, *(0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(9))]),
        ("wsd", [0.5, 1, 1, 1, 1, 1, 1, 1, 0.25 / 0.3, 0.125 / 0.3, 0]),
    ],
)
def test_learning_rates_of_ten_steps_with_two_of_warm_up(schedule, expected):
    rates = [learning_rate(step, 10, peak=1, warmup=0.2, schedule=schedule) for step in range(11)]
    assert rates == pytest.approx(expected)


@given(st.integers(1, 500), st.floats(0, 0.9), st.sampled_from(SCHEDULES), st.data())
def test_the_learning_rate_is_positive_and_at_most_the_peak(steps, warmup, schedule, data):
    step = data.draw(st.integers(0, steps - 1))
    rate = learning_rate(step, steps, peak=3e-3, warmup=warmup, schedule=schedule)
    assert 0 < rate <= 3e-3
