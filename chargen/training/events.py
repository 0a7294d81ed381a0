"""The events that training yields: small values without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chargen.model.config import ModelConfig
from chargen.model.score import Score
from chargen.model.stored_weights import Weights
from chargen.text.tokenizer import Tokenizer
from chargen.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The plan is made, and the run is about to begin. The first event of every run."""

    folder: Path
    """Where the run is kept."""
    model: ModelConfig
    train: TrainConfig
    reasons: tuple[str, ...]
    tokenizer: Tokenizer
    train_tokens: int
    valid_tokens: int
    teacher: ModelConfig | None = None
    """The shape of the network that this one learns from; None: there is none."""


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One optimizer step."""

    step: int
    steps: int
    """The run's length as it is planned now."""
    loss: float
    """Mean nats per token of this window, before the step; by the mixture, if a teacher helps."""
    learning_rate: float
    gradient_norm: float
    tokens: int
    """Tokens trained on so far."""
    seconds: float
    """Wall time so far."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The validation part was scored."""

    step: int
    score: Score
    averaged: bool
    """Whether the EMA weights were better than the last weights."""
    best: bool
    """Whether no earlier score was better."""
    seconds: float
    weights: Weights = field(repr=False)
    """The better weights, as numpy arrays: enough to write a sample."""


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """Something went wrong; the run goes on."""

    step: int
    """Steps done, after going back."""
    what: str
    """What happened and what was done, in a line for a person."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The state of the run was written, or could not be written."""

    step: int
    problem: str | None
    """Why it could not be written; None when it was. The next save tries again."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The run is over."""

    step: int
    reason: str
    """`done`, `early stop`, or `interrupted`."""
    score: Score | None
    """The best weights over the whole validation part; None without one."""
    weights: Weights = field(repr=False)
    """The best weights."""
    averaged: bool
    seconds: float
    verdict: str | None = None
    """Why the run learned next to nothing, and what to do; None if it learned something."""
    memory: str | None = None
    """What the counts beside the model are and bring, in a line; None if it has none."""


TrainEvent = Planned | StepDone | Evaluated | Recovered | Saved | Finished


def event_record(event: TrainEvent) -> dict[str, Any]:
    """An event as plain values, without weights: a line of metrics.jsonl and of `--json`."""
    if isinstance(event, Planned):
        return {
            "event": "planned",
            **({} if event.teacher is None else {"teacher": event.teacher.to_json()}),
            "model": event.model.to_json(),
            "train": event.train.to_json(),
            "reasons": list(event.reasons),
            "train_tokens": event.train_tokens,
            "valid_tokens": event.valid_tokens,
        }
    if isinstance(event, StepDone):
        return {"event": "step", **asdict(event)}
    if isinstance(event, Recovered | Saved):
        return {"event": type(event).__name__.lower(), **asdict(event)}
    record: dict[str, Any] = {
        "step": event.step,
        "averaged": event.averaged,
        "seconds": event.seconds,
        **(event.score.to_json() if event.score else {}),
    }
    if isinstance(event, Evaluated):
        return {"event": "evaluation", "best": event.best, **record}
    told = {"verdict": event.verdict, "memory": event.memory}
    known = {name: line for name, line in told.items() if line is not None}
    return {"event": "finished", "reason": event.reason, **known, **record}
