"""How a text ends, and what ends a loop.

Shape letters: V vocabulary.
"""

from __future__ import annotations

import re

import numpy as np

from chargen.errors import UsageError
from chargen.steering.guides import FORBIDDEN, Array, Guide, Moment
from chargen.text.overlap import CopyIndex, CopyWatch
from chargen.text.tokenizer import StreamDecoder, Tokenizer

_TAIL = 80
"""Characters before the end that tell whether a sentence ends there."""
_SENTENCE = re.compile(r"(?:[.!?…]+|[。！？])[\"'”’»)\]]*$")
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Rev|Capt|Col|Gen|vs|etc)|\b[A-Z])\.$")
_WIDE_MARKS = "。！？"
_MIN_LOOP = 4
"""Tokens of the shortest stretch that counts as a loop; `ha ha` may come."""
_MAX_LOOP = 400


class FinishGuide(Guide):
    """Ends a text at the next end of a sentence, line, paragraph or document.

    Args:
        kind: one of `FINISHES`.
        after: tokens before which the text does not end.
        tokenizer: of the model.

    Raises:
        UsageError: the model knows no documents.
    """

    ends_texts = True

    def __init__(self, kind: str, after: int, tokenizer: Tokenizer) -> None:
        if kind == "document" and tokenizer.eos_id is None:
            raise UsageError(
                "finish 'document': this model was trained on one text without documents; use "
                "sentence, line or paragraph"
            )
        self._kind, self._after, self._tokenizer = kind, after, tokenizer
        self._decoder = StreamDecoder()
        self._tail = ""
        self._written = 0

    def ended(self, token: int, moment: Moment) -> bool:
        """Whether the text is complete before this token."""
        if self._written < self._after:
            return False
        following = self._tokenizer.token_bytes(token).decode("utf-8", "replace")
        if token == self._tokenizer.eos_id:
            return True
        if self._kind == "document":
            return False
        if self._kind == "line":
            return following.startswith("\n")
        if self._kind == "paragraph":
            return following.startswith("\n") and self._tail.endswith("\n")
        blank = following[:1].isspace() or self._tail[-1:] in _WIDE_MARKS
        return blank and ends_sentence(self._tail)

    def accept(self, token: int) -> None:
        """Reads on."""
        self._written += 1
        data = self._tokenizer.token_bytes(token)
        self._tail = (self._tail + self._decoder.feed(data))[-_TAIL:]


def ends_sentence(text: str) -> bool:
    """Whether a text ends with a sentence, and not with an abbreviation as in `Mr. X`."""
    tail = text[-_TAIL:].rstrip("\n")
    return bool(_SENTENCE.search(tail)) and not _ABBREVIATION.search(tail)


class MinLengthGuide(Guide):
    """Lets no text end before it has so many tokens."""

    def __init__(self, least: int) -> None:
        self._left = least

    def may_end(self) -> bool:
        """Whether the text is long enough."""
        return self._left <= 0

    def accept(self, token: int) -> None:
        """Counts."""
        self._left -= 1


class LoopGuide(Guide):
    """Lets no stretch of tokens come more than so often in a row.

    Args:
        most: how often it may come.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tokens: list[int] = []
        self._runs = np.zeros(_MAX_LOOP + 1, np.int64)
        """For each distance: how many of the last tokens equal those at that distance before."""
        self._limits = most * np.maximum(np.arange(_MAX_LOOP + 1), _MIN_LOOP) - 1

    def weigh(self, moment: Moment) -> Array | None:
        """Forbids the tokens that would complete a stretch once too often."""
        if not (self._runs >= self._limits).any():
            return None
        found = np.flatnonzero(self._runs >= self._limits)
        weights = np.zeros(len(moment.relative), np.float32)
        weights[[self._tokens[-distance] for distance in found]] = FORBIDDEN
        return weights if np.isfinite(moment.relative[weights == 0]).any() else None

    def accept(self, token: int) -> None:
        """Compares the token with those before."""
        recent = np.array(self._tokens[::-1], np.int64)
        same = recent == token
        self._runs[1 : len(recent) + 1] = np.where(same, self._runs[1 : len(recent) + 1] + 1, 0)
        self._tokens = [*self._tokens[-_MAX_LOOP + 1 :], token]


class CopyGuide(Guide):
    """Lets no copy from the training text become longer than so many characters.

    Args:
        most: characters.
        index: of the training text.
        tokenizer: of the model.
    """

    looks_ahead = True

    def __init__(self, most: int, index: CopyIndex, tokenizer: Tokenizer) -> None:
        self._most, self._watch, self._tokenizer = most, CopyWatch(index), tokenizer

    def kept(self, token: int, moment: Moment) -> float:
        """0 if the copy would become too long with the token."""
        data = self._tokenizer.token_bytes(token)
        try:
            data.decode()
        except UnicodeDecodeError:  # the first bytes of a character; asked again at its last
            return 1.0
        return float(self._watch.length_with(token) <= self._most)

    def accept(self, token: int) -> None:
        """Reads on."""
        self._watch.feed([token])
