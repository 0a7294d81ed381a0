"""Time in which the process was stopped is not training time, and slow time is."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen import train_api
from chargen.training import autotune, run_folder
from chargen.training import clock as clock_module
from chargen.training.clock import RunClock, busy_seconds
from chargen.training.events import StepDone


class Machine:
    """A process on a machine: the time that passes, and how long the process was busy."""

    def __init__(self):
        self.now, self.busy = 100.0, 7.0
        self.clock = RunClock(lambda: self.now, lambda: self.busy, looks=False)

    def runs(self, seconds, share=1.0):
        """Lets the process be busy for a share of the seconds: more than 1 with many threads."""
        self.now += seconds
        self.busy += seconds * share

    def looks(self, seconds, share=1.0):
        """The same, while the thread of the clock looks every half second."""
        for _ in range(round(2 * seconds)):
            self.runs(0.5, share)
            self.clock()

    def is_stopped(self, seconds):
        self.now += seconds


@given(st.lists(st.tuples(st.floats(0, 0.6), st.booleans()), max_size=30))
def test_stops_are_taken_off_and_nothing_else(beats):
    """A look every half second; between two looks the process may have been stopped."""
    machine, ran = Machine(), 0.0
    for seconds, stopped in beats:
        machine.runs(seconds)
        machine.is_stopped(60 * stopped)
        ran += seconds
        assert machine.clock() == pytest.approx(100 + ran)


@given(
    st.lists(
        st.tuples(st.floats(0, 80), st.floats(0, 20), st.sampled_from([0, 0, 3, 60])), max_size=20
    )
)
def test_the_clock_never_goes_back(beats):
    machine, before = Machine(), 100.0
    for seconds, share, stopped in beats:
        machine.runs(seconds, share)
        machine.is_stopped(stopped)
        now = machine.clock()
        assert before <= now <= machine.now
        before = now


@pytest.mark.parametrize("seconds", [0.5, 4.0, 6.0, 60.0, 600.0])
@pytest.mark.parametrize("share", [0.1, 1.0, 16.0])
def test_a_long_step_is_not_a_stop(seconds, share):
    """Also one that keeps all other threads from running, the looking one too."""
    machine = Machine()
    machine.looks(60, share)
    machine.runs(seconds, share)
    assert machine.clock() == pytest.approx(160 + seconds)
    machine.looks(60, share)
    machine.runs(seconds, min(1, share))  # a single thread
    assert machine.clock() == pytest.approx(220 + 2 * seconds)


def test_a_machine_that_other_programs_keep_busy_is_not_a_stop():
    """Nothing runs for long, but it waits for a processor; or it has run that slowly for a time."""
    machine = Machine()
    machine.looks(30, 1.0)
    for _ in range(20):
        machine.runs(8, 1.0)  # of these 8 seconds, the process waited for a processor for 7.9
        machine.clock()
    assert machine.clock() == pytest.approx(290)
    machine = Machine()
    machine.looks(100, 0.06)  # as measured where the system tells nothing of the waiting
    for _ in range(20):
        machine.runs(8, 0.06)
        machine.clock()
    assert machine.clock() == pytest.approx(360)


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_a_stop_is_taken_off_whatever_the_process_did_before(share):
    """A process that waits for a GPU or a disk is hardly busy, but looks at the clock."""
    machine = Machine()
    machine.looks(60, share)
    machine.runs(0.4, share)
    machine.is_stopped(600)
    assert machine.clock() == pytest.approx(160.2, abs=0.2 + 1e-9)
    machine.looks(60, share)
    assert machine.clock() == pytest.approx(220.2, abs=0.2 + 1e-9)


def test_many_threads_before_a_stop_count_as_one_that_took_longer():
    """It is not known how many they were: rather less is taken off than too much."""
    machine = Machine()
    machine.looks(60, 16)
    machine.runs(0.5, 16)
    machine.is_stopped(600)
    assert machine.clock() == pytest.approx(160 + 8)


def test_a_stop_in_the_middle_of_a_long_step_is_taken_off():
    machine = Machine()
    machine.runs(20)
    machine.is_stopped(600)
    machine.runs(10)
    assert machine.clock() == pytest.approx(130)


def test_short_stops_are_training_time():
    machine = Machine()
    for _ in range(10):
        machine.is_stopped(4.9)
        assert machine.clock() == machine.now


def test_a_call_between_two_looks_is_cheap():
    looks = []
    now = [0.0]
    clock = RunClock(lambda: now[0], lambda: looks.append(now[0]) or now[0], looks=False)
    for milliseconds in range(1_001):
        now[0] = milliseconds / 1_000
        assert clock() == now[0]
    assert looks == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("text", "waited"),
    [("10056634 32458000000 7\n", 32.458), ("", 0.0), ("0", 0.0), ("a b c", 0.0), (None, 0.0)],
)
def test_waiting_for_a_processor_counts_where_the_system_tells_it(monkeypatch, text, waited):
    path = Path("schedstat")
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(clock_module, "_QUEUE", path)
    monkeypatch.setattr(clock_module.time, "process_time", lambda: 5.0)
    assert busy_seconds() == 5.0 + waited


def clock_threads():
    return [thread for thread in threading.enumerate() if thread.name == "chargen clock"]


@pytest.mark.parametrize("settings", [{"steps": 1}, {"steps": 1, "kernel": "none such"}])
def test_the_thread_ends_with_the_training_and_with_its_failure(settings):
    Path("text.txt").write_text("the sea and the wind and the gulls\n" * 90, encoding="utf-8")
    try:
        for corpus in ("text.txt", "missing.txt"):
            list(chargen.train(corpus, run="a", hidden_size=8, threads=1, **settings))
    except chargen.ChargenError:
        pass
    else:
        pytest.fail("the second text is missing")
    for thread in clock_threads():
        thread.join(10)
    assert clock_threads() == []


class Ticking:
    """Each look at the clock takes a twentieth of a second."""

    def __init__(self):
        self.now, self.busy = 100.0, 0.0

    def __call__(self):
        self.now += 0.05
        self.busy += 0.05
        return self.now


STOPPED_IN = [(train_api, "open_dataset", "the corpus"), (autotune, "take_step", "measuring")]


@pytest.mark.parametrize("where", ["a step", "the corpus", "measuring"])
def test_the_schedule_goes_on_where_it_was(monkeypatch, where):
    """A run of half a minute that is stopped for ten minutes takes as many steps as without."""
    Path("text.txt").write_text("the sea and the wind and the gulls\n" * 90, encoding="utf-8")

    for name in ("_FIRST_WAIT_SECONDS", "_MAX_WAIT_SECONDS"):
        monkeypatch.setattr(run_folder, name, 1e9)  # when a state is saved, the real clock decides
    runs: list[str | None] = []
    originals = {name: getattr(module, name) for module, name, _ in STOPPED_IN}

    def first(act, function):
        return lambda *arguments, **more: act() or function(*arguments, **more)

    def run(stop_in: str | None) -> list[StepDone]:
        runs.append(stop_in)
        time = Ticking()

        def stop(place):
            if place == stop_in and time.now < 600:
                time.now += 600

        monkeypatch.setattr(
            train_api, "RunClock", lambda: RunClock(time, lambda: time.busy, looks=False)
        )
        for module, name, place in STOPPED_IN:
            monkeypatch.setattr(module, name, first(partial(stop, place), originals[name]))
        steps = []
        for event in chargen.train(
            "text.txt", run=f"run{len(runs)}", minutes=0.5, patience=0, hidden_size=8,
            batch_size=2, bptt=8, threads=1, kernel="torch",
        ):  # fmt: skip
            if isinstance(event, StepDone):
                steps.append(event)
                if len(steps) == 10:
                    stop("a step")
        return steps

    undisturbed, stopped = run(None), run(where)
    assert [event.step for event in stopped] == [event.step for event in undisturbed]
    assert stopped[-1].seconds == pytest.approx(undisturbed[-1].seconds)
    assert stopped[-1].seconds < 30
