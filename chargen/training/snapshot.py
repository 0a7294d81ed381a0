"""Everything that a run needs to go on as if it had never stopped, in one file.

`training.safetensors` holds the weights, their EMA, the best weights, the memory of both
optimizers, the carried state and the random generator; for a distilled run also the teacher's
weights and its state. Its header holds the plan, the position in
it, the counters of early stopping, and where the text was. The position in the text is the step
alone (see batches.py). A resumed run takes the very steps that it would have taken: bit for bit on
the same machine, with the same number of threads.
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
    TOKENIZER_TENSOR,
    errors_about,
    open_safetensors,
    read_tensors,
    tokenizer_state,
    write_safetensors,
)
from chargen.model.score import Score
from chargen.model.stored_weights import Tensors
from chargen.text.registry import tokenizer_from_state
from chargen.text.tokenizer import Tokenizer, TokenizerState
from chargen.training.device import device_generator, set_device_generator
from chargen.training.events import Evaluated
from chargen.training.planner import Plan
from chargen.training.recovery import Recovery
from chargen.training.trainer import Trainer

KEY = "chargen-training"
FORMAT = 1
_RANDOM = "random.cpu"
_DEVICE_RANDOM = "random.device"
"""The generator of the GPU; only in the snapshots of a run on one."""
_BEST = {"step", "averaged", "seconds", "score"}
_MAX_WINDOW_TOKENS = 1 << 28
"""No plan reads so many tokens in a step, but a hostile file might say so."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a run after a step."""

    plan: Plan
    tokenizer: TokenizerState
    card: dict[str, Any]
    """What the model's card says about the corpus."""
    text: dict[str, Any]
    """Where the corpus was, and how it was read."""
    position: dict[str, Any]
    """Counters, as `capture` made them."""
    recorded: int
    """Bytes of metrics.jsonl that had been written."""
    tensors: Tensors

    def build_tokenizer(self) -> Tokenizer:
        """The tokenizer, ready to use."""
        return tokenizer_from_state(self.tokenizer)


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Writes a snapshot; the file before it stays until the new one is complete.

    Raises:
        ChargenError: it cannot be written; the file before it is unchanged.
    """
    tensors = dict(snapshot.tensors)
    if snapshot.tokenizer.blob is not None:
        tensors[TOKENIZER_TENSOR] = np.frombuffer(snapshot.tokenizer.blob, np.uint8)
    header = {
        "format": FORMAT,
        **snapshot.plan.to_json(),
        "tokenizer": snapshot.tokenizer.to_json(),
        "card": snapshot.card,
        "text": snapshot.text,
        "position": snapshot.position,
        "recorded": snapshot.recorded,
    }
    write_safetensors(path, KEY, {**header, "seal": _header_digest(header)}, tensors)


def load_snapshot(path: Path) -> Snapshot:
    """Reads and checks a snapshot; shapes are compared with the plan before tensors are read.

    Raises:
        ModelFileError: it is missing, damaged, of another kind, or of a newer format.
    """
    with errors_about(path):
        kind = "the state of a chargen training run"
        with open_safetensors(path, KEY, kind, FORMAT) as (header, handle):
            if header.get("seal") != _header_digest(header) or not header.get("digest"):
                raise ModelFileError("its header does not match its digest: the file is damaged")
            plan = _plan(header)
            for name in ("card", "text", "position"):
                if not isinstance(header.get(name), dict):
                    raise ModelFileError(f"its header has no {name}")
            position = _checked_position(header["position"], plan)
            names = _check_tensors(handle, plan, has_best=position["best"] is not None)
            tensors = read_tensors(header, handle, names)
        blob = tensors.pop(TOKENIZER_TENSOR, None)
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
    """Copies of the trainer's tensors, and its counters; only between two events of `run`.

    The carried states are those of all batch rows: all processes must call it.
    """
    live = {**trainer.tensors(), **trainer.fixed_tensors(), **trainer.states_of_all_rows()}
    tensors = {name: tensor.detach().cpu().numpy().copy() for name, tensor in live.items()}
    tensors[_RANDOM] = torch.get_rng_state().numpy()
    generator = device_generator(trainer.device)
    if generator is not None:
        tensors[_DEVICE_RANDOM] = generator.numpy()
    position: dict[str, Any] = {
        "step": trainer.step,
        "steps": trainer.steps,
        "begun": trainer.stretch_start,
        "scored": trainer.scored_step,
        "stale": trainer.scores_without_gain,
        "averaged": trainer.ema.updates if trainer.ema else 0,
        "muon": trainer.optimizer.muon.steps,
        "seconds": trainer.seconds(),
        "begun_seconds": trainer.stretch_start_seconds,
        "healing": trainer.recovery.counters(),
        "pacing": trainer.pacing.counters(),
        "best": None,
    }
    if trainer.best is not None:
        tensors |= {f"best.{name}": array for name, array in trainer.best.weights.items()}
        position["best"] = {
            "step": trainer.best.step,
            "averaged": trainer.best.averaged,
            "seconds": trainer.best.seconds,
            "score": trainer.best.score.to_json(),
        }
    return tensors, position


def restore(trainer: Trainer, snapshot: Snapshot) -> None:
    """Puts a trainer that was made for the snapshot's plan where the snapshot was taken."""
    position, tensors = snapshot.position, snapshot.tensors
    with torch.no_grad():
        for name, target in {**trainer.tensors(), **trainer.fixed_tensors()}.items():
            saved = torch.from_numpy(tensors[name])
            # Of the rows' states, those that this process reads.
            target.copy_(saved[:, trainer.local_rows] if name.startswith("state.") else saved)
    trainer.step = position["step"]
    trainer.plan_steps(position["steps"])
    trainer.stretch_start = position["begun"]
    trainer.stretch_start_seconds = position["begun_seconds"]
    trainer.scored_step, trainer.scores_without_gain = position["scored"], position["stale"]
    if trainer.ema:
        trainer.ema.updates = position["averaged"]
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
                name.removeprefix(prefix): array
                for name, array in tensors.items()
                if name.startswith(prefix)
            },
        )
    trainer.recovery.restore(position["healing"])
    if "pacing" in position:  # older states do not say how much a score reads
        trainer.pacing.restore(position["pacing"])
    torch.set_rng_state(torch.from_numpy(tensors[_RANDOM]))
    if _DEVICE_RANDOM in tensors:
        set_device_generator(trainer.device, torch.from_numpy(tensors[_DEVICE_RANDOM]))


def _plan(header: Mapping[str, Any]) -> Plan:
    plan = Plan.from_json(header)
    if plan.train.batch_size * plan.train.bptt > _MAX_WINDOW_TOKENS:
        raise ModelFileError("its plan reads more in a step than any memory holds")
    return plan


def _check_tensors(handle: Any, plan: Plan, *, has_best: bool) -> list[str]:
    """Checks the tensors' kinds and shapes against the plan; returns their names."""
    model, train = plan.model, plan.train
    shapes = model.tensor_shapes()
    recurrent = {f"layers.{layer}.weight_hh" for layer in range(model.num_layers)}
    recurrent |= {f"layers.{layer}.weight_ih" for layer in range(1, model.num_layers)}
    readers = [model] if plan.teacher is None else [model, plan.teacher]
    states = [config.state_shape for config in readers for _ in config.cell_row.states]
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        f"state.{number}": ("F32", (layers, train.batch_size, size))
        for number, (layers, _, size) in enumerate(states)
    }
    for config in readers[1:]:
        expected |= {
            f"teacher.{name}": ("F32", shape) for name, shape in config.tensor_shapes().items()
        }
    for name, shape in shapes.items():
        copies = ["weights", *(["average"] if train.ema else []), *(["best"] if has_best else [])]
        copies += ["anchor"] if train.l2_to_base else []
        expected |= {f"{copy}.{name}": ("F32", shape) for copy in copies}
        if train.optimizer == "muon" and name in recurrent:
            expected |= {
                f"muon.{name}.{part}": ("F32", shape) for part in ("momentum", "direction")
            }
        else:
            expected |= {
                f"adamw.{name}.{part}": ("F32", shape) for part in ("exp_avg", "exp_avg_sq")
            }
            expected[f"adamw.{name}.step"] = ("F32", ())
    expected[_RANDOM] = ("U8", tuple(torch.get_rng_state().shape))
    present = set(handle.keys())
    for name in sorted(expected.keys() ^ (present - {TOKENIZER_TENSOR, _DEVICE_RANDOM})):
        problem = "is missing" if name in expected else "does not belong to its plan"
        raise ModelFileError(f"its tensor {name} {problem}: the file is damaged")
    for name, (kind, shape) in expected.items():
        part = handle.get_slice(name)
        if part.get_dtype() != kind or tuple(part.get_shape()) != shape:
            raise ModelFileError(f"its tensor {name} does not fit its plan")
    for name in {TOKENIZER_TENSOR, _DEVICE_RANDOM} & present:
        if handle.get_slice(name).get_dtype() != "U8":
            raise ModelFileError(f"its tensor {name} is not bytes")
    return sorted(present)


def _checked_position(position: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Checks that each counter has its kind and lies in its range; returns the counters."""
    recovery: Any = position.get("healing")
    best = position.get("best")
    counters = ("step", "steps", "begun", "scored", "stale", "averaged", "muon")
    fine = all(_is_count(position.get(name)) for name in counters)
    fine = fine and position["begun"] <= position["step"] <= position["steps"]
    fine &= all(_is_amount(position.get(name)) for name in ("seconds", "begun_seconds"))
    fine &= "over" in position and isinstance(position["over"], str | None)
    fine = fine and isinstance(recovery, dict) and recovery.keys() == Recovery().counters().keys()
    fine = fine and _is_amount(recovery["rate"]) and 0 < recovery["rate"] <= 1
    fine = fine and _is_amount(recovery["usual"]) and _is_count(recovery["skipped"])
    fine = fine and _is_count(recovery["parts"])
    fine = fine and 1 <= recovery["parts"] <= plan.train.batch_size
    if "pacing" in position:
        pacing = position["pacing"]
        fine = fine and isinstance(pacing, dict)
        fine = fine and pacing.keys() == {"score_limit", "scoring_seconds"}
        fine = fine and _is_count(pacing["score_limit"]) and pacing["score_limit"] >= 2
        fine = fine and _is_amount(pacing["scoring_seconds"])
    if best is not None:
        names = {field.name for field in fields(Score)}
        fine = fine and isinstance(best, dict) and best.keys() == _BEST
        fine = fine and _is_count(best["step"]) and _is_amount(best["seconds"])
        fine = fine and isinstance(best["averaged"], bool) and isinstance(best["score"], dict)
        fine = fine and best["score"].keys() == names
        fine = fine and all(_is_amount(value) for value in best["score"].values())
    if not fine:
        raise ModelFileError("the counters in its header are out of range: the file is damaged")
    return position


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e15


def _header_digest(header: Mapping[str, Any]) -> str:
    """A hash over the header: a changed digit in it would go unnoticed otherwise."""
    covered = {key: value for key, value in header.items() if key not in ("seal", "digest")}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()
