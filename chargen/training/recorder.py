"""Writes a run's folder from the events of its training: model, metrics, run.json.

Neither trains nor shows. `metrics.jsonl` gets a line for about every hundredth step and for every
evaluation; the model file is replaced whenever a better one is found. Nothing of an older run in
the folder is touched before there is a model to take its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from chargen._version import __version__
from chargen.errors import ChargenError
from chargen.files import write_json
from chargen.model.file import ModelFile, save_model
from chargen.model.runs import METRICS, MODEL, RUN
from chargen.text.tokenizer import TokenizerState
from chargen.training.events import (
    Evaluated,
    Finished,
    Planned,
    StepDone,
    TrainEvent,
    event_record,
)


@dataclass
class Recorder:
    """Keeps one run's folder up to date."""

    folder: Path
    tokenizer: TokenizerState
    card: dict[str, Any]
    """What the model's card says besides what training adds: corpus and split."""
    text: Mapping[str, Any]
    """Where the corpus lay and how it was read."""
    _planned: Planned | None = None
    _waiting: list[str] = field(default_factory=list)
    _metrics: IO[str] | None = None

    def record(self, event: TrainEvent) -> None:
        """Write what the event changes.

        Raises:
            ChargenError: a file cannot be written; the ones before are unchanged.
        """
        if isinstance(event, Planned):
            self._planned = event
        if not isinstance(event, StepDone) or _is_recorded(event):
            self._line(event_record(event))
        if isinstance(event, Finished) or (isinstance(event, Evaluated) and event.best):
            self._save(event)
        if isinstance(event, Finished):
            self._describe(event.reason, event)
            self.close()

    def close(self) -> None:
        """Close metrics.jsonl."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    def _begin(self) -> None:
        """The first model is saved: now the folder is this run's, and no older one's."""
        path = self.folder / METRICS
        try:
            self._metrics = path.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise ChargenError(f"{path}: cannot be written ({error.strerror})") from error
        self._describe("training", None)
        for line in self._waiting:
            self._write(line)

    def _line(self, value: dict[str, Any]) -> None:
        line = json.dumps(value) + "\n"
        if self._metrics is None:
            self._waiting.append(line)
        else:
            self._write(line)

    def _write(self, line: str) -> None:
        assert self._metrics is not None
        try:
            self._metrics.write(line)
            self._metrics.flush()
        except OSError as error:
            raise ChargenError(
                f"{self.folder / METRICS}: cannot be written ({error.strerror}); "
                "the model saved before is unchanged"
            ) from error

    def _save(self, event: Evaluated | Finished) -> None:
        assert self._planned is not None
        card = {
            **self.card,
            "seed": self._planned.train.seed,
            "steps": event.step,
            "weights": "averaged weights" if event.averaged else "last weights",
            "validation": event.score.to_json() if event.score else None,
            "chargen": __version__,
        }
        model = ModelFile(
            config=self._planned.model, tokenizer=self.tokenizer, weights=event.weights, card=card
        )
        save_model(self.folder / MODEL, model)
        if self._metrics is None:
            self._begin()

    def _describe(self, status: str, finished: Finished | None) -> None:
        assert self._planned is not None
        write_json(
            self.folder / RUN,
            {
                "status": status,
                "updated": datetime.now(UTC).isoformat(timespec="seconds"),
                "chargen": __version__,
                "model": self._planned.model.to_json(),
                "train": self._planned.train.to_json(),
                "reasons": list(self._planned.reasons),
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
