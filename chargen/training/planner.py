"""From what a person said to a complete plan: model size, batch, window, dropout, steps.

Whatever was given by hand is kept. With `steps` or `epochs` the plan depends on the corpus alone;
with `minutes` it also depends on how fast this machine makes a few steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from chargen.errors import ModelFileError, UsageError
from chargen.model.config import CELLS, ModelConfig
from chargen.training import autotune
from chargen.training.config import TrainConfig

DEFAULT_MINUTES = 5.0
_REFERENCE_FLOPS = 230e9
"""FLOP a second that training reaches on the machine the recipe was found on."""
_SCORING_SHARE = 0.03
_WIDEST = {"cpu": 1280.0, "cuda": 2048.0}
"""Units of a group: more would no longer write faster than a person reads on every laptop."""
_FILLED = 704.0
"""Units with which one network learns what a million tokens have to teach it."""
_MOST_GROUPS = 6
_WINDOW = {"cpu": (32, 48), "cuda": (128, 64)}
"""Places and tokens of a step: a GPU is no faster with fewer."""
_MUCH_DROPOUT, _SMALL_HEAD = 0.4, 0.04
"""From where two masks are worth a head's time; the head's rows beside those of the gates."""
_CLOSE = 0.15
"""A width this near to the wanted one stays."""
_LAST_STEPS = 8
"""Steps of the chosen kernel that tell the speed; Muon's rhythm."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A complete plan, and in words what decided it."""

    model: ModelConfig
    train: TrainConfig
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.model.to_json(),
            "train": self.train.to_json(),
            "reasons": list(self.reasons),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """What `to_json` made.

        Raises:
            ModelFileError: it is no plan.
        """
        train, reasons = value.get("train"), value.get("reasons")
        known = {one.name for one in fields(TrainConfig)}
        if not isinstance(train, dict) or not set(train) <= known:
            raise ModelFileError("its header has no plan")
        try:
            config = TrainConfig(**train)
        except (TypeError, UsageError) as error:
            raise ModelFileError(f"its plan is not one ({error})") from error
        return cls(
            model=ModelConfig.from_json(value.get("model")),
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
) -> Plan:
    """Fill in what was not given.

    Args:
        given: fields of ModelConfig and TrainConfig, and `epochs`, checked by `check_settings`.
        vocab_size: V.
        train_tokens: how many tokens there are to learn.
        valid_tokens: how many there are to score.
        processes: how many share the lanes of a step.

    Raises:
        UsageError: a value is out of range.
    """
    wishes = dict(given)
    epochs = wishes.pop("epochs", None)
    if epochs is None and "steps" not in wishes:
        wishes.setdefault("minutes", DEFAULT_MINUTES)
    minutes = wishes.get("minutes")
    device = _device(wishes)
    reasons = _fit_window(wishes, train_tokens, device)
    lane = wishes["batch_size"] * wishes["bptt"]
    if epochs is not None:
        wishes["steps"] = max(1, math.ceil(epochs * train_tokens / lane))
    if minutes is None:
        # As many minutes as the reference machine would take with the width that they suggest.
        worth = 2 * wishes["steps"] * lane / 4.5e6
        wishes.setdefault("groups", 1)
        size = _size(worth, train_tokens, wishes, device)
        model, draft = _draft(wishes, vocab_size, size)
        kernel = autotune.kernels_for(model, draft)[0]
    else:
        size = _size(minutes, train_tokens, wishes, device)
        model, draft = _draft(wishes, vocab_size, size)
        own = _own_share(draft, processes)
        kernel, wishes["threads"] = autotune.fastest(_one_group(model), own)
        seconds = autotune.seconds_per_step(model, own, kernel, wishes["threads"], _LAST_STEPS)
        worth = minutes * flop_per_token(model) * lane / seconds / _REFERENCE_FLOPS
        size = _size(worth, train_tokens, wishes, device)
        if abs(size[0] / model.hidden_size - 1) > _CLOSE:
            # A faster or slower machine than the reference: another size, and its own speed.
            model, draft = _draft(wishes, vocab_size, size)
            own = _own_share(draft, processes)
            seconds = autotune.seconds_per_step(model, own, kernel, wishes["threads"], _LAST_STEPS)
        wishes["steps"] = max(1, int(minutes * 60 * (1 - _SCORING_SHARE) / seconds))
        plural = "s" if wishes["threads"] > 1 else ""
        reasons.append(
            f"{lane / seconds:,.0f} tokens a second on this machine "
            f"({kernel.label}, {wishes['threads']} thread{plural})"
        )
    wishes["kernel"], wishes["precision"] = kernel.name, "bf16" if kernel.bf16 else "fp32"
    seen = wishes["steps"] * lane / train_tokens
    wishes.setdefault("dropout", _dropout(seen, model.group_size))
    wishes.setdefault("dropout_masks", _masks(wishes["dropout"], model))
    wishes.setdefault("learning_rate", draft.learning_rate)
    for name, value in _scoring(wishes["steps"] * lane, valid_tokens).items():
        wishes.setdefault(name, value)
    train = TrainConfig(**_fields_of(TrainConfig, wishes))
    reasons.append(f"about {seen:.1f} passes over the text, so dropout {train.dropout:g}")
    return Plan(model=model, train=train, reasons=tuple(reasons))


def flop_per_token(model: ModelConfig) -> float:
    """Of training: two forward and four backward for every weight that a token is multiplied by."""
    gates, size = len(model.cell_row.gates), model.hidden_size
    recurrent = gates * size * model.group_size * (2 * model.num_layers - 1)
    return 6.0 * (recurrent + model.vocab_size * size)


def _draft(
    wishes: Mapping[str, Any], vocab_size: int, size: tuple[int, int]
) -> tuple[ModelConfig, TrainConfig]:
    """Model and training of that size, unless another was asked for; the rest as far as known."""
    sizes = dict(wishes)
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
    """What the best kernel for all groups is found with."""
    return replace(model, hidden_size=model.group_size, groups=1)


def _own_share(train: TrainConfig, processes: int) -> TrainConfig:
    """With the lanes that one of several processes has: what it is timed with."""
    return replace(train, batch_size=max(1, train.batch_size // processes))


def _fields_of(kind: type[Any], wishes: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in wishes.items() if name in names}


def _device(wishes: Mapping[str, Any]) -> str:
    """A row of the tables above: where the plan will be carried out."""
    wished = wishes.get("device", "auto")
    if wished == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if wished == "cuda" else "cpu"


def _fit_window(wishes: dict[str, Any], train_tokens: int, device: str) -> list[str]:
    """Settle batch and window so that a lane holds at least a few windows of a small corpus."""
    reasons = []
    places, tokens = _WINDOW[device]
    asked = wishes.setdefault("bptt", tokens)
    if asked > train_tokens - 1:
        wishes["bptt"] = train_tokens - 1
        reasons.append(
            f"window of {train_tokens - 1} tokens instead of {asked}: the corpus is that short"
        )
    lanes = max(1, train_tokens // (4 * wishes["bptt"]))
    wishes.setdefault("batch_size", min(places, lanes))
    return reasons


def _size(
    minutes: float, train_tokens: int, wishes: Mapping[str, Any], device: str
) -> tuple[int, int]:
    """Units in all, and groups, that the time can train and the corpus can fill.

    With the square root of the time the text is read about as often, by more weights: what more
    time should buy, once a text has been read a few times. When one network knows it by heart,
    more of them buy more than more units (benchmarks/LOG.md).
    """
    groups = wishes.get("groups")
    if "hidden_size" in wishes:
        return int(wishes["hidden_size"]), groups or 1
    layers = 2 * wishes.get("num_layers", 1) - 1
    filled: float = _FILLED * (train_tokens / 1e6) ** 0.35
    if groups is None:
        enough = 2 * (filled / 448) ** 2 * layers
        groups = 1 if wishes.get("tied_head") else round(minutes / enough)
        groups = max(1, min(groups, _MOST_GROUPS))
    own = minutes / groups
    # Below two minutes, no text of an ordinary size is read more than a few times anyway.
    width: float = 448 * (own / 2) ** (1 / 2 if own > 2 else 1 / 3) / math.sqrt(layers)
    width *= math.sqrt(4 / len(CELLS[wishes.get("cell", "lstm")].gates))  # as many products
    return groups * max(64, 32 * round(min(width, filled, _WIDEST[device]) / 32)), groups


def _rate(wishes: Mapping[str, Any]) -> float:
    """Plain recurrences want smaller steps."""
    rate = 6e-3
    if wishes.get("cell") == "rnn":
        rate /= 4
    elif wishes.get("cell") == "rnn-relu":
        rate /= 8
    elif wishes.get("cell") == "gru":
        rate /= 1.5
    return float(f"{rate / math.sqrt(wishes.get('num_layers', 1)):.2g}")


def _dropout(passes: float, width: int) -> float:
    """None while the text is new; the oftener it is read, and the wider the model, the more."""
    return round(min(0.6, max(0.0, 0.1 * math.log2(max(passes * width / 128, 1e-9)))), 2)


def _masks(dropout: float, model: ModelConfig) -> int:
    """Two where much is left to chance, and a second look at the states costs next to nothing."""
    rows = len(model.cell_row.gates) * model.group_size
    return 2 if dropout >= _MUCH_DROPOUT and model.vocab_size <= _SMALL_HEAD * rows else 1


def _scoring(total_tokens: int, valid_tokens: int) -> dict[str, int]:
    """How often and on how many tokens to score, in about a thirtieth of the time of training."""
    evaluations = min(20, max(4, total_tokens // 400_000))
    # Reading forward and judging costs two thirds of learning.
    tokens = int(_SCORING_SHARE * total_tokens * 3 / 2 / evaluations)
    final = int(_SCORING_SHARE * total_tokens * 3)
    return {
        "evaluations": evaluations,
        "evaluation_tokens": max(2_048, min(tokens, 262_144, max(2, valid_tokens))),
        "final_tokens": max(65_536, final),
    }
