"""When a run's state is saved, and that its folder is its own; a failure to save is no end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from chargen.errors import ChargenError
from chargen.files import locked
from chargen.model.container import Tensors
from chargen.model.runs import MODEL
from chargen.training import native
from chargen.training.events import Saved
from chargen.training.ranks import Ranks
from chargen.training.recorder import Recorder
from chargen.training.snapshot import capture
from chargen.training.trainer import Trainer

_FIRST_SAVE, _SAVE_EVERY = 1.0, 20.0
"""Seconds between two saved states: soon at first, later at most so many."""
_COST = 100
"""A state is saved after this many times the seconds that saving it takes."""


class Saver:
    """When to save the state, and that a failure is no end."""

    def __init__(self, trainer: Trainer, recorder: Recorder) -> None:
        self._trainer = trainer
        self._recorder = recorder
        self._wait = _FIRST_SAVE
        self._waiting: tuple[Tensors, dict[str, Any]] | None = None
        self._last = time.monotonic()
        # The model of an older run in the folder must go before its state does.
        self.waits_for_a_model = recorder.resumed is None and (recorder.folder / MODEL).exists()

    def is_due(self) -> bool:
        """Whether enough time has gone by."""
        return time.monotonic() - self._last >= self._wait

    def save(self, over: str | None = None) -> Saved:
        """Write the state; `over` says why the run ended, if it did."""
        trainer = self._trainer
        began = time.monotonic()
        try:
            tensors, position = capture(trainer)
        except MemoryError:
            return Saved(step=trainer.step, problem="not enough memory", seconds=trainer.seconds())
        self._waiting = tensors, {**position, "over": over}
        saved = self.flush()
        self._last = time.monotonic()
        self._wait = max(min(2 * self._wait, _SAVE_EVERY), _COST * (self._last - began))
        return saved

    def flush(self) -> Saved:
        """Write what was captured last, if it was not written and may be now."""
        problem = None
        if self._waiting is not None and (not self.waits_for_a_model or self._recorder.has_begun):
            try:
                self._recorder.save_state(*self._waiting)
                self._waiting = None
            except ChargenError as error:
                problem = str(error)
        return Saved(step=self._trainer.step, problem=problem, seconds=self._trainer.seconds())


@contextmanager
def kept(folder: Path, recorder: Recorder, ranks: Ranks) -> Iterator[None]:
    """The folder is this run's alone; whatever happens, no file stays open, no empty folder left.

    And the process is as it was. Of several processes, the first one has the folder.
    """
    reason = "another process is training this run; wait for it, or choose another --run NAME"
    with locked(folder, reason) if ranks.is_first else nullcontext():
        try:
            yield
        finally:
            recorder.close()
            torch.set_flush_denormal(False)
            native.release()
            if ranks.is_first:
                with suppress(OSError):
                    folder.rmdir()  # which fails, as it should, when anything was saved
