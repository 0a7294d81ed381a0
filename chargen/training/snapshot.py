"""Everything that a run needs to go on as if it had never stopped, in one file.

`training.safetensors` holds the raw weights, their average, the best ones, the memory of both
optimizers, the carried state and the random generators; its header the plan, the position in it,
the early-stop counters, and where the text lay. The position in the text is the step alone (see
stream.py). A run taken up from it takes the very steps that it would have taken: bit for bit on
the same machine, with the same threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chargen.errors import ModelFileError, UsageError
from chargen.model.config import ModelConfig
from chargen.model.container import (
    Tensors,
    complaints_about,
    opened_container,
    read_tensors,
    write_container,
)
from chargen.model.file import BLOB, tokenizer_state
from chargen.model.score import Score
from chargen.text.registry import tokenizer_from_state
from chargen.text.tokenizer import Tokenizer, TokenizerState
from chargen.training.config import TrainConfig
from chargen.training.events import Evaluated
from chargen.training.healing import Healing
from chargen.training.planner import Plan
from chargen.training.trainer import Trainer

KEY = "chargen-training"
FORMAT = 1
_RANDOM = "random.cpu"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run at one step."""

    plan: Plan
    tokenizer: TokenizerState
    card: dict[str, Any]
    """What the model's card says of the corpus."""
    text: dict[str, Any]
    """Where the corpus was found and how it was read."""
    position: dict[str, Any]
    """Counters, as `capture` made them."""
    recorded: int
    """Bytes of metrics.jsonl that were written by then."""
    tensors: Tensors

    def build_tokenizer(self) -> Tokenizer:
        """The tokenizer, ready to use."""
        return tokenizer_from_state(self.tokenizer)


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write it, atomically: the one before stays until this one is whole.

    Raises:
        ChargenError: it cannot be written; the one before is unchanged.
    """
    tensors = dict(snapshot.tensors)
    if snapshot.tokenizer.blob is not None:
        tensors[BLOB] = np.frombuffer(snapshot.tokenizer.blob, np.uint8)
    header = {
        "format": FORMAT,
        "model": snapshot.plan.model.to_json(),
        "train": snapshot.plan.train.to_json(),
        "reasons": list(snapshot.plan.reasons),
        "tokenizer": snapshot.tokenizer.to_json(),
        "card": snapshot.card,
        "text": snapshot.text,
        "position": snapshot.position,
        "recorded": snapshot.recorded,
    }
    write_container(path, KEY, header, tensors)


def load_snapshot(path: Path) -> Snapshot:
    """Read and check one; shapes are compared with the plan before anything is read.

    Raises:
        ModelFileError: it is missing, damaged, of another kind, or of a newer format.
    """
    with complaints_about(path):
        kind = "the state of a chargen training run"
        with opened_container(path, KEY, kind, FORMAT) as (header, handle):
            plan = _plan(header)
            _check_shapes(handle, plan)
            tensors = read_tensors(header, handle, handle.keys())
        blob = tensors.pop(BLOB, None)
        recorded = header.get("recorded")
        for name in ("card", "text", "position"):
            if not isinstance(header.get(name), dict):
                raise ModelFileError(f"its header has no {name}")
        if type(recorded) is not int or recorded < 0:
            raise ModelFileError(f"its header says {recorded!r} of metrics.jsonl")
        snapshot = Snapshot(
            plan=plan,
            tokenizer=tokenizer_state(header.get("tokenizer"), blob),
            card=header["card"],
            text=header["text"],
            position=_checked_position(header["position"]),
            recorded=recorded,
            tensors=tensors,
        )
        if snapshot.build_tokenizer().vocab_size != plan.model.vocab_size:
            raise ModelFileError("its tokenizer does not fit its model")
        return snapshot


def capture(trainer: Trainer) -> tuple[Tensors, dict[str, Any]]:
    """The trainer's tensors, as copies, and its counters; only between two events of `run`."""
    found = {name: one.detach().cpu().numpy().copy() for name, one in trainer.tensors().items()}
    found[_RANDOM] = torch.get_rng_state().numpy()
    position: dict[str, Any] = {
        "step": trainer.step,
        "steps": trainer.steps,
        "begun": trainer.begun,
        "scored": trainer.scored,
        "stale": trainer.stale,
        "averaged": trainer.average.updates if trainer.average else 0,
        "muon": trainer.optimizer.muon.steps,
        "seconds": trainer.seconds(),
        "begun_seconds": trainer.begun_seconds,
        "healing": trainer.healing.counters(),
        "best": None,
    }
    if trainer.best is not None:
        found |= {f"best.{name}": one for name, one in trainer.best.weights.items()}
        position["best"] = {
            "step": trainer.best.step,
            "averaged": trainer.best.averaged,
            "seconds": trainer.best.seconds,
            "score": trainer.best.score.to_json(),
        }
    return found, position


def restore(trainer: Trainer, snapshot: Snapshot) -> None:
    """Put a trainer made for the same plan where the snapshot was taken.

    Raises:
        ModelFileError: the snapshot lacks something.
    """
    position, tensors = snapshot.position, snapshot.tensors
    for name, target in trainer.tensors().items():
        source = tensors.get(name)
        if source is None or source.shape != tuple(target.shape):
            raise ModelFileError(f"the training state lacks tensor {name}, or it has another shape")
        with torch.no_grad():
            target.copy_(torch.from_numpy(source))
    trainer.step, trainer.steps = position["step"], position["steps"]
    trainer.begun, trainer.begun_seconds = position["begun"], position["begun_seconds"]
    trainer.scored, trainer.stale = position["scored"], position["stale"]
    if trainer.average:
        trainer.average.updates = position["averaged"]
    trainer.optimizer.muon.steps = position["muon"]
    best = position["best"]
    if best is not None:
        prefix = "best."
        trainer.best = Evaluated(
            step=best["step"],
            score=Score(**best["score"]),
            averaged=best["averaged"],
            best=True,
            seconds=best["seconds"],
            weights={
                name.removeprefix(prefix): one
                for name, one in tensors.items()
                if name.startswith(prefix)
            },
        )
    for name, value in position["healing"].items():
        setattr(trainer.healing, name, value)
    torch.set_rng_state(torch.from_numpy(tensors[_RANDOM]))


def _plan(header: Mapping[str, Any]) -> Plan:
    train = header.get("train")
    known = {one.name for one in fields(TrainConfig)}
    if not isinstance(train, dict) or not set(train) <= known:
        raise ModelFileError("its header has no plan")
    reasons = header.get("reasons")
    try:
        config = TrainConfig(**train)
    except (TypeError, UsageError) as error:
        raise ModelFileError(f"its plan is not one ({error})") from error
    return Plan(
        model=ModelConfig.from_json(header.get("model")),
        train=config,
        reasons=tuple(map(str, reasons)) if isinstance(reasons, list) else (),
    )


def _check_shapes(handle: Any, plan: Plan) -> None:
    """The weights have the plan's shapes; the rest is compared when it is put in its place."""
    present = set(handle.keys())
    for name, shape in plan.model.tensor_shapes().items():
        full = f"weights.{name}"
        if full not in present or tuple(handle.get_slice(full).get_shape()) != shape:
            raise ModelFileError(f"its tensor {full} does not fit its plan")


def _checked_position(position: dict[str, Any]) -> dict[str, Any]:
    counters = ("step", "steps", "begun", "scored", "stale", "averaged", "muon")
    fine = all(type(position.get(name)) is int and position[name] >= 0 for name in counters)
    for name in ("seconds", "begun_seconds"):
        fine &= isinstance(position.get(name), int | float)
    fine &= isinstance(position.get("over"), str | None)
    healing = position.get("healing")
    fine &= isinstance(healing, dict) and healing.keys() == Healing().counters().keys()
    best = position.get("best")
    if best is not None:
        names = {one.name for one in fields(Score)}
        fine &= isinstance(best, dict) and set(best) == {"step", "averaged", "seconds", "score"}
        fine = fine and isinstance(best["score"], dict) and set(best["score"]) == names
    if not fine:
        raise ModelFileError("its position in the run makes no sense")
    return position
