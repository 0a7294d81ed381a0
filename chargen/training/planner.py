"""From what a person said to a complete plan: model size, batch, window, dropout, steps.

Whatever was given by hand is kept. With `steps` or `epochs` the plan depends on the corpus alone;
with `minutes` it also depends on how fast this machine makes a few steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.nn import functional

from chargen.model.config import ModelConfig
from chargen.training.config import TrainConfig
from chargen.training.network import RecurrentLM, detach
from chargen.training.trainer import make_optimizer, prepare_torch

DEFAULT_MINUTES = 5.0
_REFERENCE_RATE = 30_000
"""Tokens a second of the reference machine, where minutes are not what was asked for."""
_SCORING_SHARE = 0.05
_PROBE_STEPS = 8
_ROUNDS = 3
_FIRST_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A complete plan, and in words what decided it."""

    model: ModelConfig
    train: TrainConfig
    reasons: tuple[str, ...]


def make_plan(
    given: Mapping[str, Any], *, vocab_size: int, train_tokens: int, valid_tokens: int
) -> Plan:
    """Fill in what was not given.

    Args:
        given: fields of ModelConfig and TrainConfig, and `epochs`, checked by `check_settings`.
        vocab_size: V.
        train_tokens: how many tokens there are to learn.
        valid_tokens: how many there are to score.

    Raises:
        UsageError: a value is out of range.
    """
    wishes = dict(given)
    epochs = wishes.pop("epochs", None)
    if epochs is None and "steps" not in wishes:
        wishes.setdefault("minutes", DEFAULT_MINUTES)
    reasons = _fit_window(wishes, train_tokens)
    lane = wishes["batch_size"] * wishes["bptt"]
    if epochs is not None:
        wishes["steps"] = max(1, math.ceil(epochs * train_tokens / lane))
    minutes = wishes.get("minutes")
    # Minutes of the reference machine that the run is worth: what the model's width goes by.
    worth = minutes if minutes is not None else wishes["steps"] * lane / _REFERENCE_RATE / 60
    width = _width(worth, train_tokens)
    wishes.setdefault("hidden_size", width)
    if wishes.get("tied_head"):
        wishes["hidden_size"] = wishes.setdefault("embedding_size", wishes["hidden_size"])
    wishes.setdefault("embedding_size", min(64, max(8, wishes["hidden_size"])))
    wishes.setdefault("learning_rate", _rate(wishes))
    model = ModelConfig(vocab_size=vocab_size, **_fields_of(ModelConfig, wishes))
    wishes.setdefault("steps", 1)
    draft = TrainConfig(**_fields_of(TrainConfig, wishes))
    if minutes is not None:
        wishes["threads"], seconds = _fastest(model, draft)
        wishes["steps"] = max(1, int(minutes * 60 * (1 - _SCORING_SHARE) / seconds))
        speed = f"{lane / seconds:,.0f} tokens a second on this machine"
        reasons.append(f"{speed} ({wishes['threads']} thread{'s'[: wishes['threads'] > 1]})")
    seen = wishes["steps"] * lane / train_tokens
    wishes.setdefault("dropout", _dropout(seen))
    for name, value in _scoring(wishes["steps"] * lane, valid_tokens).items():
        wishes.setdefault(name, value)
    train = TrainConfig(**_fields_of(TrainConfig, wishes))
    reasons.append(f"about {seen:.1f} passes over the text, so dropout {train.dropout:g}")
    return Plan(model=model, train=train, reasons=tuple(reasons))


def _fields_of(kind: type[Any], wishes: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in wishes.items() if name in names}


def _fit_window(wishes: dict[str, Any], train_tokens: int) -> list[str]:
    """Settle batch and window so that a lane holds at least a few windows of a small corpus."""
    reasons = []
    asked = wishes.setdefault("bptt", 48)
    if asked > train_tokens - 1:
        wishes["bptt"] = train_tokens - 1
        reasons.append(
            f"window of {train_tokens - 1} tokens instead of {asked}: the corpus is that short"
        )
    lanes = max(1, train_tokens // (4 * wishes["bptt"]))
    wishes.setdefault("batch_size", min(16, lanes))
    return reasons


def _width(minutes: float, train_tokens: int) -> int:
    """Units that the time can train and the corpus can fill."""
    by_time = next(
        (size for limit, size in ((0.3, 128), (0.8, 256), (3, 320), (8, 448)) if minutes < limit),
        512,
    )
    by_text = 128 if train_tokens < 20_000 else 256 if train_tokens < 150_000 else 1024
    return min(by_time, by_text)


def _rate(wishes: Mapping[str, Any]) -> float:
    """Wider models and plain recurrences want smaller steps."""
    size = wishes["hidden_size"]
    rate = 6e-3 * math.sqrt(320 / max(size, 128))
    if wishes.get("cell") == "rnn":
        rate /= 4
    elif wishes.get("cell") == "rnn-relu":
        rate /= 8
    elif wishes.get("cell") == "gru":
        rate /= 1.5
    return float(f"{rate / math.sqrt(wishes.get('num_layers', 1)):.2g}")


def _dropout(passes: float) -> float:
    """None while the text is new; the oftener it is read, the more."""
    return round(min(0.5, max(0.0, 0.1 * math.log2(max(passes, 1e-9)))), 2)


def _scoring(total_tokens: int, valid_tokens: int) -> dict[str, int]:
    """How often and on how many tokens to score, in about a twentieth of the time of training."""
    evaluations = min(20, max(4, total_tokens // 250_000))
    # Each scores two sets of weights, and reading forward costs a third of learning.
    tokens = int(_SCORING_SHARE * total_tokens * 3 / 2 / evaluations)
    final = int(_SCORING_SHARE * total_tokens * 3)
    return {
        "evaluations": evaluations,
        "evaluation_tokens": max(2_048, min(tokens, 262_144, max(2, valid_tokens))),
        "final_tokens": max(65_536, final),
    }


def _fastest(model: ModelConfig, train: TrainConfig) -> tuple[int, float]:
    """(threads, seconds a step): all cores, or one where small steps or others' work favour it."""
    device = prepare_torch(train)
    everything = torch.get_num_threads()
    counts = {train.threads or everything, train.threads or 1}
    network = RecurrentLM(model, dropout=0.1).to(device)
    # In turn, and each by its best round: a moment's disturbance must not decide for the whole run.
    rounds = [
        (_seconds_per_step(network, train, count), count) for count in sorted(counts) * _ROUNDS
    ]
    seconds, threads = min(rounds)
    return threads, seconds


def _seconds_per_step(network: RecurrentLM, train: TrainConfig, threads: int) -> float:
    """The median of a few real steps on made-up tokens; the first ones, slower, left out."""
    torch.set_num_threads(threads)
    device = network.head.bias.device
    optimizer = make_optimizer(network, train)
    shape = (train.bptt + 1, train.batch_size)
    tokens = torch.randint(network.config.vocab_size, shape, device=device)
    state = network.zero_state(train.batch_size)
    times = []
    for _ in range(_FIRST_STEPS + _PROBE_STEPS):
        began = time.perf_counter()
        logits, state = network(tokens[:-1], state)
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(network.parameters(), train.clip)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the device
        state = detach(state)
        times.append(time.perf_counter() - began)
    return sorted(times[_FIRST_STEPS:])[_PROBE_STEPS // 2]
