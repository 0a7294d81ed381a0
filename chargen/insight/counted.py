"""What the counts beside a network say of one prediction, and where they have it from.

The counts' likelihood of a token is a sum over the lengths of contexts (count_memory.py): each adds
what its own counts say, less a discount, times what all longer contexts left over. So it can be
told exactly how much came from which length. Shape letters: T tokens, K the longest context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.inference.count_memory import CountMemory
from chargen.inference.count_steps import CountSteps
from chargen.inference.engine import Array
from chargen.inference.memory_file import Memory
from chargen.insight.views import Grid
from chargen.text.tokenizer import Tokens

_MAX_LISTED_PLACES = 2


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What network and counts say of one token."""

    network: float
    """The network's probability of it."""
    counts: float
    together: float
    length: int
    """Tokens of the context that gave the largest part of the counts' probability."""
    share: float
    """That part, as a share of the counts' probability."""


@dataclass(frozen=True, kw_only=True)
class Occurrences:
    """Where a context stands in the training text."""

    count: int
    followed: int
    """How often the token in question came next."""
    positions: tuple[int, ...]
    """The first of those, or else the first of all: where the context begins."""


def counted(memory: Memory, context: Sequence[int], token: int, network: Array) -> Counted:
    """How network and counts predict a token after a context.

    Args:
        memory: the counts beside the network.
        context: the tokens before it, at least the last K.
        token: the token.
        network: the network's log-likelihoods (V,).
    """
    steps = CountSteps(memory.counts, grows=False)
    steps.read(context[-memory.counts.longest :])
    mixed = memory.gate(grows=False).mix(network[None], steps.predict())[0]
    parts = steps.parts(token)
    whole = sum(parts)
    length = max(range(len(parts)), key=parts.__getitem__)
    return Counted(
        network=float(np.exp(network[token])),
        counts=whole,
        together=float(np.exp(mixed[token])),
        length=length,
        share=parts[length] / whole,
    )


def deciding_lengths(
    counts: CountMemory, ids: Sequence[int], before: Sequence[int] = ()
) -> npt.NDArray[np.int64]:
    """For each token (T,): the length of the context that gave the largest part of its probability.

    Args:
        counts: of the training text.
        ids: the tokens.
        before: what stands before them.
    """
    steps = CountSteps(counts, grows=False)
    steps.read(before)
    lengths = []
    for token in ids:
        parts = steps.parts(token)
        lengths.append(max(range(len(parts)), key=parts.__getitem__))
        steps.read([token])
    return np.array(lengths, np.int64)


def memory_view(lengths: npt.NDArray[np.int64], labels: tuple[str, ...], longest: int) -> Grid:
    """A text coloured by the lengths of the contexts that decided (T,)."""
    mean = float(lengths.mean()) if len(lengths) else 0.0
    return Grid(
        values=lengths[None].astype(np.float32),
        row_labels=("memory",),
        column_labels=labels,
        low=0.0,
        high=float(max(1, longest)),
        kind="sequential",
        title=f"counts: contexts of {mean:.1f} tokens decide on average",
        measure="tokens",
        layout="text",
        notes=(
            "Bright: the counts of a long context say what follows. Such a place stands in the "
            "training text.",
        ),
    )


def occurrences(text: Tokens, context: Sequence[int], token: int) -> Occurrences:
    """Where a context stands in a text (T,), and how often a token follows it there."""
    size, last = len(context), len(text) - len(context)
    if not size or last < 1:
        return Occurrences(count=0, followed=0, positions=())
    places = np.flatnonzero(np.asarray(text[:last]) == context[0])
    for offset in range(1, size):
        places = places[text[places + offset] == context[offset]]
    follows = text[places + size] == token
    shown = places[follows] if follows.any() else places
    return Occurrences(
        count=len(places),
        followed=int(follows.sum()),
        positions=tuple(shown[:_MAX_LISTED_PLACES].tolist()),
    )
