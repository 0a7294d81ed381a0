"""Forms of lines: how many, with which letters they begin, how long.

A form is a regular expression, and a guide that ends long lines between two words.
"""

from __future__ import annotations

import re

import numpy as np

from chargen.steering.config import Steering
from chargen.steering.guides import FORBIDDEN, Array, Guide, Moment
from chargen.text.tokenizer import StreamDecoder, Tokenizer, newline_id

_USUAL_WIDTHS = 30, 80
"""The longest line that is written unasked, by how many lines share the text's length."""
_WRAPPED = 16
"""Characters before the longest length of a line in which it is ended between two words."""


def line_lengths(steering: Steering, length: int) -> tuple[int, int]:
    """The fewest and the most characters of a line; (0, 0) where no form of lines is asked for.

    Where only the number of lines is asked for, they share the length of the text: a model of
    prose would write the first of them for ever.
    """
    if steering.line_length != (0, 0):
        return steering.line_length
    if not steering.line_count or steering.syllables:
        return 0, 0
    if steering.rhyme:  # its guide ends the lines
        return 0, 0
    narrow, wide = _USUAL_WIDTHS
    return 1, min(wide, max(narrow, length // steering.line_count - 1))


def form_pattern(steering: Steering, length: int, prompt: str) -> str:
    """The regular expression of the lines that are asked for; empty if no form is asked for.

    Args:
        steering: what is asked.
        length: tokens of the text.
        prompt: the text before; the lines begin on a line of their own.
    """
    least, most = line_lengths(steering, length)
    if not most and not steering.rhyme:
        return ""
    rest = rf"[^\n]{{{least - 1},{most - 1}}}" if most else r"[^\n]*"
    before = r"\n+" if prompt and not prompt.endswith("\n") else ""
    if not steering.line_count:
        return before + rf"[^\W_]{rest}(?:\n[^\W_]{rest})*"
    firsts = list(map(re.escape, steering.acrostic)) or [r"[^\W_]"] * steering.line_count
    return before + r"\n".join(first + rest for first in firsts)


class WrapGuide(Guide):
    """Ends a line between two words where it would become too long.

    Args:
        least: the fewest characters of a line.
        most: the most.
        count: how many lines there are; 0: any number.
        tokenizer: of the model.
        prompt: the text before.
    """

    ends_texts = True

    def __init__(
        self, least: int, most: int, count: int, tokenizer: Tokenizer, prompt: str
    ) -> None:
        self._from = max(least, most - _WRAPPED)
        self._count, self._tokenizer = count, tokenizer
        texts = [
            tokenizer.token_bytes(t).decode("utf-8", "ignore") for t in range(tokenizer.vocab_size)
        ]
        self._blanks = [token for token, text in enumerate(texts) if text.startswith(" ")]
        newline = newline_id(tokenizer)
        self._newline = -1 if newline is None else newline
        self._decoder = StreamDecoder()
        self._line, self._number = 0, 0 if not prompt or prompt.endswith("\n") else -1

    def weigh(self, moment: Moment) -> Array | None:
        """Gives the likelihood of a blank to the line end."""
        if not self._is_wide() or self._newline < 0 or self._is_last():
            return None
        relative = moment.relative
        weights = np.zeros(len(relative), np.float32)
        weights[self._blanks] = FORBIDDEN
        best = max([*relative[self._blanks], relative[self._newline]])
        weights[self._newline] = best - relative[self._newline]
        return weights

    def _is_wide(self) -> bool:
        return self._number >= 0 and self._line >= self._from

    def _is_last(self) -> bool:
        return self._number + 1 == self._count

    def ended(self, token: int, moment: Moment) -> bool:
        """Whether the last line is wide enough and a word ends."""
        return self._is_wide() and self._is_last() and token in self._blanks

    def accept(self, token: int) -> None:
        """Counts characters and lines."""
        for character in self._decoder.feed(self._tokenizer.token_bytes(token)):
            if character != "\n":
                self._line += 1
            elif self._line or self._number < 0:
                self._line, self._number = 0, self._number + 1
