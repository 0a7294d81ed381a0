"""Writes a run's folder from the events of its training: model, state, metrics, run.json.

Neither trains nor shows. `metrics.jsonl` gets a line for about every hundredth step and for every
other event; the model file is replaced whenever a better one is found. Nothing of an older run in
the folder is touched before there is something to take its place. A disk that is full is no end:
what could not be written is kept and tried again with the next event.

When a run's state is saved, and that its folder is its own; a failure to save is no end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import torch

from chargen._version import __version__
from chargen.errors import ChargenError
from chargen.files import locked, write_json
from chargen.model.checkpoint import ModelFile, Tensors, save_model
from chargen.model.runs import METRICS, MODEL, RUN, TRAINING
from chargen.text.tokenizer import TokenizerState
from chargen.training.distributed import Ranks
from chargen.training.events import (
    Evaluated,
    Finished,
    Planned,
    Saved,
    StepDone,
    TrainEvent,
    event_record,
)
from chargen.training.kernels import native
from chargen.training.planner import Plan
from chargen.training.snapshot import Snapshot, capture, save_snapshot
from chargen.training.trainer import Trainer


@dataclass
class Recorder:
    """Keeps one run's folder up to date."""

    folder: Path
    tokenizer: TokenizerState
    card: dict[str, Any]
    """What the model's card says besides what training adds: corpus and split."""
    text: Mapping[str, Any]
    """Where the corpus lay and how it was read."""
    resumed: int | None = None
    """Bytes of metrics.jsonl that a run taken up again keeps; None for a new one."""
    _plan: Plan | None = None
    _lines: list[str] = field(default_factory=list)
    _metrics: IO[bytes] | None = None
    _written: int = 0
    _unsaved: Evaluated | Finished | None = None

    def record(self, event: TrainEvent) -> None:
        """Write what the event changes, and what could not be written before.

        Raises:
            ChargenError: a file cannot be written; those before are unchanged, and what is to be
                written is kept for the next time.
        """
        if isinstance(event, Planned):
            self._plan = Plan(model=event.model, train=event.train, reasons=event.reasons)
        if not isinstance(event, StepDone) or _is_recorded(event):
            self._lines.append(json.dumps(event_record(event)) + "\n")
        if isinstance(event, Finished) or (isinstance(event, Evaluated) and event.best):
            self._unsaved = event
        if not isinstance(event, StepDone):
            self._save_model()
        if self._metrics is not None:
            self._write_lines()
        if isinstance(event, Finished):
            self._describe(event.reason, event)

    def save_state(self, tensors: dict[str, Any], position: dict[str, Any]) -> None:
        """Write training.safetensors.

        Raises:
            ChargenError: it cannot be written; the one before is unchanged.
        """
        assert self._plan is not None
        self._begin()
        self._write_lines()
        assert self._metrics is not None
        try:
            os.fsync(self._metrics.fileno())  # the state counts these bytes
        except OSError as error:
            raise ChargenError(
                f"{self.folder / METRICS}: cannot be written ({error.strerror}); "
                "what was there is unchanged"
            ) from error
        snapshot = Snapshot(
            plan=self._plan,
            tokenizer=self.tokenizer,
            card=self.card,
            text=dict(self.text),
            position=position,
            recorded=self._written,
            tensors=tensors,
        )
        save_snapshot(self.folder / TRAINING, snapshot)

    @property
    def has_begun(self) -> bool:
        """Whether the folder holds something of this run."""
        return self._metrics is not None

    def close(self) -> None:
        """Close metrics.jsonl."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    def _begin(self) -> None:
        """Something is saved: now the folder is this run's, and no older one's."""
        if self._metrics is not None:
            return
        path = self.folder / METRICS
        try:
            if self.resumed is None:
                # An older run's state must not outlive its model.
                (self.folder / TRAINING).unlink(missing_ok=True)
            path.touch()
            # Unbuffered: a write that failed must not come back when the file is closed.
            self._metrics = path.open("r+b", buffering=0)
            self._written = min(self.resumed or 0, path.stat().st_size)
            self._metrics.truncate(self._written)
        except OSError as error:
            raise ChargenError(f"{path}: cannot be written ({error.strerror})") from error
        self._describe("training", None)

    def _write_lines(self) -> None:
        assert self._metrics is not None
        data = "".join(self._lines).encode()
        try:
            # From where the last whole line ended: half a line of a full disk is written over.
            self._metrics.seek(self._written)
            count = self._metrics.write(data)
            if count != len(data):
                raise OSError(None, "the disk is full")
        except OSError as error:
            raise ChargenError(
                f"{self.folder / METRICS}: cannot be written ({error.strerror}); "
                "the model saved before is unchanged"
            ) from error
        self._written += len(data)
        self._lines.clear()

    def _save_model(self) -> None:
        event = self._unsaved
        if event is None:
            return
        assert self._plan is not None
        card = {
            **self.card,
            "seed": self._plan.train.seed,
            "steps": event.step,
            "weights": "averaged weights" if event.averaged else "last weights",
            "validation": event.score.to_json() if event.score else None,
            "chargen": __version__,
        }
        model = ModelFile(
            config=self._plan.model, tokenizer=self.tokenizer, weights=event.weights, card=card
        )
        save_model(self.folder / MODEL, model)
        self._unsaved = None
        self._begin()

    def _describe(self, status: str, finished: Finished | None) -> None:
        assert self._plan is not None
        write_json(
            self.folder / RUN,
            {
                "status": status,
                "updated": datetime.now(UTC).isoformat(timespec="seconds"),
                "chargen": __version__,
                "model": self._plan.model.to_json(),
                "train": self._plan.train.to_json(),
                "reasons": list(self._plan.reasons),
                "text": dict(self.text),
                "card": self.card,
                "steps": finished.step if finished else 0,
                "seconds": finished.seconds if finished else 0.0,
                "validation": finished.score.to_json() if finished and finished.score else None,
            },
        )


def _is_recorded(event: StepDone) -> bool:
    """About a hundred lines a run, the first step among them."""
    return event.step == 1 or event.step % max(1, event.steps // 100) == 0


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
