"""What tokens may come next so that a text can still match a pattern.

Tokens may be characters, bytes, or pieces of several characters. So a token is taken for the
characters that it completes, and for the first bytes of a character that later tokens must
complete. Characters that are in the same sets of the pattern are alike; a vocabulary of thousands
of tokens has few different ones then.

Shape letters: V vocabulary, A characters of the alphabet, R sets of characters, C classes.
"""

from __future__ import annotations

import codecs
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chargen.errors import UsageError
from chargen.steering.pattern import Pattern
from chargen.text.tokenizer import ByteTokenizer, Tokenizer

_SURROGATES = slice(0xD800, 0xE000)
_MAX_UTF8_BYTES = 4
_CONTINUATION = range(0x80, 0xC0)
"""Bytes that do not begin a character (RFC 3629, section 3)."""
_FIRST_OF_SIZE = {2: 0x80, 3: 0x800, 4: 0x10000}
"""The first character that UTF-8 writes with so many bytes (RFC 3629, section 3)."""
_MAX_MASKS = 4096
_MAX_LISTED = 8
_MAX_TRIED = 4096
"""Characters of a set that are looked at to find the one of fewest tokens."""

Mask = npt.NDArray[np.bool_]


class Reached(NamedTuple):
    """How far a text has come."""

    states: frozenset[int]
    """States of the pattern."""
    pending: bytes
    """The first bytes of a character that is not complete."""


@dataclass(frozen=True, kw_only=True)
class _Effect:
    """What some tokens do alike."""

    classes: tuple[int, ...]
    """Of the characters that they complete."""
    opened: frozenset[int]
    """Classes of the characters that can still come of the bytes that they begin; may be empty."""
    missing: int
    """Bytes that this character lacks."""
    tokens: npt.NDArray[np.int64]


class TokenAutomaton:
    """A pattern over the tokens of a model.

    Args:
        pattern: what a whole text has to match.
        tokenizer: of the model.
    """

    def __init__(self, pattern: Pattern, tokenizer: Tokenizer) -> None:
        self._pattern = pattern
        self._vocab_size = tokenizer.vocab_size
        self._bytes = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
        if tokenizer.kind == "subword":
            self._bytes[0] = b""  # <unk>
        goes_on = [bool(data) and data[0] in _CONTINUATION for data in self._bytes]
        self._going_on = [token for token, within in enumerate(goes_on) if within]
        """Tokens that begin within a character; the others with text are `_opening`."""
        self._opening = [
            token for token, data in enumerate(self._bytes) if data and not goes_on[token]
        ]
        self._alphabet = _alphabet(self._bytes)
        self._class_of, self._holds = _classes(pattern.members(self._alphabet))
        self._code_points = np.frombuffer(self._alphabet.encode("utf-32-le"), np.uint32)
        prices = list(map(self._price, range(self._holds.shape[1])))
        self._costs = pattern.costs(prices)
        self._effects: dict[bytes, list[_Effect]] = {}
        self._after: dict[tuple[frozenset[int], int], frozenset[int]] = {}
        self._masks: dict[tuple[Reached, float], Mask] = {}
        finite = self._costs[np.isfinite(self._costs)]
        self._largest_cost = float(finite.max(initial=0.0)) + _MAX_UTF8_BYTES
        self.start = Reached(self._alive(pattern.closure([0])), b"")
        """Before the first token; without states where no text of these tokens can match."""

    def _price(self, number: int) -> float:
        """The fewest tokens that write one character of a set; a piece may write several."""
        characters = np.flatnonzero(self._holds[self._class_of, number])
        if not len(characters):
            return np.inf
        singles = set(self._bytes)
        best = np.inf
        # Characters are sorted, so those of fewest bytes come first; tokens are seldom many.
        for index in characters[:_MAX_TRIED]:
            data = self._alphabet[index].encode()
            if data in singles:
                return 1.0
            best = min(best, float(len(data)))
        return best

    def least(self, reached: Reached) -> float:
        """The fewest tokens, or bytes, that complete the text; inf if nothing does."""
        if reached.pending:
            missing, classes = self._opened(reached.pending)
            ends = [self._step(reached.states, kind) for kind in classes]
            return missing + min(map(self._least, ends), default=np.inf)
        return self._least(reached.states)

    def _least(self, states: frozenset[int]) -> float:
        return min((float(self._costs[state]) for state in states), default=np.inf)

    def is_complete(self, reached: Reached) -> bool:
        """Whether the text matches as it is."""
        return not reached.pending and self._pattern.end in reached.states

    def allowed(self, reached: Reached, remaining: float) -> Mask:
        """The tokens (V,) after which the text can still match; read only.

        Args:
            reached: how far the text has come.
            remaining: how many tokens may be written, with the next one.
        """
        remaining = min(remaining, self._largest_cost + 1)
        key = reached, remaining
        mask = self._masks.get(key)
        if mask is None:
            if len(self._masks) >= _MAX_MASKS:
                self._masks.clear()
            mask = np.zeros(self._vocab_size, bool)
            for effect in self._effects_after(reached.pending):
                mask[effect.tokens] = self._cost_after(reached.states, effect) <= remaining - 1
            self._masks[key] = mask  # only now: another thread may read it
        return mask

    def _cost_after(self, states: frozenset[int], effect: _Effect) -> float:
        for kind in effect.classes:
            states = self._step(states, kind)
        if not effect.missing:
            return self._least(states)
        ends = (self._least(self._step(states, kind)) for kind in effect.opened)
        return effect.missing + min(ends, default=np.inf)

    def after(self, reached: Reached, token: int) -> Reached:
        """How far the text has come with one more token."""
        text, pending = _decoded(reached.pending + self._bytes[token])
        states = reached.states
        for character in text:
            states = self._step(states, self._class(character))
        return Reached(states, pending)

    def _step(self, states: frozenset[int], kind: int) -> frozenset[int]:
        after = self._after.get((states, kind))
        if after is None:
            holds, reads = self._holds[kind], self._pattern.reads
            readings = (reads[state] for state in states)
            after = self._alive(
                self._pattern.closure(read[1] for read in readings if read and holds[read[0]])
            )
            self._after[states, kind] = after
        return after

    def _alive(self, states: frozenset[int]) -> frozenset[int]:
        return frozenset(state for state in states if np.isfinite(self._costs[state]))

    def _class(self, character: str) -> int:
        index = int(self._code_points.searchsorted(ord(character)))
        return int(self._class_of[index])

    def _effects_after(self, pending: bytes) -> list[_Effect]:
        """The tokens by what they do after some bytes, without those that break a character."""
        if pending not in self._effects:
            groups = defaultdict[tuple[tuple[int, ...], bytes], list[int]](list)
            for token in self._going_on if pending else self._opening:
                try:
                    text, rest = _decoded(pending + self._bytes[token])
                except UnicodeDecodeError:
                    continue
                groups[tuple(map(self._class, text)), rest].append(token)
            effects = []
            for (classes, rest), tokens in groups.items():
                missing, opened = self._opened(rest) if rest else (0, frozenset[int]())
                effects.append(
                    _Effect(
                        classes=classes, opened=opened, missing=missing, tokens=np.array(tokens)
                    )
                )
            self._effects[pending] = effects
        return self._effects[pending]

    def _opened(self, pending: bytes) -> tuple[int, frozenset[int]]:
        """Of bytes that begin a character: how many are missing, and the classes of its ends."""
        first = pending[0]
        size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        value = first & (0xFF >> (size + 1))
        for byte in pending[1:]:
            value = value << 6 | byte & 0x3F
        missing = size - len(pending)
        # Characters below are written with fewer bytes.
        low = max(value << 6 * missing, _FIRST_OF_SIZE[size])
        start, stop = self._code_points.searchsorted([low, (value + 1) << 6 * missing])
        counts = np.bincount(self._class_of[start:stop])
        return missing, frozenset(map(int, np.flatnonzero(counts)))


def any_text(tokenizer: Tokenizer) -> TokenAutomaton:
    """The automaton of all texts: it refuses only bytes that are no UTF-8."""
    if tokenizer.kind == "byte":  # one automaton, and what it has found, serves all texts
        return _any_bytes(documents=tokenizer.eos_id is not None)
    return TokenAutomaton(Pattern("(?s:.*)"), tokenizer)


@cache
def _any_bytes(*, documents: bool) -> TokenAutomaton:
    return TokenAutomaton(Pattern("(?s:.*)"), ByteTokenizer(documents=documents))


_RECENT: dict[tuple[str, int], tuple[Tokenizer, TokenAutomaton]] = {}
_MAX_RECENT = 8


def automaton_of(source: str, tokenizer: Tokenizer, option: str) -> TokenAutomaton:
    """The automaton of a regular expression; those of the last few are kept.

    Raises:
        UsageError: it is wrong or too large, or no text that the model can write matches.
    """
    key = source, id(tokenizer)
    kept = _RECENT.get(key)
    if kept is not None and kept[0] is tokenizer:
        return kept[1]
    pattern = Pattern(source, option)
    automaton = TokenAutomaton(pattern, tokenizer)
    if not automaton.start.states:
        unseen = sorted(character for character in pattern.literals if tokenizer.unseen(character))
        told = f"; it never saw {', '.join(map(repr, unseen[:_MAX_LISTED]))}" if unseen else ""
        raise UsageError(f"{option}: no text that this model can write matches{told}")
    while len(_RECENT) >= _MAX_RECENT:
        _RECENT.pop(next(iter(_RECENT)), None)
    _RECENT[key] = tokenizer, automaton
    return automaton


def _alphabet(token_bytes: list[bytes]) -> str:
    """The characters that tokens can write, sorted: all of Unicode where tokens are bytes."""
    characters: set[str] = set()
    for data in token_bytes:
        try:
            characters |= set(data.decode())
        except UnicodeDecodeError:
            code_points = np.arange(sys.maxunicode + 1, dtype=np.uint32)
            kept = np.delete(code_points, _SURROGATES)
            return kept.tobytes().decode("utf-32-le" if sys.byteorder == "little" else "utf-32-be")
    return "".join(sorted(characters))


def _classes(members: Mask) -> tuple[npt.NDArray[np.int32], Mask]:
    """Characters that are in the same sets are alike: the class of each (A,), and (C, R)."""
    class_of = np.zeros(members.shape[1], np.int32)
    count = min(1, members.shape[1])
    for row in members:
        divided = 2 * class_of + row
        occurs = np.bincount(divided) > 0
        class_of = (np.cumsum(occurs, dtype=np.int32) - 1)[divided]
        count = np.count_nonzero(occurs)
    holds = np.zeros((count, len(members)), bool)
    holds[class_of] = members.T
    return class_of, holds


def _decoded(data: bytes) -> tuple[str, bytes]:
    """The characters of some bytes, and the first bytes of one more.

    Raises:
        UnicodeDecodeError: they are no UTF-8.
    """
    text, read = codecs.utf_8_decode(data, "strict", False)
    return text, data[read:]
