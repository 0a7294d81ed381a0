"""From what a person asked for to a complete plan: model size, batch, window, dropout, steps.

Whatever was given by hand stays. With `steps` or `epochs` the plan depends on the corpus alone;
with `minutes` it also depends on how fast this machine takes a few steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch

from chargen.errors import ModelFileError, UsageError
from chargen.model.config import CELLS, ModelConfig
from chargen.training import autotune
from chargen.training.config import TrainConfig
from chargen.training.device import device_name
from chargen.training.kernels import native_problem

DEFAULT_MINUTES = 5.0
_REFERENCE_FLOPS = 230e9
"""FLOP per second that training reaches on the machine that the recipe was found on."""
_SCORING_SHARE = 0.03
_PROBE_SHARE = 0.08
"""Of the minutes, the most that measuring this machine takes (and one step more)."""
_START_SHARE = 0.15
"""Of the minutes, what reading the text and measuring usually take at most."""
_MIN_LEFT_SHARE = 0.25
"""Of the minutes, what is planned with after the slowest start."""
_MAX_GROUP_UNITS = {"cpu": 1280.0, "cuda": 2048.0}
"""With more units, old laptops would no longer write faster than a person reads."""
_UNITS_PER_MILLION = 704.0
"""Units with which one network learns what a million tokens can teach it."""
_MAX_GROUPS = 6
_WINDOW = {"cpu": (32, 48), "cuda": (128, 64)}
"""Batch rows and tokens of each in a step: a GPU is no faster with fewer."""
_MIN_DROPOUT_FOR_TWO_MASKS = 0.4
_MAX_HEAD_SHARE_FOR_TWO_MASKS = 0.04
"""The head's rows as a share of the gates' rows, up to which a second mask costs little."""
_WIDTH_TOLERANCE = 0.15
"""A width stays when the better one differs by less than this share."""
_SPEED_STEPS = 8
"""Steps of the chosen kernel that measure the speed; Muon orthogonalizes once in them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A complete plan, and in words what it was decided by."""

    model: ModelConfig
    train: TrainConfig
    reasons: tuple[str, ...]
    teacher: ModelConfig | None = None
    """The shape of the network that this one learns from; None: there is none."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        value: dict[str, Any] = {
            "model": self.model.to_json(),
            "train": self.train.to_json(),
            "reasons": list(self.reasons),
        }
        return value if self.teacher is None else {**value, "teacher": self.teacher.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """A plan from what `to_json` returned.

        Raises:
            ModelFileError: it is not a plan.
        """
        train, reasons = value.get("train"), value.get("reasons")
        names = {field.name for field in fields(TrainConfig)}
        if not isinstance(train, dict) or not set(train) <= names:
            raise ModelFileError("its header has no plan")
        try:
            config = TrainConfig(**train)
        except (TypeError, UsageError) as error:
            raise ModelFileError(f"its plan is not one ({error})") from error
        model, teacher = ModelConfig.from_json(value.get("model")), None
        if "teacher" in value:
            teacher = ModelConfig.from_json(value["teacher"])
            if teacher.vocab_size != model.vocab_size:
                raise ModelFileError("its teacher has another vocabulary than its model")
        return cls(
            model=model,
            teacher=teacher,
            train=config,
            reasons=tuple(map(str, reasons)) if isinstance(reasons, list) else (),
        )


def make_plan(
    given: Mapping[str, Any],
    *,
    vocab_size: int,
    train_tokens: int,
    valid_tokens: int,
    processes: int = 1,
    elapsed: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    teacher: ModelConfig | None = None,
) -> Plan:
    """Fills in what was not given.

    Args:
        given: fields of ModelConfig and TrainConfig, and `epochs`, checked by `check_settings`.
        vocab_size: V.
        train_tokens: number of tokens to learn.
        valid_tokens: number of tokens to score.
        processes: number of processes that share the batch.
        elapsed: seconds of the minutes that are over; reading the text took them.
        clock: seconds; the speed is measured by it.
        teacher: the shape of a network that reads along, which takes its time.

    Raises:
        UsageError: a value is out of range, or is for a teacher that there is not.
    """
    settings = dict(given)
    if teacher is None and settings.get("teacher_share"):
        share = settings["teacher_share"]
        raise UsageError(f"teacher-share {share}: there is no teacher; chargen distil has one")
    epochs = settings.pop("epochs", None)
    if epochs is None and "steps" not in settings:
        settings.setdefault("minutes", DEFAULT_MINUTES)
    minutes = settings.get("minutes")
    device = _device(settings)
    reasons = _fit_window(settings, train_tokens, device)
    step_tokens = settings["batch_size"] * settings["bptt"]
    if epochs is not None:
        settings["steps"] = max(1, math.ceil(epochs * train_tokens / step_tokens))
    if minutes is None:
        # The minutes that the reference machine would take with the width that they suggest.
        reference_minutes = 2 * settings["steps"] * step_tokens / 4.5e6
        settings.setdefault("groups", 1)
        size = _size(reference_minutes, train_tokens, settings, device)
        model, draft = _draft(settings, vocab_size, size)
        kernel = autotune.kernels_for(model, draft)[0]
    else:
        size = _size(minutes, train_tokens, settings, device)
        model, draft = _draft(settings, vocab_size, size)
        share = _process_share(draft, processes)
        probe = autotune.Probe(minutes * 60 * _PROBE_SHARE, clock)
        began = probe.clock()
        kernel, settings["threads"] = autotune.fastest(_one_group(model), share, probe)
        measure = autotune.seconds_per_step
        if teacher is not None:
            measure = partial(measure, teacher=teacher)
        speed = kernel, settings["threads"], _SPEED_STEPS, probe
        seconds = measure(model, share, *speed)
        flops = flop_per_token(model) * step_tokens / seconds
        reference_minutes = minutes * flops / _REFERENCE_FLOPS
        size = _size(reference_minutes, train_tokens, settings, device)
        if abs(size[0] / model.hidden_size - 1) > _WIDTH_TOLERANCE:
            # This machine is faster or slower than the reference: another size has another speed.
            model, draft = _draft(settings, vocab_size, size)
            share = _process_share(draft, processes)
            seconds = measure(model, share, *speed)
        # Where reading and measuring took no longer than usual, the plan depends on the speed only.
        over = max(0.0, elapsed + probe.clock() - began - minutes * 60 * _START_SHARE)
        # A slow start must not leave a plan of no steps: the clock ends the run in time anyway.
        left = max(minutes * 60 - over, minutes * 60 * _MIN_LEFT_SHARE)
        settings["steps"] = max(1, int(left * (1 - _SCORING_SHARE) / seconds))
        where = f"{settings['threads']} thread{'s' if settings['threads'] > 1 else ''}"
        if device_name(draft) != "cpu":
            where = device_name(draft)
        reasons.append(
            f"{step_tokens / seconds:,.0f} tokens a second on this machine "
            f"({kernel.label}, {where})"
        )
    problem = native_problem(device_name(draft), draft.kernel)
    if problem is not None:
        reasons.append(f"the faster kernel in C is not used: {problem}")
    settings["kernel"], settings["precision"] = kernel.name, "bf16" if kernel.bf16 else "fp32"
    passes = settings["steps"] * step_tokens / train_tokens
    truth_share = 1 - settings.get("teacher_share", 0.0)
    settings.setdefault("dropout", _dropout(passes, model.group_size, truth_share))
    settings.setdefault("dropout_masks", _masks(settings["dropout"], model))
    settings.setdefault("learning_rate", draft.learning_rate)
    for name, value in _scoring(settings["steps"] * step_tokens, valid_tokens).items():
        settings.setdefault(name, value)
    train = TrainConfig(**_fields_of(TrainConfig, settings))
    if teacher is not None:
        reasons.append(
            f"{train.teacher_share:.0%} of the loss is what the teacher predicts "
            f"({teacher.cell_row.label}, {teacher.units_label})"
        )
    reasons.append(describe_passes(passes, train.dropout))
    return Plan(model=model, train=train, reasons=tuple(reasons), teacher=teacher)


def usual_size(train_tokens: int, minutes: float) -> tuple[int, int]:
    """Units in all, and groups, that are planned before this machine is measured.

    Args:
        train_tokens: tokens to train on.
        minutes: to train for.
    """
    return _size(minutes, max(1, train_tokens), {}, _device({}))


def describe_passes(passes: float, dropout: float) -> str:
    """The reason of a plan that tells how often the text is read; the last reason of every plan."""
    return f"about {passes:.1f} passes over the text, so dropout {dropout:g}"


def flop_per_token(model: ModelConfig) -> float:
    """FLOP of training: 2 forward and 4 backward for each weight that a token is multiplied by."""
    gates, size = len(model.cell_row.gates), model.hidden_size
    recurrent = gates * size * model.group_size * (2 * model.num_layers - 1)
    return 6.0 * (recurrent + model.vocab_size * size)


def _draft(
    settings: Mapping[str, Any], vocab_size: int, size: tuple[int, int]
) -> tuple[ModelConfig, TrainConfig]:
    """Model and training of a size, unless another was asked for; the rest as far as planned."""
    sizes = dict(settings)
    sizes.setdefault("hidden_size", size[0])
    sizes.setdefault("groups", size[1])
    if sizes.get("tied_head"):
        sizes["hidden_size"] = sizes.setdefault("embedding_size", sizes["hidden_size"])
    sizes.setdefault("embedding_size", min(64, max(8, sizes["hidden_size"])))
    sizes.setdefault("learning_rate", _rate(sizes))
    sizes.setdefault("steps", 1)
    model = ModelConfig(vocab_size=vocab_size, **_fields_of(ModelConfig, sizes))
    return model, TrainConfig(**_fields_of(TrainConfig, sizes))


def _one_group(model: ModelConfig) -> ModelConfig:
    """One group of the model: the kernel that is best for it is best for all."""
    return replace(model, hidden_size=model.group_size, groups=1)


def _process_share(train: TrainConfig, processes: int) -> TrainConfig:
    """The plan with the batch rows of one of several processes: what is timed."""
    return replace(train, batch_size=max(1, train.batch_size // processes))


def _fields_of(kind: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in settings.items() if name in names}


def _device(settings: Mapping[str, Any]) -> str:
    """The row of the tables above for the device that the run will use."""
    device = settings.get("device", "auto")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if device == "cuda" else "cpu"


def _fit_window(settings: dict[str, Any], train_tokens: int, device: str) -> list[str]:
    """Sets batch and window so that a row holds at least a few windows of a small corpus."""
    reasons = []
    batch_size, tokens = _WINDOW[device]
    asked = settings.setdefault("bptt", tokens)
    if asked > train_tokens - 1:
        settings["bptt"] = train_tokens - 1
        reasons.append(
            f"window of {train_tokens - 1} tokens instead of {asked}: the corpus is that short"
        )
    max_rows = max(1, train_tokens // (4 * settings["bptt"]))
    settings.setdefault("batch_size", min(batch_size, max_rows))
    return reasons


def _size(
    minutes: float, train_tokens: int, settings: Mapping[str, Any], device: str
) -> tuple[int, int]:
    """Units in all, and groups, that the time can train and that the corpus can use.

    The width grows with the square root of the time. Then a text is read about equally often, by
    more weights: the best use of more time once a text has been read a few times. When one network
    knows the text by heart, several networks gain more than more units (benchmarks/LOG.md).
    """
    groups = settings.get("groups")
    if "hidden_size" in settings:
        return int(settings["hidden_size"]), groups or 1
    layers = 2 * settings.get("num_layers", 1) - 1
    usable: float = _UNITS_PER_MILLION * (train_tokens / 1e6) ** 0.35
    if groups is None:
        enough = 2 * (usable / 448) ** 2 * layers
        groups = 1 if settings.get("tied_head") else round(minutes / enough)
        groups = max(1, min(groups, _MAX_GROUPS))
    group_minutes = minutes / groups
    # Below two minutes, no text of an ordinary size is read more than a few times anyway.
    exponent = 1 / 2 if group_minutes > 2 else 1 / 3
    width: float = 448 * (group_minutes / 2) ** exponent / math.sqrt(layers)
    width *= math.sqrt(4 / len(CELLS[settings.get("cell", "lstm")].gates))  # as many products
    return groups * max(64, 32 * round(min(width, usable, _MAX_GROUP_UNITS[device]) / 32)), groups


def _rate(settings: Mapping[str, Any]) -> float:
    """The learning rate: plain recurrences need smaller steps."""
    rate = 6e-3
    if settings.get("cell") == "rnn":
        rate /= 4
    elif settings.get("cell") == "rnn-relu":
        rate /= 8
    elif settings.get("cell") == "gru":
        rate /= 1.5
    return float(f"{rate / math.sqrt(settings.get('num_layers', 1)):.2g}")


def _dropout(passes: float, width: int, truth_share: float = 1.0) -> float:
    """No dropout while the text is new; more with every pass, and for a wider model.

    Less where a teacher's distribution is a part of the loss: only the true tokens, the rest of it,
    can be learned by heart. The square fits benchmarks/LOG.md.
    """
    usual = min(0.6, max(0.0, 0.1 * math.log2(max(passes * width / 128, 1e-9))))
    return round(usual * truth_share**2, 2)


def _masks(dropout: float, model: ModelConfig) -> int:
    """Two masks where dropout is high and the head is small, so that the second costs little."""
    rows = len(model.cell_row.gates) * model.group_size
    return (
        2
        if dropout >= _MIN_DROPOUT_FOR_TWO_MASKS
        and model.vocab_size <= _MAX_HEAD_SHARE_FOR_TWO_MASKS * rows
        else 1
    )


def _scoring(total_tokens: int, valid_tokens: int) -> dict[str, int]:
    """How often, and on how many tokens, to score: in about a thirtieth of the training time."""
    evaluations = min(20, max(4, total_tokens // 400_000))
    # Reading forward and fitting the factor costs two thirds of learning.
    tokens = int(_SCORING_SHARE * total_tokens * 3 / 2 / evaluations)
    final = int(_SCORING_SHARE * total_tokens * 3)
    return {
        "evaluations": evaluations,
        "evaluation_tokens": max(2_048, min(tokens, 262_144, max(2, valid_tokens))),
        "final_tokens": max(65_536, final),
    }
