"""What of a text stands word for word in another: an index of the training text, and a watch.

The index hashes every 16th block of 16 symbols (Rabin and Karp, 1987, on a grid, as rsync does):
one byte a symbol, and every copy of 31 symbols or more covers a whole block. What a
hash finds is compared symbol by symbol, so nothing is called a copy that is none.

A symbol is a character, or a byte for byte models. Shape letters: N symbols, K places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError
from chargen.files import atomic_writer
from chargen.text.tokenizer import StreamDecoder, Tokenizer, Tokens

BLOCK = 16
SHORTEST = 2 * BLOCK - 1
"""From this many symbols on, every copy is found."""
_POWERS = np.multiply.accumulate(np.full(BLOCK, 0x9E3779B97F4A7C15, np.uint64))
_MOST = 1 << 12
"""Places that are followed at once: white space can stand in many more."""
_AT_ONCE = 1 << 22
_REMEMBERED = 4096

Symbols = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class CopyIndex:
    """The training text as symbols, and the hashes of its blocks, sorted."""

    symbols: Symbols
    """(N,), memory-mapped where it lies on disk."""
    hashes: npt.NDArray[np.uint64]
    """(N / 16,), in order."""
    blocks: npt.NDArray[np.uint64]
    """(N / 16,): the block of each hash."""
    spell: Callable[[Symbols], str]
    """Symbols to text."""
    divide: Callable[[Sequence[int]], list[Symbols]]
    """Tokens to the symbols of each."""
    newline: int
    """The symbol that ends a line; -1 where there is none."""


def build_index(tokens: Tokens, tokenizer: Tokenizer, folder: Path | None = None) -> CopyIndex:
    """Index a training text, or open the index made before.

    Args:
        tokens: the text (N,), as it was trained on.
        tokenizer: what its ids mean.
        folder: where the index is kept; None keeps it in memory.
    """
    subword = tokenizer.kind == "subword"
    symbols = tokens
    if subword:
        symbols = _kept(folder, "symbols", lambda: _characters(tokens, tokenizer))
    whole = len(symbols) // BLOCK
    table = _kept(folder, "blocks", lambda: _hashed(symbols))
    if table.shape != (2, whole):  # half a file, or of another text
        table = _hashed(symbols)
    return CopyIndex(
        symbols=symbols,
        hashes=table[0],
        blocks=table[1],
        spell=_spell if subword else tokenizer.decode,
        divide=_subword_divider(tokenizer) if subword else _each,
        newline=10 if subword else _newline(tokenizer),
    )


def _hashed(symbols: Symbols) -> npt.NDArray[np.uint64]:
    """The hashes of all blocks in order, and the block of each: (2, N / 16)."""
    whole = len(symbols) // BLOCK
    hashes = np.empty(whole, np.uint64)
    for start in range(0, whole, _AT_ONCE // BLOCK):
        stop = min(whole, start + _AT_ONCE // BLOCK)
        part = np.asarray(symbols[start * BLOCK : stop * BLOCK]).reshape(-1, BLOCK)
        hashes[start:stop] = _hash(part)
    order = np.argsort(hashes, kind="stable")
    return np.stack([hashes[order], order.astype(np.uint64)])


def _hash(blocks: Symbols) -> npt.NDArray[np.uint64]:
    """One number for each block (K, BLOCK)."""
    return np.asarray(blocks.astype(np.uint64) @ _POWERS, np.uint64)


def _characters(tokens: Tokens, tokenizer: Tokenizer) -> Symbols:
    """The code points of a text of subwords."""
    pieces = [tokenizer.token_bytes(one) for one in range(tokenizer.vocab_size)]
    parts = [np.empty(0, np.uint32)]
    left = b""
    for start in range(0, len(tokens), _AT_ONCE):
        data = left + b"".join(pieces[one] for one in tokens[start : start + _AT_ONCE])
        # A chunk may end within a character; no character is longer than four bytes.
        cut = len(data)
        while cut > 0 and len(data) - cut < 4 and data[cut - 1] & 0xC0 == 0x80:
            cut -= 1
        cut = cut - 1 if cut and data[cut - 1] >= 0xC0 else len(data)
        left = data[cut:]
        parts.append(_read(data[:cut].decode("utf-8", "replace")))
    return np.concatenate([*parts, _read(left.decode("utf-8", "replace"))])


def _read(text: str) -> Symbols:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _spell(symbols: Symbols) -> str:
    return np.asarray(symbols, np.uint32).tobytes().decode("utf-32-le", "replace")


def _each(tokens: Sequence[int]) -> list[Symbols]:
    """Tokens that are symbols themselves."""
    return list(np.array(tokens, np.int64)[:, None])


def _subword_divider(tokenizer: Tokenizer) -> Callable[[Sequence[int]], list[Symbols]]:
    decoder = StreamDecoder()  # one reader at a time: a character may span two calls
    return lambda tokens: [_read(decoder.feed(tokenizer.token_bytes(one))) for one in tokens]


def _newline(tokenizer: Tokenizer) -> int:
    return -1 if tokenizer.unseen("\n") else int(tokenizer.encode("\n")[0])


def _kept(folder: Path | None, name: str, make: Callable[[], Symbols]) -> Symbols:
    """An array from the cache; made, and left there, if it is not."""
    path = None if folder is None else folder / f"{name}.npy"
    if path is not None:
        with suppress(OSError, ValueError, EOFError):
            known: Symbols = np.load(path, mmap_mode="r", allow_pickle=False)
            return known
    made = make()
    if path is not None:
        with suppress(ChargenError), atomic_writer(path) as handle:  # a full disk: made again later
            np.save(handle, made, allow_pickle=False)
    return made


class CopyWatch:
    """Reads tokens one by one and knows how much of their end stands in the training text."""

    def __init__(self, index: CopyIndex) -> None:
        self.index = index
        self.longest = 0
        """Symbols of the longest copy so far."""
        self.place = 0
        """Where in the training text the longest copy ends."""
        self.restart(())

    def restart(self, tokens: Sequence[int]) -> list[int]:
        """Forget all but the longest copy, and read tokens; as `feed`."""
        self._past: Symbols = np.zeros(0, np.int64)
        self._ends: Symbols = np.zeros(0, np.int64)  # places right after what was copied, (K,)
        self._lengths: Symbols = np.zeros(0, np.int64)
        self._counts: deque[int] = deque(maxlen=_REMEMBERED)  # symbols of the last tokens
        return self.feed(tokens)

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """For each token, how many tokens up to it and with it are a copy (0: too few symbols)."""
        if not len(tokens):
            return []
        divided = self.index.divide(tokens)
        lengths = self._read(np.concatenate(divided).astype(np.int64))
        found, last = [], 0
        for one in divided:
            last += len(one)
            self._counts.append(len(one))
            length, covered = lengths[last - 1] if last else 0, 0
            while length > 0 and covered < len(self._counts):
                covered += 1
                length -= self._counts[-covered]
            found.append(covered)
        return found

    def _read(self, new: Symbols) -> list[int]:
        """For each new symbol, how many at the end of all so far are a copy (0: too few)."""
        if not len(new):
            return []
        before = self._past[-(2 * BLOCK - 2) :]
        joined = np.concatenate([before, new])
        first = len(before)
        hits = self._hits(joined, first)
        lengths = [0] * len(new)
        offset = 0
        while offset < len(new):
            if not len(self._ends):  # nothing is followed: on to the next hit
                offset = min((one for one in hits if one >= offset), default=len(new))
                if offset == len(new):
                    break
            self._follow(int(new[offset]))
            if offset in hits:
                self._begin(joined[: first + offset + 1], hits[offset])
            best = int(self._lengths.max()) if len(self._lengths) else 0
            if best >= SHORTEST:
                lengths[offset] = best
                if best > self.longest:
                    self.longest = best
                    self.place = int(self._ends[int(self._lengths.argmax())])
            offset += 1
        self._past = joined[-(2 * BLOCK - 2) :]
        return lengths

    def _hits(self, joined: Symbols, first: int) -> dict[int, tuple[int, int]]:
        """Where the last 16 symbols hash like blocks: new symbol's number to a range of them."""
        windows = (
            np.lib.stride_tricks.sliding_window_view(joined, BLOCK)
            if (len(joined) >= BLOCK)
            else np.empty((0, BLOCK), np.int64)
        )
        windows = windows[max(0, first - BLOCK + 1) :]
        if not len(windows):
            return {}
        wanted = _hash(windows)
        low = self.index.hashes.searchsorted(wanted)
        high = self.index.hashes.searchsorted(wanted, "right")
        offset = max(0, BLOCK - 1 - first)
        places = np.flatnonzero(high > low)
        return {int(one) + offset: (int(low[one]), int(high[one])) for one in places}

    def _follow(self, symbol: int) -> None:
        """Keep the places that go on with this symbol."""
        if len(self._ends):
            symbols = self.index.symbols
            inside = self._ends < len(symbols)
            same = inside & (symbols[np.minimum(self._ends, len(symbols) - 1)] == symbol)
            self._ends, self._lengths = self._ends[same] + 1, self._lengths[same] + 1

    def _begin(self, text: Symbols, found: tuple[int, int]) -> None:
        """Follow new places, whose block ends where the text does."""
        low, high = found
        if len(self._ends) >= _MOST:
            return
        symbols = self.index.symbols
        starts = self.index.blocks[low : min(high, low + _MOST)].astype(np.int64) * BLOCK
        starts = starts[~np.isin(starts + BLOCK, self._ends)]
        reach = min(len(text), 2 * BLOCK - 1)
        back = np.arange(1, reach + 1)
        where = starts[:, None] + BLOCK - back[None]
        same = (symbols[np.maximum(where, 0)] == text[-back]) & (where >= 0)
        lengths = np.cumprod(same, axis=1).sum(1)
        true = lengths >= BLOCK
        self._ends = np.concatenate([self._ends, starts[true] + BLOCK])
        self._lengths = np.concatenate([self._lengths, lengths[true]])


def lines_before(symbols: Symbols, place: int, newline: int) -> int:
    """How many lines end before a place."""
    parts: Iterator[int] = (
        int(np.count_nonzero(symbols[start : min(place, start + _AT_ONCE)] == newline))
        for start in range(0, place, _AT_ONCE)
    )
    return sum(parts)
