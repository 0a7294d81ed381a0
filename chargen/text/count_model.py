"""A quick model by counts: how many bits a character of a text costs, in a fraction of a second.

Contexts of up to five characters are counted, and the shorter ones fill in where a longer one was
seen seldom: Witten-Bell smoothing (Witten and Bell, 1991; Chen and Goodman, 1998, section 2.4).
p_k(c | h) = (n(h c) + t(h) p_{k-1}(c | h')) / (n(h) + t(h)), with n the counts of the context h and
of h followed by c, t(h) how many different characters followed h, and h' the context without its
first character. Below the shortest context all characters are alike. Shape letter: N characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chargen.text.char import code_points

ORDER = 5
"""Characters of the longest context."""
MAX_SAMPLE_CHARACTERS = 100_000
"""A longer text is sampled: counting it takes half a second."""
_STRETCHES = 10
_MIN_STRETCH_CHARACTERS = 1_500
"""In shorter stretches, chance differs more than texts do."""
_MIN_BITS = 0.6
_MIN_DEVIATIONS = 4.0
"""The tail differs strongly if its cost lies this far outside of those of other stretches: in bits
of a character, and in standard deviations of theirs."""
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93,
     0xA0761D6478BD642F, 0xE7037ED1A0B428DB], np.uint64,
)  # fmt: skip
"""Odd numbers: the sum of characters times these is the hash of a context, modulo 2**64."""

Codes = npt.NDArray[np.uint32]
Hashes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


class CountModel:
    """Counts of the contexts of a text.

    Args:
        texts: parts of the text; no context reaches from one into another.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        parts = [code_points(text) for text in texts if text]
        self._characters = np.unique(np.concatenate([np.empty(0, np.uint32), *parts]))
        self._tables = [_count(parts, order) for order in range(ORDER + 1)]

    def bits(self, text: str) -> Floats:
        """What each character of a text costs (N,), in bits, given those before it."""
        codes = code_points(text)
        new = np.setdiff1d(codes, self._characters)
        # One more for what neither text has.
        likelihood = np.full(len(codes), 1 / (len(self._characters) + len(new) + 1))
        for order, (contexts, followed) in enumerate(self._tables):
            here, pairs = _hashes(codes, order)
            n, t = contexts.look_up(here)
            seen, _ = followed.look_up(pairs)
            known = n > 0
            shorter = likelihood[order:]
            shorter[known] = (seen[known] + t[known] * shorter[known]) / (n[known] + t[known])
        bits: Floats = -np.log2(likelihood)
        return bits


@dataclass(frozen=True)
class _Counts:
    """How often each hash occurs, and with how many different characters after it."""

    hashes: Hashes
    counts: Floats
    kinds: Floats

    def look_up(self, hashes: Hashes) -> tuple[Floats, Floats]:
        """The counts and kinds of hashes (N,); zeros where they are unknown."""
        if not len(self.hashes):
            return np.zeros(len(hashes)), np.zeros(len(hashes))
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        known = self.hashes[places] == hashes
        return np.where(known, self.counts[places], 0), np.where(known, self.kinds[places], 0)


def _count(parts: Sequence[Codes], order: int) -> tuple[_Counts, _Counts]:
    """The counts of contexts of a length, and those of each context with its next character."""
    hashed = [_hashes(codes, order) for codes in parts]
    here = np.concatenate([np.empty(0, np.uint64), *(part[0] for part in hashed)])
    pairs = np.concatenate([np.empty(0, np.uint64), *(part[1] for part in hashed)])
    pair_hashes, first, pair_counts = np.unique(pairs, return_index=True, return_counts=True)
    contexts, counts = np.unique(here, return_counts=True)
    kinds = np.unique(here[first], return_counts=True)[1]
    followed = _Counts(pair_hashes, pair_counts.astype(float), np.zeros(len(pair_hashes)))
    return _Counts(contexts, counts.astype(float), kinds.astype(float)), followed


def _hashes(codes: Codes, order: int) -> tuple[Hashes, Hashes]:
    """The context of each character from `order` on, and the context with the character."""
    values = codes.astype(np.uint64) + np.uint64(1)
    length = max(0, len(codes) - order)
    with np.errstate(over="ignore"):
        here = np.full(length, order, np.uint64)
        for back in range(1, order + 1):
            here = here + values[order - back : order - back + length] * _FACTORS[back]
        return here, here * np.uint64(3) + values[order : order + length] * _FACTORS[0]


def bits_per_character(train: Sequence[str], scored: str) -> float:
    """What a character of `scored` costs on average, after `train` was counted.

    Args:
        train: parts of a text.
        scored: another text; at least one character.
    """
    return float(CountModel(train).bits(scored).mean())


def sample_stretches(text: str, count: int = _STRETCHES) -> list[str]:
    """A text as `count` stretches of equal length, of each only its middle if it is very long."""
    limit = MAX_SAMPLE_CHARACTERS // count
    bounds = [len(text) * number // count for number in range(count + 1)]
    stretches = []
    for start, end in pairwise(bounds):
        middle = (start + end) // 2
        half = min(limit, end - start) // 2
        stretches.append(
            text[middle - half : middle + half] if end - start > limit else text[start:end]
        )
    return stretches


def own_bits(stretches: Sequence[str]) -> list[float]:
    """What a character of each stretch costs after all others were counted."""
    return [
        bits_per_character([*stretches[:number], *stretches[number + 1 :]], stretch)
        for number, stretch in enumerate(stretches)
        if stretch
    ]


@dataclass(frozen=True, kw_only=True)
class TailDifference:
    """How the end of a text differs from the rest of it."""

    tail_bits: float
    """What a character of the tail costs after the rest was counted."""
    rest_bits: float
    """What a character of other stretches costs on average, each after all others."""

    def line(self) -> str:
        """In words, for a person who trains on the text."""
        harder = self.tail_bits > self.rest_bits
        return (
            f"the end of the text, which validates, differs from the rest: by counts it costs "
            f"{self.tail_bits:.1f} bits a character, other parts {self.rest_bits:.1f}; the score "
            f"will be {'worse' if harder else 'better'} than the model"
        )


def tail_difference(stretches: Sequence[str]) -> TailDifference | None:
    """Whether the last of several stretches of a text differs strongly from the others.

    Texts drift: the last chapter of a novel has other names than the first. So the cost of the last
    stretch is compared with how the costs of the others differ among themselves.

    Args:
        stretches: of about equal length, as of `sample_stretches`; the last is the tail.

    Returns:
        None if it does not, or if the text is too short to tell.
    """
    if len(stretches) < 4 or min(map(len, stretches)) < _MIN_STRETCH_CHARACTERS:
        return None
    *others, tail = own_bits(stretches)
    mean, deviation = float(np.mean(others)), float(np.std(others, ddof=1))
    if abs(tail - mean) < max(_MIN_BITS, _MIN_DEVIATIONS * deviation):
        return None
    return TailDifference(tail_bits=tail, rest_bits=mean)
