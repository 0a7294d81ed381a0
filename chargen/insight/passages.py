"""Passages of the training text after which a model was in nearly the same state.

Places spread over the text are read, each after a short run-up; the nearest to a state are those
with the largest cosine (Salton and McGill, 1983). Shape letters: N places, U units of all layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chargen.sampling.lanes import Progress, unwatched
from chargen.sampling.stepper import Array, Stepper
from chargen.text.tokenizer import Tokenizer, Tokens

PLACES = 50_000
_LANES = 1024
_COUNTED_AT_ONCE = 1 << 20
_RUN_UP = 64
"""Tokens read before a lane's places: nearly all that such a model remembers."""


@dataclass(frozen=True, kw_only=True)
class Passages:
    """States after places of a text."""

    places: npt.NDArray[np.int64] = field(repr=False)
    """(N,): the token after which each state is."""
    states: npt.NDArray[np.float16] = field(repr=False)
    """(N, U), each of length one."""

    def nearest(self, state: Array, count: int, *, apart: int = 40) -> list[tuple[int, float]]:
        """Places whose states are nearest, and their cosines; none within `apart` of another.

        Args:
            state: (L, S, H).
            count: how many, at most.
            apart: tokens between two places.
        """
        own = _direction(_outputs(state[:, :, None]))[0]
        cosines = np.zeros(len(self.places), np.float32)
        for first in range(0, len(cosines), 4096):
            cosines[first : first + 4096] = (
                self.states[first : first + 4096].astype(np.float32) @ own
            )
        found: list[tuple[int, float]] = []
        for one in np.argsort(-cosines, kind="stable"):
            place = int(self.places[one])
            if all(abs(place - other) >= apart for other, _ in found):
                found.append((place, float(cosines[one])))
            if len(found) == count:
                break
        return found


def build_passages(
    stepper: Stepper, ids: Tokens, *, count: int = PLACES, progress: Progress = unwatched
) -> Passages:
    """Read places spread over a text (T,); their states take 2 bytes a unit.

    Args:
        stepper: the model.
        ids: the text.
        count: how many places, about.
        progress: is told how far it is.
    """
    lanes = max(1, min(_LANES, len(ids) // (2 * _RUN_UP)))
    each = max(1, min(count // lanes, len(ids) // lanes))
    firsts = np.arange(lanes) * len(ids) // lanes
    many = stepper.batched(lanes)
    state = many.zero_state()
    places, states = [], []
    for offset in range(-_RUN_UP, each):
        at = firsts + offset
        many.step(np.asarray(ids[np.clip(at, 0, len(ids) - 1)], np.int64), state, state)
        state[:, :, at < 0] = 0
        if offset >= 0:
            places.append(at.astype(np.int64))
            states.append(_direction(_outputs(state)).astype(np.float16))
        progress((offset + _RUN_UP) / (each + _RUN_UP))
    return Passages(places=np.concatenate(places), states=np.concatenate(states))


def _outputs(state: Array) -> Array:
    """Of (L, S, N, H), what each layer shows: (N, L H)."""
    return np.ascontiguousarray(np.moveaxis(state[:, 0], 1, 0)).reshape(state.shape[2], -1)


def _direction(vectors: Array) -> Array:
    size = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.nan_to_num(vectors) / np.where(size > 0, size, 1), np.float32)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A place of the training text, to be shown; its texts are not yet safe."""

    before: str
    after: str
    line: int
    """From 1."""
    cosine: float


def quote(
    ids: Tokens, tokenizer: Tokenizer, place: int, cosine: float, *, around: int = 30
) -> Passage:
    """What stands around a place.

    Args:
        ids: the text (T,).
        tokenizer: what its ids mean.
        place: a token; `before` ends with it.
        cosine: how near it is.
        around: tokens on each side.
    """
    ends = np.array(
        [tokenizer.token_bytes(one).count(b"\n") for one in range(tokenizer.vocab_size)], np.int64
    )
    lines = sum(
        int(ends[np.asarray(ids[start : min(place + 1, start + _COUNTED_AT_ONCE)])].sum())
        for start in range(0, place + 1, _COUNTED_AT_ONCE)
    )
    before = np.asarray(ids[max(0, place + 1 - around) : place + 1], np.int64)
    after = np.asarray(ids[place + 1 : place + 1 + around], np.int64)
    return Passage(
        before=tokenizer.decode(before), after=tokenizer.decode(after), line=1 + lines,
        cosine=cosine,
    )  # fmt: skip
