"""SampleConfig: how text is drawn. The ranges are one table, read by options, `/set` and checks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chargen.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of `SETTINGS`: a number a person may set, and its range."""

    low: float
    high: float
    help: str
    whole: bool = False
    low_excluded: bool = False

    def problem(self, name: str, value: object) -> str | None:
        """What is wrong with `value`, or None."""
        if isinstance(value, int) or (isinstance(value, float) and not self.whole):
            above = value > self.low if self.low_excluded else value >= self.low
            if above and value <= self.high and value != math.inf:
                return None
        return f"{name.replace('_', '-')} {value}: must be {self.range()}"

    def range(self) -> str:
        """The range in words."""
        low = f"above {self.low:g}" if self.low_excluded else f"at least {self.low:g}"
        return low if self.high == math.inf else f"{low} and at most {self.high:g}"


SETTINGS: dict[str, Setting] = {
    "length": Setting(
        low=1, high=math.inf, whole=True, help="Tokens to write: characters, bytes or pieces"
    ),
    "temperature": Setting(
        low=0, high=100, help="Below 1 safer, above 1 wilder; 0 always takes the likeliest"
    ),
    "top_k": Setting(low=0, high=math.inf, whole=True, help="Keep the K likeliest tokens; 0: all"),
    "top_p": Setting(
        low=0,
        high=1,
        low_excluded=True,
        help="Keep the likeliest tokens that together have this probability; 1: all",
    ),
    "min_p": Setting(
        low=0, high=1, help="Keep tokens at least this share as likely as the likeliest; 0: all"
    ),
    "repetition_penalty": Setting(
        low=0,
        high=100,
        low_excluded=True,
        help="Above 1 makes the last 64 tokens less likely; 1: off",
    ),
}


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How a stream of text is drawn.

    Raises:
        UsageError: on construction, naming every setting that is wrong and its range.
    """

    length: int = 500
    """Tokens to write at most (a character, byte or piece each)."""
    temperature: float = 0.8
    """Logits are divided by it; 0 is greedy."""
    top_k: int = 0
    """Only this many of the likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together reach this probability; 1 keeps all."""
    min_p: float = 0.0
    """Only tokens with at least this share of the likeliest token's probability."""
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
        problems = [row.problem(name, getattr(self, name)) for name, row in SETTINGS.items()]
        if any(not one for one in self.stop):
            problems.append("stop '': must be at least one character")
        if self.seed < 0:
            problems.append(f"seed {self.seed}: must be at least 0")
        found = [one for one in problems if one]
        if found:
            raise UsageError("; ".join(found))

    def check_vocabulary(self, vocab_size: int) -> None:
        """Check what depends on the model.

        Raises:
            UsageError: top_k is larger than the vocabulary.
        """
        if self.top_k > vocab_size:
            raise UsageError(
                f"top-k {self.top_k}: the model has {vocab_size} tokens; "
                f"choose 1 to {vocab_size}, or 0 for all"
            )
