"""A training ends with its iterator, and its steps can be had alone."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

import chargen
from chargen.errors import UsageError
from chargen.files import is_locked
from chargen.training.events import Finished, Planned

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1, "steps": 6}
FOLDER = Path("checkpoints/a")


@pytest.fixture(autouse=True)
def text():
    Path("text.txt").write_text("the sea and the wind\n" * 80, encoding="utf-8")


def training(**settings):
    return chargen.train("text.txt", run="a", **{**TINY, **settings})


def test_the_steps_alone_have_losses():
    losses = [step.loss for step in training().steps()]
    assert len(losses) == 6
    assert all(0 < loss < 10 for loss in losses)


def test_the_first_event_is_planned_and_the_last_is_finished():
    events = list(training())
    assert isinstance(events[0], Planned)
    assert isinstance(events[-1], Finished)


def test_a_lost_iterator_keeps_nothing_locked():
    """`[event.loss for event in train(...)]` fails at the first event, which has no loss."""

    def fail():
        return [event.loss for event in training()]

    with pytest.raises(AttributeError):
        fail()
    gc.collect()
    assert not is_locked(FOLDER)
    assert len(list(training().steps())) == 6


@pytest.mark.parametrize("how", ["close", "with", "del", "error within with"])
def test_the_lock_ends_with_the_iterator(how):
    events = training()
    next(events)
    assert is_locked(FOLDER)
    if how == "close":
        events.close()
        events.close()
    elif how == "with":
        with events:
            next(events)
    elif how == "error within with":
        with pytest.raises(ZeroDivisionError), events:
            raise ZeroDivisionError
    else:
        del events
        gc.collect()
    assert not is_locked(FOLDER)


def test_an_iterator_that_never_began_locks_nothing():
    events = training()
    assert not FOLDER.exists()
    del events
    assert len(list(training().steps())) == 6


def test_a_process_that_meets_its_own_lock_is_told_so():
    events = training()
    next(events)
    with pytest.raises(UsageError, match=r"this process is training it already; .*close\(\)"):
        next(training())
    events.close()
    assert len(list(training().steps())) == 6
