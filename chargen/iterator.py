"""`TrainEvents`: what `train`, `resume`, `finetune` and `distil` return."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from types import TracebackType

from chargen.training.events import StepDone, TrainEvent


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
