"""Everything that a run needs to go on as if it had never stopped, in one file.

`training.safetensors` holds the raw weights, their average, the best ones, the memory of both
optimizers, the carried state and the random generators; its header the plan, the position in it,
the early-stop counters, and where the text lay. The position in the text is the step alone (see
stream.py). A run taken up from it takes the very steps that it would have taken: bit for bit on
the same machine, with the same threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chargen.errors import ModelFileError
from chargen.model.checkpoint import (
    BLOB,
    Tensors,
    complaints_about,
    open_safetensors,
    read_tensors,
    tokenizer_state,
    write_safetensors,
)
from chargen.model.score import Score
from chargen.text.registry import tokenizer_from_state
from chargen.text.tokenizer import Tokenizer, TokenizerState
from chargen.training.events import Evaluated
from chargen.training.planner import Plan
from chargen.training.recovery import Recovery
from chargen.training.trainer import Trainer

KEY = "chargen-training"
FORMAT = 1
_RANDOM = "random.cpu"
_BEST = {"step", "averaged", "seconds", "score"}
_LARGEST_WINDOW = 1 << 28
"""Tokens: no plan reads so many in a step, but a hostile file might say so."""


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
        **snapshot.plan.to_json(),
        "tokenizer": snapshot.tokenizer.to_json(),
        "card": snapshot.card,
        "text": snapshot.text,
        "position": snapshot.position,
        "recorded": snapshot.recorded,
    }
    write_safetensors(path, KEY, {**header, "seal": _seal(header)}, tensors)


def load_snapshot(path: Path) -> Snapshot:
    """Read and check one; shapes are compared with the plan before anything is read.

    Raises:
        ModelFileError: it is missing, damaged, of another kind, or of a newer format.
    """
    with complaints_about(path):
        kind = "the state of a chargen training run"
        with open_safetensors(path, KEY, kind, FORMAT) as (header, handle):
            if header.get("seal") != _seal(header) or not header.get("digest"):
                raise ModelFileError("its header does not match its seal: the file is damaged")
            plan = _plan(header)
            for name in ("card", "text", "position"):
                if not isinstance(header.get(name), dict):
                    raise ModelFileError(f"its header has no {name}")
            position = _checked_position(header["position"], plan)
            names = _check_tensors(handle, plan, has_best=position["best"] is not None)
            tensors = read_tensors(header, handle, names)
        blob = tensors.pop(BLOB, None)
        recorded = header.get("recorded")
        if type(recorded) is not int or recorded < 0:
            raise ModelFileError(f"its header says {recorded!r} of metrics.jsonl")
        snapshot = Snapshot(
            plan=plan,
            tokenizer=tokenizer_state(header.get("tokenizer"), blob),
            card=header["card"],
            text=header["text"],
            position=position,
            recorded=recorded,
            tensors=tensors,
        )
        if snapshot.build_tokenizer().vocab_size != plan.model.vocab_size:
            raise ModelFileError("its tokenizer does not fit its model")
        return snapshot


def capture(trainer: Trainer) -> tuple[Tensors, dict[str, Any]]:
    """The trainer's tensors, as copies, and its counters; only between two events of `run`.

    The states are those of all lanes: with several processes, all of them must call it.
    """
    live = {**trainer.tensors(), **trainer.states_of_all_lanes()}
    found = {name: one.detach().cpu().numpy().copy() for name, one in live.items()}
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
    """Put a trainer made for the snapshot's plan where the snapshot was taken."""
    position, tensors = snapshot.position, snapshot.tensors
    with torch.no_grad():
        for name, target in trainer.tensors().items():
            kept = torch.from_numpy(tensors[name])
            # Of the lanes' states, those that this process reads.
            target.copy_(kept[:, trainer.own] if name.startswith("state.") else kept)
    trainer.step = position["step"]
    trainer.plan_steps(position["steps"])
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
    plan = Plan.from_json(header)
    if plan.train.batch_size * plan.train.bptt > _LARGEST_WINDOW:
        raise ModelFileError("its plan reads more in a step than any memory holds")
    return plan


def _check_tensors(handle: Any, plan: Plan, *, has_best: bool) -> list[str]:
    """The names of the tensors, once all have the kinds and shapes that the plan asks for."""
    model, train = plan.model, plan.train
    shapes = model.tensor_shapes()
    heart = {f"layers.{layer}.weight_hh" for layer in range(model.num_layers)}
    heart |= {f"layers.{layer}.weight_ih" for layer in range(1, model.num_layers)}
    layers, states, size = model.state_shape
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        f"state.{number}": ("F32", (layers, train.batch_size, size)) for number in range(states)
    }
    for name, shape in shapes.items():
        copies = ["weights", *(["average"] if train.ema else []), *(["best"] if has_best else [])]
        copies += ["anchor"] if train.l2_to_base else []
        wanted |= {f"{copy}.{name}": ("F32", shape) for copy in copies}
        if train.optimizer == "muon" and name in heart:
            wanted |= {f"muon.{name}.{one}": ("F32", shape) for one in ("momentum", "direction")}
        else:
            wanted |= {f"adamw.{name}.{one}": ("F32", shape) for one in ("exp_avg", "exp_avg_sq")}
            wanted[f"adamw.{name}.step"] = ("F32", ())
    wanted[_RANDOM] = ("U8", tuple(torch.get_rng_state().shape))
    present = set(handle.keys())
    for name in sorted(wanted.keys() ^ (present - {BLOB})):
        raise ModelFileError(f"it lacks tensor {name}, or should not have it")
    for name, (kind, shape) in wanted.items():
        part = handle.get_slice(name)
        if part.get_dtype() != kind or tuple(part.get_shape()) != shape:
            raise ModelFileError(f"its tensor {name} does not fit its plan")
    if BLOB in present and handle.get_slice(BLOB).get_dtype() != "U8":
        raise ModelFileError(f"its tensor {BLOB} is not bytes")
    return sorted(present)


def _checked_position(position: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The counters, once each is of its kind and in its range."""
    healing: Any = position.get("healing")
    best = position.get("best")
    counters = ("step", "steps", "begun", "scored", "stale", "averaged", "muon")
    fine = all(_whole(position.get(name)) for name in counters)
    fine = fine and position["begun"] <= position["step"] <= position["steps"]
    fine &= all(_number(position.get(name)) for name in ("seconds", "begun_seconds"))
    fine &= "over" in position and isinstance(position["over"], str | None)
    fine = fine and isinstance(healing, dict) and healing.keys() == Recovery().counters().keys()
    fine = fine and _number(healing["rate"]) and 0 < healing["rate"] <= 1
    fine = fine and _number(healing["usual"]) and _whole(healing["skipped"])
    fine = fine and _whole(healing["parts"]) and 1 <= healing["parts"] <= plan.train.batch_size
    if best is not None:
        names = {one.name for one in fields(Score)}
        fine = fine and isinstance(best, dict) and best.keys() == _BEST
        fine = fine and _whole(best["step"]) and _number(best["seconds"])
        fine = fine and isinstance(best["averaged"], bool) and isinstance(best["score"], dict)
        fine = fine and best["score"].keys() == names
        fine = fine and all(_number(one) for one in best["score"].values())
    if not fine:
        raise ModelFileError("its position in the run makes no sense")
    return position


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e15


def _seal(header: Mapping[str, Any]) -> str:
    """A hash over the header: one changed digit in it would go unnoticed otherwise."""
    own = {key: value for key, value in header.items() if key not in ("seal", "digest")}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
