"""TrainConfig: how a model is trained. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from chargen.errors import UsageError, unknown_name
from chargen.model.config import ModelConfig

SCHEDULES = ("linear", "cosine", "wsd")
DEVICES = ("auto", "cpu", "cuda", "mps")
KERNELS = ("auto", "native", "torch", "stock")
OPTIMIZERS = ("muon", "adamw")
PRECISIONS = ("auto", "fp32", "bf16")
_FRACTIONS = (
    *("minutes", "learning_rate", "warmup", "beta1", "beta2", "weight_decay", "clip", "dropout"),
    *("embedding_dropout", "ema", "layer_decay", "l2_to_base", "replay_share", "teacher_share"),
)
_WHOLE = {
    "steps": (1, 10**12),
    "batch_size": (1, 65_536),
    "bptt": (1, 1_000_000),
    "evaluations": (1, 10_000),
    "evaluation_tokens": (2, 10**12),
    "final_tokens": (2, 10**12),
    "patience": (0, 10_000),
    "dropout_masks": (1, 64),
    "threads": (0, 256),
    "freeze": (0, 64),
    "seed": (0, 2**63 - 1),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run, complete: the loop decides nothing.

    Raises:
        UsageError: on construction, naming every field that is wrong, its value and the range.
    """

    steps: int
    """Optimizer steps of the whole run."""
    minutes: float | None = None
    """Wall time after which the run is shortened to end; None leaves the clock out."""
    batch_size: int = 16
    """Rows of a batch (B), read side by side."""
    bptt: int = 48
    """Tokens of each row in a step (T): where back-propagation through time is cut off."""
    learning_rate: float = 5e-3
    """The highest rate of the schedule."""
    optimizer: str = "muon"
    """Of the recurrent matrices: `muon` or `adamw`; all other weights always have AdamW."""
    schedule: str = "linear"
    """Decay after the warm-up: `linear` to zero, `cosine`, or `wsd` (stable, then linear)."""
    warmup: float = 0.02
    """Share of the steps in which the rate rises."""
    beta1: float = 0.9
    """AdamW's decay of the gradient's average."""
    beta2: float = 0.99
    """AdamW's decay of the squared gradient's average."""
    weight_decay: float = 0.01
    """AdamW's decay of matrices; biases and embeddings are left alone."""
    clip: float = 1.0
    """Largest norm of the gradient over all weights."""
    dropout: float = 0.0
    """On the output of the last layer and between layers, one mask per window (variational)."""
    dropout_masks: int = 1
    """Masks before the head in each step; averaging their losses makes the gradient less noisy."""
    embedding_dropout: float = 0.0
    """On the embedding's output, one mask per window."""
    ema: float = 0.05
    """Weights are averaged over about this share of the steps; 0 turns averaging off."""
    evaluations: int = 20
    """How often the validation part is scored during the run."""
    evaluation_tokens: int = 65_536
    """Tokens of the validation part scored each time, spread over the part."""
    final_tokens: int = 10**12
    """Tokens of the validation part that the best weights are scored on at the end."""
    patience: int = 10
    """Evaluations without improvement after which the run ends early; 0 never."""
    layer_decay: float = 1.0
    """A layer's rate as a multiple of the rate of the layer above it (Howard and Ruder, 2018)."""
    freeze: int = 0
    """Lowest recurrent layers that do not learn at first; half way through the run, all do."""
    l2_to_base: float = 0.0
    """How fast weights are pulled back to the first weights: the decay of the difference."""
    replay_share: float = 0.0
    """Share of the batch rows that read another text, so that it is not forgotten."""
    teacher_share: float = 0.0
    """Share of the loss that is a teacher's distribution; 0 where there is no teacher."""
    shuffle: bool = False
    """Whether documents stand in another order in every pass; no effect without an end token."""
    seed: int = 0
    """Seed of initial weights and dropout."""
    device: str = "auto"
    """`auto` takes cuda, then mps, then cpu."""
    threads: int = 0
    """CPU threads; 0 takes one per core."""
    kernel: str = "auto"
    """What computes the recurrences: `native` (C), `torch`, or torch's own (`stock`)."""
    precision: str = "auto"
    """Of the products while training: `bf16` or `fp32`; sums and weights are fp32 always."""

    def __post_init__(self) -> None:
        """Check every field and report all problems at once."""
        kinds = dict.fromkeys(_WHOLE, (int,)) | dict.fromkeys(_FRACTIONS, (int, float))
        problems = [
            f"{name.replace('_', '-')} {getattr(self, name)!r}: must be a number"
            for name, allowed in kinds.items()
            if type(getattr(self, name)) not in allowed
            and not (name == "minutes" and self.minutes is None)
        ]
        if problems:
            raise UsageError("; ".join(problems))
        problems = [
            f"{name.replace('_', '-')} {getattr(self, name)}: must be from {low} to {high:,}"
            for name, (low, high) in _WHOLE.items()
            if not low <= getattr(self, name) <= high
        ]
        shares = ("warmup", "beta1", "beta2", "dropout", "embedding_dropout", "ema", "replay_share")
        problems += [
            f"{name.replace('_', '-')} {getattr(self, name)}: must be at least 0 and below 1"
            for name in shares
            if not 0 <= getattr(self, name) < 1
        ]
        if not 0 <= self.teacher_share <= 1:
            problems.append(f"teacher-share {self.teacher_share}: must be from 0 to 1")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < 1e6:
                problems.append(
                    f"{name.replace('_', '-')} {getattr(self, name)}: must be above 0 and below 1e6"
                )
        if not 0 <= self.weight_decay <= 10:
            problems.append(f"weight-decay {self.weight_decay}: must be from 0 to 10")
        if self.minutes is not None and not 0 < self.minutes <= 1e5:
            problems.append(f"minutes {self.minutes}: must be above 0")
        if not 0 <= self.l2_to_base <= 100:
            problems.append(f"l2-to-base {self.l2_to_base}: must be from 0 to 100")
        if not 0 < self.layer_decay <= 1:
            problems.append(f"layer-decay {self.layer_decay}: must be above 0 and at most 1")
        choices = {
            "schedule": SCHEDULES,
            "optimizer": OPTIMIZERS,
            "device": DEVICES,
            "kernel": KERNELS,
            "precision": PRECISIONS,
        }
        for name, rows in choices.items():
            if getattr(self, name) not in rows:
                problems.append(unknown_name(name, str(getattr(self, name)), rows))
        if problems:
            raise UsageError("; ".join(problems))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        return asdict(self)


def check_settings(given: Mapping[str, Any]) -> None:
    """Checks what a person asked for before anything is read or written.

    Args:
        given: fields of ModelConfig and TrainConfig, and `epochs`.

    Raises:
        UsageError: a setting is unknown or out of range, or several say how long to train.
    """
    model = {field.name for field in fields(ModelConfig)}
    train = {field.name for field in fields(TrainConfig)}
    for name in given:
        if name not in model | train | {"epochs"} or name == "vocab_size":
            raise UsageError(unknown_name("setting", name, model | train | {"epochs"}))
    lengths = [f"--{name}" for name in ("minutes", "epochs", "steps") if name in given]
    if len(lengths) > 1:
        raise UsageError(f"{' and '.join(lengths)}: give one of them")
    if type(given.get("epochs", 1)) not in (int, float):
        raise UsageError(f"epochs {given['epochs']!r}: must be a number")
    if not 0 < given.get("epochs", 1) <= 1e6:
        raise UsageError(f"epochs {given['epochs']}: must be above 0")
    sizes = {name: given[name] for name in model & given.keys()}
    if sizes.get("tied_head"):
        sizes.setdefault("embedding_size", sizes.get("hidden_size", 256))
        sizes.setdefault("hidden_size", sizes["embedding_size"])
    if sizes.get("groups", 0) > 0:
        sizes.setdefault("hidden_size", sizes["groups"])  # the plan chooses a size that fits
    ModelConfig(vocab_size=2, **sizes)
    TrainConfig(**{"steps": 1, **{name: given[name] for name in train & given.keys()}})
