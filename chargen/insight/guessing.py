"""Shannon's guessing game: how many guesses a next character takes, and what that says.

Who predicts well needs few guesses. From how often 1, 2, 3, ... guesses were needed follow a lower
and an upper bound of the entropy of the text, in bits a character (Shannon, 1951, "Prediction and
Entropy of Printed English"). A model gives probabilities, so its bits are known exactly too.

A model of subwords or words predicts tokens. Where one begins, the probability of a character is
that of all tokens that begin with it; other characters are not guessed.

Shape letters: T tokens, V vocabulary, C distinct characters, N guesses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.inference.engine import Stepper, check_finite
from chargen.inference.generate import beginning
from chargen.inference.writer import forbid_unknown
from chargen.insight.views import token_labels
from chargen.text.tokenizer import Tokenizer

CONTEXT_CHARACTERS = 2000
"""Characters before the first guess that the model reads."""
_CHARACTERS_PER_GUESS = 16
"""Characters of the text that are looked through for each guess: long tokens hold that many."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of the entropy, in bits a character."""

    lower: float
    upper: float


def entropy_bounds(guesses: Sequence[int]) -> Bounds:
    """Shannon's bounds (1951, equation 17) from how many guesses each character took.

    With q(i) the share of characters that took i guesses, the upper bound is the entropy of q, and
    the lower one the sum of i (q(i) - q(i+1)) log2 i. They hold for long texts and a guesser who
    tries likely characters first; after a few characters they are rough, and may be out of order.

    Args:
        guesses: N numbers from 1.

    Raises:
        ValueError: there are none.
    """
    if not len(guesses):
        raise ValueError("no guesses")
    shares = np.bincount(guesses)[1:] / len(guesses)
    numbers = np.arange(1, len(shares) + 1)
    following = np.append(shares[1:], 0)
    lower = (numbers * (shares - following) * np.log2(numbers)).sum()
    met = shares[shares > 0]
    return Bounds(lower=float(lower), upper=float(-(met * np.log2(met)).sum()) + 0.0)


@dataclass(frozen=True, kw_only=True)
class Position:
    """A character that is to be guessed."""

    at: int
    """Where it stands in `Passage.text`."""
    character: str
    model_guess: int
    """Which of the model's guesses it is, from 1."""
    model_bits: float
    """What it costs the model: -log2 of its probability."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A piece of text, and its characters that are to be guessed."""

    text: str
    positions: tuple[Position, ...]
    characters: frozenset[str]
    """Those that the model knows: all that may be guessed."""


def first_characters(tokenizer: Tokenizer) -> list[str | None]:
    """The character with which each token (V,) begins; None where it begins with no whole one."""
    heads = []
    for token in range(tokenizer.vocab_size):
        data = b"" if token == tokenizer.eos_id else tokenizer.token_bytes(token)
        length = next((n for n in range(1, 5) if _is_character(data[:n])), 0)
        heads.append(data[:length].decode() if length else None)
    return heads


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


def choose_passage(
    stepper: Stepper, tokenizer: Tokenizer, text: str, start: int, count: int
) -> Passage:
    """The next `count` characters of a text that can be guessed, with the model's guesses.

    Characters that the model never saw are shown and not guessed.

    Args:
        stepper: the model.
        tokenizer: its tokenizer.
        text: the text.
        start: the first character that may be guessed, from 0.
        count: how many; there are fewer where the text ends before.
    """
    first = max(0, start - CONTEXT_CHARACTERS)
    ids, shown, is_seen = _tokens(
        tokenizer, text[first : start + count * _CHARACTERS_PER_GUESS], start - first
    )
    heads = first_characters(tokenizer)
    characters = sorted({head for head in heads if head is not None})
    places = {character: place for place, character in enumerate(characters)}
    groups = np.array([places.get(head or "", -1) for head in heads])
    stepper, state, logits = stepper.fresh(), stepper.zero_state(), None
    for token in beginning(ids, tokenizer)[: -len(ids)].tolist():  # what stands before a text
        logits = stepper.step(token, state, state)
    positions: list[Position] = []
    at = 0
    for token, label, seen in zip(ids.tolist(), shown, is_seen, strict=True):
        head = heads[token]
        if logits is not None and at >= start - first and seen and head is not None:
            check_finite(logits)
            forbid_unknown(logits, tokenizer)
            shares = _shares(logits, groups, len(characters))
            share = shares[places[head]]
            positions.append(
                Position(
                    at=at,
                    character=head,
                    model_guess=1 + int((shares > share).sum()),
                    model_bits=float(-np.log2(max(share, 1e-300))) + 0.0,
                )
            )
        at += len(label)
        if len(positions) == count:
            break
        logits = stepper.step(token, state, state)
    return Passage(
        text="".join(shown), positions=tuple(positions), characters=frozenset(characters)
    )


def _shares(
    logits: npt.NDArray[np.float32], groups: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64]:
    """The probability of each character (C,), if one comes, from the logits of the tokens (V,)."""
    known = groups >= 0
    likelihoods = np.exp((logits[known] - logits[known].max()).astype(np.float64))
    sums = np.bincount(groups[known], likelihoods, minlength=count)
    return np.asarray(sums / sums.sum())


def _tokens(
    tokenizer: Tokenizer, text: str, start: int
) -> tuple[npt.NDArray[np.int64], list[str], list[bool]]:
    """The ids (T,) of a text, what each of them shows, and whether it stands for what is shown.

    No token reaches over `start`.
    """
    unseen = tokenizer.unseen(text)
    parts = [text[:start], text[start:]]
    if unseen:
        divider = re.compile(f"([{re.escape(''.join(unseen))}])")
        parts = [part for half in parts for part in divider.split(half)]
    ids: list[int] = []
    shown: list[str] = []
    is_seen: list[bool] = []
    for part in parts:
        new = tokenizer.encode(part).tolist() if part else []
        if not new:
            continue
        known = part not in unseen
        labels = token_labels(tokenizer, new) if known else (*[""] * (len(new) - 1), part)
        ids += new
        shown += labels
        is_seen += [known] * len(new)
    return np.array(ids, np.int64), shown, is_seen
