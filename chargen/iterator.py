"""`TrainEvents`: what `train`, `resume`, `finetune` and `distil` return; what they are given."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from types import TracebackType

from chargen.errors import UsageError
from chargen.training.events import StepDone, TrainEvent


def check_arguments(run: object, out: object, **functions: object) -> None:
    """Refuses arguments of the wrong kind before anything is read or written.

    Args:
        run: the name of a run.
        out: a folder.
        functions: what is called while a run goes on, by the names of the arguments.

    Raises:
        UsageError: naming the argument and its value.
    """
    for name, value in (("run", run), ("out", out)):
        if value is not None and not isinstance(value, str | os.PathLike):
            raise UsageError(f"{name} {value!r}: must be a text or a path")
    for name, function in functions.items():
        if not callable(function):
            raise UsageError(f"{name} {function!r}: must be a function; leave it out for none")


class TrainEvents(Iterator[TrainEvent]):
    """The events of a training, made as they are asked for: the first is `Planned`.

    The run's folder is locked from the first event on. The lock ends with the last event, with
    `close`, with the block of a `with`, and when the iterator is no longer referenced.

        with chargen.train("novel.txt", minutes=2) as events:
            losses = [step.loss for step in events.steps()]

    Args:
        events: makes the events.
    """

    def __init__(self, events: Generator[TrainEvent]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[TrainEvent]:
        return self._events

    def __next__(self) -> TrainEvent:
        return next(self._events)

    def steps(self) -> Iterator[StepDone]:
        """The steps alone, which have a loss; other events are passed over."""
        return (event for event in self if isinstance(event, StepDone))

    def close(self) -> None:
        """Ends the training as a crash would: what was saved last is kept. May be called twice."""
        self._events.close()

    def __enter__(self) -> TrainEvents:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
