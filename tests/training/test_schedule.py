"""Learning rates, value by value."""

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
def test_ten_steps_with_two_of_warm_up(schedule, expected):
    found = [learning_rate(step, 10, peak=1, warmup=0.2, schedule=schedule) for step in range(11)]
    assert found == pytest.approx(expected)


@given(st.integers(1, 500), st.floats(0, 0.9), st.sampled_from(SCHEDULES), st.data())
def test_always_positive_within_the_run_and_never_above_the_peak(steps, warmup, schedule, data):
    step = data.draw(st.integers(0, steps - 1))
    rate = learning_rate(step, steps, peak=3e-3, warmup=warmup, schedule=schedule)
    assert 0 < rate <= 3e-3
