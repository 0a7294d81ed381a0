"""The best of several texts, and lists without what is known already.

`WAYS` says by what texts are compared. A text's score is a number, the larger the better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from chargen.inference.many import Draft, WrittenText
from chargen.inference.writer import Step
from chargen.text.overlap import CopyIndex, CopyWatch

_CHUNK_SYMBOLS = 1 << 22
_TRIES_PER_TEXT = 20
"""Texts that are written for one that is kept, at most."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A text that was written whole."""

    written: WrittenText
    tokens: tuple[int, ...]
    score: float = 0.0

    @property
    def text(self) -> str:
        """What was written."""
        return self.written.text

    @property
    def nats(self) -> float:
        """Nats per token under the model, before any filter."""
        return self.written.nats_per_token


def whole_texts(steps: Iterable[tuple[int, Step]], prompt: str = "") -> Iterator[Candidate]:
    """Each text as soon as it is complete.

    Args:
        steps: as of `generate_batch`.
        prompt: what they were written after.
    """
    drafts: dict[int, tuple[Draft, list[int]]] = {}
    for number, step in steps:
        draft, tokens = drafts.setdefault(number, (Draft(), []))
        draft.add(step)
        tokens.append(step.token_id)
        if step.finish is not None:
            del drafts[number]
            yield Candidate(written=draft.written(prompt, 0, number), tokens=tuple(tokens))


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What texts are compared with."""

    usual_nats: float | None
    """Nats per token of real text, as the model was validated; None if that is not known."""
    copies: CopyIndex | None
    """The index of the training text; None if that is not here."""


def _likelihood(text: Candidate, measure: Measure) -> float:
    return -text.nats


def _surprise_band(text: Candidate, measure: Measure) -> float:
    assert measure.usual_nats is not None
    return -abs(text.nats - measure.usual_nats)


def _novelty(text: Candidate, measure: Measure) -> float:
    assert measure.copies is not None
    lengths = CopyWatch(measure.copies).feed(text.tokens)
    copied = np.zeros(len(text.tokens), bool)
    for end, length in enumerate(lengths, 1):
        copied[end - length : end] = True
    return -float(copied.mean())


@dataclass(frozen=True)
class Way:
    """A row of `WAYS`."""

    score: Callable[[Candidate, Measure], float]
    help: str
    needs: str | None = None
    """The field of `Measure` that it needs."""


WAYS: dict[str, Way] = {
    "likelihood": Way(_likelihood, "the likeliest per token"),
    "surprise-band": Way(
        _surprise_band, "as surprising per token as real text was in validation", "usual_nats"
    ),
    "novelty": Way(_novelty, "the smallest share copied from the training text", "copies"),
}
"""By what texts are compared."""


def ranked(texts: Iterable[Candidate], way: str, measure: Measure) -> list[Candidate]:
    """The texts with their scores, the best first; of equals, the one written first."""
    scored = [replace(text, score=WAYS[way].score(text, measure)) for text in texts]
    return sorted(scored, key=lambda text: (-text.score, text.written.number))


class Unseen:
    """Tells which texts are new: no line of the training text, and none that came before.

    Case and white space at the ends do not make a text new.

    Args:
        copies: the training text; None where it is not here.
    """

    def __init__(self, copies: CopyIndex | None) -> None:
        self._known: set[str] = set()
        self.thrown_away = 0
        """Texts that were not new."""
        if copies is None:
            return
        rest = ""
        for start in range(0, len(copies.symbols), _CHUNK_SYMBOLS):
            part = rest + copies.spell(copies.symbols[start : start + _CHUNK_SYMBOLS])
            *lines, rest = part.split("\n")
            self._known.update(map(_folded, lines))
        self._known.add(_folded(rest))

    def is_new(self, text: str) -> bool:
        """Whether a text is new; from here on it is known."""
        folded = _folded(text)
        if not folded or folded in self._known:
            self.thrown_away += 1
            return False
        self._known.add(folded)
        return True


def _folded(text: str) -> str:
    return text.strip().casefold()


def new_texts(texts: Iterable[Candidate], count: int, unseen: Unseen) -> Iterator[Candidate]:
    """The first `count` texts that are new.

    Args:
        texts: more than needed; no more are taken than must be.
        count: how many are kept.
        unseen: what tells which are new.
    """
    kept = 0
    for text in texts:
        if unseen.is_new(text.text):
            kept += 1
            yield text
        if kept == count:
            return


def tries(count: int) -> int:
    """How many texts are written for `count` new ones, at most."""
    return count * _TRIES_PER_TEXT
