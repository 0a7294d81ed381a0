"""What bends the draw of a token to what is asked of a text: the guides.

Before each token a guide may forbid tokens or make them likelier, and it may look a few tokens
ahead to tell what a token would lead to. Several guides are applied together. A guide is told of
each token that the text gets; for a text that is taken back, guides are made anew and told again.

Shape letters: V vocabulary, L layers, S states, H hidden_size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError
from chargen.steering.automaton import TokenAutomaton

Array = npt.NDArray[np.float32]
FORBIDDEN = np.float32(-np.inf)
_MAX_KNOWN = 4096


class Reader(Protocol):
    """What a guide looks ahead with: a model's step; see `Stepper` in inference/engine.py."""

    def step(self, token: int, state: Array, out: Array) -> Array:
        """Reads one token; logits (V,)."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a guide knows before a token is drawn."""

    relative: Array
    """The model's log-likelihoods (V,), less that of the likeliest."""
    state: Array
    """(L, S, H), after everything that was read; never changed."""
    remaining: int
    """How many tokens may still be written, with this one."""


class Guide:
    """The base of all guides: it changes nothing."""

    looks_ahead = False
    """Whether `kept` must be asked of a drawn token."""
    ends_texts = False
    """Whether `ended` must be asked of a drawn token."""

    def weigh(self, moment: Moment) -> Array | None:
        """What is added to the log-likelihoods (V,); -inf forbids. None: nothing."""
        return None

    def kept(self, token: int, moment: Moment) -> float:
        """The share in [0, 1] of its likelihood that a token keeps, found by looking ahead."""
        return 1.0

    def may_end(self) -> bool:
        """Whether the text may end where it is."""
        return True

    def ended(self, token: int, moment: Moment) -> bool:
        """Whether the text ends before this token, which the model drew freely."""
        return False

    def accept(self, token: int) -> None:
        """The text goes on with this token."""


class Guides:
    """All guides of one text.

    Args:
        guides: those that something is asked of.
        eos_id: the end-of-document token, None where there is none.
    """

    def __init__(self, guides: Sequence[Guide], eos_id: int | None) -> None:
        self._guides, self._eos_id = guides, eos_id
        self.looks_ahead = any(guide.looks_ahead for guide in guides)
        self.ends_texts = any(guide.ends_texts for guide in guides)

    def __bool__(self) -> bool:
        return bool(self._guides)

    def weigh(self, moment: Moment) -> Array:
        """The log-likelihoods (V,) under all guides, relative to the likeliest.

        Raises:
            ChargenError: nothing is left that may follow.
        """
        relative = moment.relative
        for guide in self._guides:
            weights = guide.weigh(moment)
            if weights is not None:
                relative = relative + weights
        if self._eos_id is not None and not self.may_end():
            relative = relative.copy() if relative is moment.relative else relative
            relative[self._eos_id] = FORBIDDEN
        best = np.maximum.reduce(relative)
        if best == FORBIDDEN:
            raise ChargenError(
                "what is asked of the text contradicts itself: no character may follow; ask for "
                "less, or try another seed"
            )
        return np.asarray(relative - best, np.float32)

    def kept(self, token: int, moment: Moment) -> float:
        """The share of its likelihood that a token keeps."""
        share = 1.0
        for guide in self._guides:
            if guide.looks_ahead:
                share *= guide.kept(token, moment)
        return share

    def may_end(self) -> bool:
        """Whether all guides let the text end."""
        return all(guide.may_end() for guide in self._guides)

    def ended(self, token: int, moment: Moment) -> bool:
        """Whether the text ends before a token that the model drew freely."""
        return self.may_end() and any(guide.ended(token, moment) for guide in self._guides)

    def accept(self, token: int) -> None:
        """The text goes on with this token."""
        for guide in self._guides:
            guide.accept(token)


class AutomatonGuide(Guide):
    """Lets a text match a pattern as a whole.

    Where the text could end, it ends if the model drew a token that the pattern does not allow.

    Args:
        automaton: the pattern over tokens.
        eos_id: the end-of-document token.
        ends: whether the text ends with the pattern; else it goes on to its length.
        within_length: whether only that may be written which can be completed within the length.
    """

    def __init__(
        self,
        automaton: TokenAutomaton,
        eos_id: int | None,
        *,
        ends: bool,
        within_length: bool = True,
    ) -> None:
        self._automaton, self._eos_id = automaton, eos_id
        self._within_length = within_length
        self._reached = automaton.start
        self.ends_texts = ends
        self._weights: dict[int, tuple[npt.NDArray[np.bool_], Array]] = {}

    def weigh(self, moment: Moment) -> Array | None:
        """Forbids what the pattern does not allow."""
        allowed = self._allowed(moment)
        known = self._weights.get(id(allowed))
        if known is None:  # the mask is kept too, so that no other gets its id
            if len(self._weights) >= _MAX_KNOWN:
                self._weights.clear()
            weights = np.where(allowed, np.float32(0), FORBIDDEN)
            if self._eos_id is not None and not self.ends_texts:
                weights[self._eos_id] = 0.0 if self.may_end() else FORBIDDEN
            known = self._weights[id(allowed)] = allowed, weights
        return known[1]

    def may_end(self) -> bool:
        """Whether the text matches as it is."""
        return self._automaton.is_complete(self._reached)

    def ended(self, token: int, moment: Moment) -> bool:
        """Whether the pattern does not allow the token."""
        return self.ends_texts and not self._allowed(moment)[token]

    def _allowed(self, moment: Moment) -> npt.NDArray[np.bool_]:
        remaining = moment.remaining if self._within_length else math.inf
        return self._automaton.allowed(self._reached, remaining)

    def accept(self, token: int) -> None:
        """Follows the pattern."""
        if token != self._eos_id:
            self._reached = self._automaton.after(self._reached, token)
