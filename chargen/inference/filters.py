"""How a token is drawn: the settings with their ranges, the filters, and the draw.

A filter takes log-likelihoods (V,) relative to the most likely token, which has 0, and returns
new ones; what it removes becomes -inf. `FILTERS` names them in the order in which they
apply. Command-line options, `/set` and checks use the ranges in `SETTINGS`. This file knows no
model and no text.
Shape letter: V vocabulary.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from chargen.errors import UsageError
from chargen.inference.engine import Array
from chargen.steering.config import Steering


@dataclass(frozen=True, kw_only=True)
class SettingRange:
    """A row of `SETTINGS`: a number that a person may set, and its range."""

    low: float
    high: float
    help: str
    off: float | None = None
    """The value at which the filter of that name changes nothing; None: it has no filter."""
    integer: bool = False
    low_excluded: bool = False

    def problem(self, name: str, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        kind = numbers.Integral if self.integer else numbers.Real  # numpy's numbers are these too
        if not isinstance(value, kind) or isinstance(value, bool):
            what = "a whole number" if self.integer else "a number"
            return f"{name.replace('_', '-')} {value!r}: must be {what}"
        number: Any = value
        above = number > self.low if self.low_excluded else number >= self.low
        if above and number <= self.high and number != math.inf:
            return None
        return f"{name.replace('_', '-')} {value}: must be {self.range()}"

    def range(self) -> str:
        """The range in words."""
        low = f"above {self.low:g}" if self.low_excluded else f"at least {self.low:g}"
        return low if self.high == math.inf else f"{low} and at most {self.high:g}"


SETTINGS: dict[str, SettingRange] = {
    "length": SettingRange(
        low=1, high=math.inf, integer=True, help="Tokens to write: characters, bytes or pieces"
    ),
    "temperature": SettingRange(
        low=0,
        high=100,
        off=1,
        help="Below 1 safer, above 1 wilder; 0 always takes the likeliest",
    ),
    "top_k": SettingRange(
        low=0, high=math.inf, off=0, integer=True, help="Keep the K likeliest tokens; 0: all"
    ),
    "top_p": SettingRange(
        low=0,
        high=1,
        off=1,
        low_excluded=True,
        help="Keep the likeliest tokens that together have this probability; 1: all",
    ),
    "min_p": SettingRange(
        low=0,
        high=1,
        off=0,
        help="Keep tokens at least this share as likely as the likeliest; 0: all",
    ),
    "typical_p": SettingRange(
        low=0,
        high=1,
        off=1,
        low_excluded=True,
        help="Keep the tokens nearest to the expected surprise that have this probability; 1: all",
    ),
    "eta": SettingRange(
        low=0,
        high=1,
        off=0,
        help="Drop tokens below this probability, fewer where many are likely; 0: none",
    ),
    "lookahead": SettingRange(
        low=0,
        high=64,
        integer=True,
        help="Write N continuations of 12 tokens each and go on with a likely one; 0: with one",
    ),
    "repetition_penalty": SettingRange(
        low=0,
        high=100,
        off=1,
        low_excluded=True,
        help="Above 1 makes the last 64 tokens less likely; 1: off",
    ),
}


@dataclass(frozen=True, kw_only=True)
class SampleConfig(Steering):
    """How a text is drawn, and what is asked of it.

    Raises:
        UsageError: on construction, naming every setting that is wrong and its range.
    """

    length: int = 500
    """Tokens to write at most (a character, byte or piece each)."""
    temperature: float = 0.8
    """Logits are divided by it; 0 is greedy."""
    top_k: int = 0
    """Only this many of the most likely tokens; 0, or more than the model has, keeps all."""
    top_p: float = 1.0
    """Only the most likely tokens that together reach this probability; 1 keeps all."""
    min_p: float = 0.0
    """Only tokens with at least this share of the highest probability; 0 keeps all."""
    typical_p: float = 1.0
    """Only tokens whose surprise is nearest to the expected one, up to this probability."""
    eta: float = 0.0
    """Only tokens above this probability, or above a lower one where the entropy is high."""
    lookahead: int = 0
    """How many continuations are written side by side, of which one is kept; 0 is one."""
    repetition_penalty: float = 1.0
    """Log-probabilities of recent tokens are multiplied by it."""
    stop: tuple[str, ...] = ()
    """Writing ends before the first of these texts."""
    stop_at_end: bool = True
    """Writing ends at the end-of-document token, where the model has one."""
    seed: int = 0
    """Seed of the random draws; sample k of several draws from (seed, k)."""

    def __post_init__(self) -> None:
        """Check every setting and report all problems at once."""
        super().__post_init__()
        given = cast("str | Sequence[str]", self.stop)
        # A single text is one stop text, not one for each of its characters.
        stops = tuple(given) if isinstance(given, list | tuple) else (given,)
        object.__setattr__(self, "stop", stops)
        checks = [row.problem(name, getattr(self, name)) for name, row in SETTINGS.items()]
        problems = [problem for problem in checks if problem]
        stops_given: tuple[Any, ...] = self.stop
        problems += [
            f"stop {stop!r}: must be a text of at least one character"
            for stop in stops_given
            if not isinstance(stop, str) or not stop
        ]
        if not isinstance(self.seed, numbers.Integral) or self.seed < 0:
            problems.append(f"seed {self.seed!r}: must be a whole number, at least 0")
        if problems:
            raise UsageError("; ".join(problems))


_STOP_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "|": "|"}
"""What a character means after a backslash in a typed stop text."""


def parse_stop(typed: str) -> str:
    r"""The stop text that a person typed: \n, \t, \r, \\ and \| are escapes; others stay."""

    def meant(match: re.Match[str]) -> str:
        return _STOP_ESCAPES.get(match[1], match[0])

    return re.sub(r"\\(.)", meant, typed, flags=re.DOTALL)


def show_stop(stop: str) -> str:
    """A stop text as a person types it; `parse_stop` reads it back."""
    typed = {text: f"\\{letter}" for letter, text in _STOP_ESCAPES.items()}
    return "".join(typed.get(character, character) for character in stop)


RECENT_TOKENS = 64
"""How many of the last tokens the repetition penalty looks at."""
_MIN_TEMPERATURE = 1e-6
"""Lower temperatures are greedy: float32 could not tell the difference."""


def repetition(relative: Array, recent: Sequence[int], penalty: float) -> Array:
    """Multiply the log-probabilities of recent tokens by `penalty` (after Keskar et al., 2019).

    It acts on log-probabilities, which are never positive; so a constant added to all logits
    changes nothing.

    Args:
        relative: (V,).
        recent: ids of the last tokens.
        penalty: above 1 makes them less likely.
    """
    tokens = np.fromiter(set(recent), np.int64)
    result = relative - np.log(np.exp(relative).sum())
    result[tokens] *= np.float32(penalty)
    return cast(Array, result - result.max())


def temperature(relative: Array, value: float) -> Array:
    """Divide by the temperature; 0 keeps only the most likely token (the first of equals)."""
    if value < _MIN_TEMPERATURE:
        return _keep(relative, np.argmax(relative))
    return np.multiply(relative, np.float32(1 / value))


def top_k(relative: Array, k: int) -> Array:
    """Keep the k most likely tokens (Fan et al., 2018)."""
    return _keep(relative, np.argsort(-relative, kind="stable")[:k])


def top_p(relative: Array, p: float) -> Array:
    """Keep the fewest most likely tokens that reach probability p (Holtzman et al., 2020)."""
    order = np.argsort(-relative, kind="stable")
    reached = np.cumsum(np.exp(relative[order], dtype=np.float64))
    return _keep(relative, order[: 1 + np.searchsorted(reached, p * reached[-1])])


def min_p(relative: Array, share: float) -> Array:
    """Keep tokens with at least this share of the highest probability (Nguyen et al., 2024)."""
    return np.where(relative >= np.log(share), relative, np.float32(-np.inf))


def typical_p(relative: Array, p: float) -> Array:
    """Keep the tokens whose surprise is nearest to the entropy (Meister et al., 2023).

    They are added in this order until they have probability p.
    """
    logprobs = relative - np.log(np.exp(relative).sum())
    likelihoods = np.exp(logprobs)
    entropy = -float(likelihoods.dot(np.where(likelihoods > 0, logprobs, 0)))
    order = np.argsort(np.abs(-logprobs - entropy), kind="stable")
    reached = np.cumsum(likelihoods[order], dtype=np.float64)
    return _keep(relative, order[: 1 + np.searchsorted(reached, p * reached[-1])])


def eta(relative: Array, epsilon: float) -> Array:
    """Keep tokens above min(epsilon, sqrt(epsilon) exp(-entropy)) (Hewitt et al., 2022)."""
    logprobs = relative - np.log(np.exp(relative).sum())
    likelihoods = np.exp(logprobs)
    entropy = -float(likelihoods.dot(np.where(likelihoods > 0, logprobs, 0)))
    limit = min(epsilon, math.sqrt(epsilon) * math.exp(-entropy))
    kept = likelihoods >= min(limit, float(likelihoods.max()))
    return np.where(kept, relative, np.float32(-np.inf))


Filter = Callable[[Array, Sequence[int], SampleConfig], Array]
"""From log-likelihoods (V,), ids of the last tokens and the settings to log-likelihoods (V,)."""

FILTERS: dict[str, Filter] = {
    "repetition_penalty": lambda x, recent, c: repetition(x, recent, c.repetition_penalty),
    "temperature": lambda x, _, c: temperature(x, c.temperature),
    "typical_p": lambda x, _, c: typical_p(x, c.typical_p),
    "eta": lambda x, _, c: eta(x, c.eta),
    "top_k": lambda x, _, c: top_k(x, c.top_k),
    "top_p": lambda x, _, c: top_p(x, c.top_p),
    "min_p": lambda x, _, c: min_p(x, c.min_p),
}
"""Filters in the order in which they apply; each has the name of its setting in `SETTINGS`."""


def active_filters(config: SampleConfig) -> list[Filter]:
    """The filters that change something under this config, in order."""
    return [apply for name, apply in FILTERS.items() if getattr(config, name) != SETTINGS[name].off]


def draw(relative: Array, uniform: float) -> int:
    """A token drawn from (V,) by inversion of the cumulative distribution.

    Args:
        relative: as from a filter; -inf is never drawn.
        uniform: a random number in [0, 1).
    """
    likelihoods = np.exp(relative)
    cumulative = np.add.accumulate(likelihoods, dtype=np.float64)
    total = cumulative[-1]
    token = int(cumulative.searchsorted(uniform * total, "right"))
    if token >= len(likelihoods) or likelihoods[token] == 0:
        # Rounding pushed the draw past the last possible token: the first to reach the total.
        token = int(cumulative.searchsorted(total))
    return token


def _keep(relative: Array, tokens: npt.NDArray[np.integer] | np.integer) -> Array:
    result = np.full_like(relative, -np.inf)
    result[tokens] = relative[tokens]
    return result
