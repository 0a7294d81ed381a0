"""Time in which the process was stopped is not training time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen.training import session
from chargen.training.clock import RunClock
from chargen.training.events import StepDone


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Ticking(Time):
    """Each look at the clock takes a twentieth of a second."""

    def __call__(self):
        self.now += 0.05
        return self.now


@given(st.lists(st.tuples(st.floats(0, 0.6), st.booleans()), max_size=30))
def test_stops_are_taken_off_and_nothing_else(beats):
    """A look every half second; between two looks the process may have been stopped."""
    time = Time()
    clock = RunClock(time, looks=False)
    ran = 0.0
    for seconds, stopped in beats:
        time.now += seconds + 60 * stopped
        ran += 0.0 if stopped else seconds
        assert clock() == pytest.approx(100 + ran)


def test_a_long_step_is_not_a_stop():
    """The looking thread goes on while a step or a score takes its time."""
    time = Time()
    clock = RunClock(time, looks=False)
    for _ in range(100):
        time.now += 0.5
        clock.look()
    assert clock() == 150.0


def test_the_schedule_goes_on_where_it_was(monkeypatch):
    """A run of half a minute that is stopped for ten minutes takes as many steps as without."""
    Path("text.txt").write_text("the sea and the wind and the gulls\n" * 90, encoding="utf-8")

    def steps(stop_at: int | None) -> tuple[int, float]:
        time = Ticking()
        monkeypatch.setattr(session, "RunClock", lambda: RunClock(time, looks=False))
        monkeypatch.setattr(session.time, "monotonic", time)
        taken, last = 0, None
        settings = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1, "kernel": "torch"}
        for event in chargen.train(
            "text.txt", run="a", overwrite=True, minutes=0.5, patience=0, **settings
        ):
            if isinstance(event, StepDone):
                taken += 1
                if taken == stop_at:
                    time.now += 600
                last = event
        return taken, last.seconds

    undisturbed = steps(None)
    stopped = steps(10)
    # The look that notices the stop is a part of it.
    assert abs(stopped[0] - undisturbed[0]) <= 5
    assert max(stopped[1], undisturbed[1]) < 30
