"""Writes a run's folder: model, state, metrics, run.json; and decides when the state is saved.

`metrics.jsonl` gets a line for about every hundredth step and for every other event. The model
file is replaced whenever better weights are found. The state is saved at the first step and then
about every 20 seconds, less often where saving is slow. An older run in the folder stays until
there is something to replace it. A full disk does not end a run: what could not be written is kept
and tried again with the next event. `run_lock` keeps the folder to one process.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from chargen._version import __version__
from chargen.errors import ChargenError, reason_of
from chargen.files import locked, make_folder, sync_file, write_json
from chargen.model.checkpoint import ModelFile, save_model
from chargen.model.claims import Claim, being_trained
from chargen.model.runs import FAILED, METRICS, MODEL, RUN, TRAINING, TRAINING_NOW
from chargen.model.stored_weights import Tensors
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
    """Keeps the folder of a run up to date."""

    folder: Path
    tokenizer: TokenizerState
    card: dict[str, Any]
    """What the model's card says besides what training adds: the corpus and its split."""
    text: Mapping[str, Any]
    """Where the corpus was, and how it was read."""
    resumed: int | None = None
    """Bytes of metrics.jsonl that a resumed run keeps; None for a new run."""
    clock: Callable[[], float] = time.monotonic
    _plan: Plan | None = None
    _lines: list[str] = field(default_factory=list)
    _metrics: IO[bytes] | None = None
    _written: int = 0
    _unsaved: Evaluated | Finished | None = None
    _saved: Evaluated | Finished | None = None
    """The event whose weights are in the model file."""
    _retry_wait: float = 0.0
    _retry_at: float = -math.inf

    def __post_init__(self) -> None:
        """Makes the folder absolute: the host may change the working directory."""
        self.shown = self.folder
        self.folder = self.folder.absolute()

    def record(self, event: TrainEvent) -> None:
        """Writes what the event changes, and what could not be written before.

        After a failure it waits before it tries again, twice as long each time, at most a minute.

        Raises:
            ChargenError: a file cannot be written; the files before it are unchanged, and the
                contents are kept for the next time.
        """
        if isinstance(event, Planned):
            self._plan = Plan(
                model=event.model,
                train=event.train,
                reasons=event.reasons,
                teacher=event.teacher,
            )
        if not isinstance(event, StepDone) or _is_recorded(event):
            self._lines.append(json.dumps(event_record(event)) + "\n")
        if isinstance(event, Finished) or (isinstance(event, Evaluated) and event.best):
            self._unsaved = event
        if self.clock() < self._retry_at and not isinstance(event, Finished):
            return
        try:
            if not isinstance(event, StepDone):
                self._save_model()
            if self._metrics is not None:
                self._write_lines()
            if isinstance(event, Finished):
                self._describe(event.reason, event)
        except ChargenError:
            self._retry_wait = min(max(1.0, 2 * self._retry_wait), _MAX_RETRY_SECONDS)
            self._retry_at = self.clock() + self._retry_wait
            raise
        self._retry_wait, self._retry_at = 0.0, -math.inf

    def return_to_folder(self) -> bool:
        """Makes the folder anew if it was renamed or removed while the run goes on.

        Returns:
            Whether it had to be made: then all that was written is written again.

        Raises:
            ChargenError: it cannot be made.
        """
        if self._metrics is None:
            if self.folder.is_dir():
                return False
            make_folder(self.folder)
            return True
        if _is_same_file(self._metrics, self.folder / METRICS):
            return False
        with suppress(OSError):  # the open file lives on, wherever its folder is
            self._metrics.seek(0)
            self._lines.insert(0, self._metrics.read(self._written).decode("utf-8", "replace"))
        self._metrics.close()
        self._metrics, self._written, self.resumed = None, 0, None
        make_folder(self.folder)
        self._unsaved = self._unsaved or self._saved
        self._save_model()
        self._begin()
        self._write_lines()
        return True

    def rescue(self, event: Finished) -> Path:
        """Writes the finished model into the folder for temporary files.

        Raises:
            ChargenError: it cannot be written there either.
        """
        try:
            folder = Path(tempfile.mkdtemp(prefix="chargen-"))
        except OSError as error:
            raise ChargenError(f"no temporary folder ({reason_of(error)})") from error
        path = folder / f"{self.folder.name}.safetensors"
        save_model(path, self._model(event))
        return path

    def save_state(self, tensors: dict[str, Any], position: dict[str, Any]) -> None:
        """Writes training.safetensors.

        Raises:
            ChargenError: it cannot be written; the file before it is unchanged.
        """
        assert self._plan is not None
        self._begin()
        self._write_lines()
        assert self._metrics is not None
        try:
            sync_file(self._metrics)  # the state counts these bytes
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

    def tell_failure(self) -> None:
        """Notes in run.json that the run ended by an error, if there is anything of it."""
        if self._metrics is not None and self._plan is not None:
            with suppress(ChargenError):  # the error that ended the run is told, not this one
                self._describe(FAILED, None)

    @property
    def has_begun(self) -> bool:
        """Whether the folder holds something of this run."""
        return self._metrics is not None

    def close(self) -> None:
        """Closes metrics.jsonl."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    def _begin(self) -> None:
        """Takes the folder over from an older run, now that there is something to save."""
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
        self._describe(TRAINING_NOW, None)

    def _write_lines(self) -> None:
        assert self._metrics is not None
        data = "".join(self._lines).encode()
        try:
            # From the end of the last whole line: half a line that a full disk left is overwritten.
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
        save_model(self.folder / MODEL, self._model(event))
        self._saved, self._unsaved = event, None
        self._begin()

    def _model(self, event: Evaluated | Finished) -> ModelFile:
        """The model file of an event's weights."""
        assert self._plan is not None
        card = {
            **self.card,
            "seed": self._plan.train.seed,
            "steps": event.step,
            "weights": "averaged weights" if event.averaged else "last weights",
            "validation": event.score.to_json() if event.score else None,
            "chargen": __version__,
        }
        return ModelFile(
            config=self._plan.model, tokenizer=self.tokenizer, weights=event.weights, card=card
        )

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


def _is_same_file(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is still what its path leads to."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _is_recorded(event: StepDone) -> bool:
    """About a hundred lines a run, the first step among them."""
    return event.step == 1 or event.step % max(1, event.steps // 100) == 0


_MAX_RETRY_SECONDS = 60.0
"""Between two attempts to write what a full disk refused."""
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 1.0, 20.0
"""Between two saved states: soon at first, then twice as long each time up to the maximum."""
_WAIT_PER_SAVE = 100
"""Waits at least this many times the seconds that saving takes."""


class Saver:
    """Saves a run's state when it is time; on failure reports it and tries again.

    Args:
        trainer: what is saved.
        recorder: writes it.
    """

    def __init__(self, trainer: Trainer, recorder: Recorder) -> None:
        self._trainer = trainer
        self._recorder = recorder
        self._wait = _FIRST_WAIT_SECONDS
        self._captured: tuple[Tensors, dict[str, Any]] | None = None
        self._last = time.monotonic()
        # The model of an older run in the folder must be replaced before its state is.
        self.waits_for_a_model = recorder.resumed is None and (recorder.folder / MODEL).exists()

    def is_due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() - self._last >= self._wait

    def save(self, over: str | None = None) -> list[Saved]:
        """Captures and writes the state. All processes must call it; the first one writes.

        Args:
            over: why the run ended, if it did.

        Returns:
            What happened; nothing in the other processes.
        """
        trainer = self._trainer
        if not trainer.ranks.is_first:
            trainer.states_of_all_rows()  # this process's part of what is saved
            return []
        began = time.monotonic()
        try:
            tensors, position = capture(trainer)
        except MemoryError:
            return [self._saved("not enough memory")]
        self._captured = tensors, {**position, "over": over}
        events = self.flush()
        self._last = time.monotonic()
        doubled = min(2 * self._wait, _MAX_WAIT_SECONDS)
        self._wait = max(doubled, _WAIT_PER_SAVE * (self._last - began))
        return events

    def flush(self) -> list[Saved]:
        """Writes what was captured last, if that is still to be written and may be now."""
        if not self._trainer.ranks.is_first:
            return []
        problem = None
        if self._captured is not None and (not self.waits_for_a_model or self._recorder.has_begun):
            try:
                self._recorder.save_state(*self._captured)
                self._captured = None
            except ChargenError as error:
                problem = str(error)
        return [self._saved(problem)]

    def _saved(self, problem: str | None) -> Saved:
        return Saved(step=self._trainer.step, problem=problem, seconds=self._trainer.seconds())


@contextmanager
def run_lock(
    folder: Path, recorder: Recorder, ranks: Ranks, claim: Claim | None = None
) -> Iterator[None]:
    """Keeps the folder to this run; afterwards no file is open and no empty folder is left.

    Of several processes, the first has the lock. If the folder was claimed, that is the lock.

    Raises:
        UsageError: another process is training this run.
    """
    owner = os.getpid()
    with ExitStack() as lock:
        if claim is not None:
            lock.push(claim.take_lock())
        elif ranks.is_first:
            lock.enter_context(locked(folder, being_trained()))
        try:
            yield
        except Exception:
            if ranks.is_first and os.getpid() == owner:
                recorder.tell_failure()
            raise
        finally:
            recorder.close()
            native.release()
            if ranks.is_first and os.getpid() == owner:
                with suppress(OSError):
                    folder.rmdir()  # which fails, as it should, when anything was saved
