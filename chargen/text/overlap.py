"""Finds passages of a text that are copied word for word from the training text.

The index of the training text hashes its blocks of 16 symbols (Rabin and Karp, 1987, on a grid, as
in rsync). It takes about one byte per symbol. Every copy of 31 symbols or more covers a whole
block, so all of these are found. Each hit is compared symbol by symbol, so there are no false hits.

A symbol is a character, or a byte for byte models. Shape letters: N symbols, K positions.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError
from chargen.files import atomic_writer, is_unsupported
from chargen.text.char import code_points
from chargen.text.tokenizer import StreamDecoder, Tokenizer, Tokens, newline_id

BLOCK = 16
MIN_COPY_SYMBOLS = 2 * BLOCK - 1
"""Symbols of the shortest copies that are reported: every copy of this length is found."""
_HASH_WEIGHTS = np.multiply.accumulate(np.full(BLOCK, 0x9E3779B97F4A7C15, np.uint64))
_MAX_FOLLOWED_POSITIONS = 1 << 12
"""Positions that are followed at once: white space can occur at many more."""
_CHUNK_SYMBOLS = 1 << 22
"""Symbols or tokens that are worked on at once."""
_MAX_REMEMBERED_TOKENS = 4096

Symbols = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class CopyIndex:
    """The training text as symbols, and the hashes of its blocks, sorted."""

    symbols: Symbols
    """(N,), memory-mapped if it lies on disk."""
    hashes: npt.NDArray[np.uint64]
    """(N / 16,): the hashes, sorted."""
    blocks: npt.NDArray[np.uint64]
    """(N / 16,): the number of the block of each hash."""
    spell: Callable[[Symbols], str]
    """Symbols to text."""
    divide: Callable[[Sequence[int]], list[Symbols]]
    """Tokens to the symbols of each."""
    newline: int
    """The symbol that ends a line; -1 if the tokenizer has none."""


def build_index(tokens: Tokens, tokenizer: Tokenizer, folder: Path | None = None) -> CopyIndex:
    """Indexes a training text, or opens the index that was made before.

    Args:
        tokens: (N,) the ids of the training text.
        tokenizer: the tokenizer of the ids.
        folder: where the index is cached; None keeps it in memory.
    """
    # Other tokens divide a text in more than one way, so their text is compared, not their ids.
    subword = tokenizer.kind not in ("char", "byte")
    newline = ord("\n") if subword else newline_id(tokenizer)
    symbols = tokens
    # The training part of one store differs with the split: another part, another index.
    part = f"{len(tokens)}-{_checksum(tokens):08x}"
    if subword:
        symbols = _cached(folder, f"symbols-{part}", lambda: _decode_symbols(tokens, tokenizer))
    table = _cached(folder, f"blocks-{part}", lambda: _hash_table(symbols))
    if table.shape != (2, len(symbols) // BLOCK):  # damaged, or of another text
        table = _hash_table(symbols)
    return CopyIndex(
        symbols=symbols,
        hashes=table[0],
        blocks=table[1],
        spell=_spell if subword else tokenizer.decode,
        divide=_subword_divider(tokenizer) if subword else _divide_tokens,
        newline=-1 if newline is None else newline,
    )


def _checksum(tokens: Tokens) -> int:
    """CRC-32 of the ids."""
    crc32 = 0
    for start in range(0, len(tokens), _CHUNK_SYMBOLS):
        part = np.ascontiguousarray(tokens[start : start + _CHUNK_SYMBOLS])
        crc32 = zlib.crc32(part.data, crc32)
    return crc32


def _hash_table(symbols: Symbols) -> npt.NDArray[np.uint64]:
    """The sorted hashes of all blocks, and the block of each: (2, N / 16)."""
    block_count = len(symbols) // BLOCK
    hashes = np.empty(block_count, np.uint64)
    for start in range(0, block_count, _CHUNK_SYMBOLS // BLOCK):
        stop = min(block_count, start + _CHUNK_SYMBOLS // BLOCK)
        blocks = np.asarray(symbols[start * BLOCK : stop * BLOCK]).reshape(-1, BLOCK)
        hashes[start:stop] = _hash(blocks)
    order = np.argsort(hashes, kind="stable")
    return np.stack([hashes[order], order.astype(np.uint64)])


def _hash(blocks: Symbols) -> npt.NDArray[np.uint64]:
    """The hash (K,) of each block (K, BLOCK)."""
    return np.asarray(blocks.astype(np.uint64) @ _HASH_WEIGHTS, np.uint64)


def _decode_symbols(tokens: Tokens, tokenizer: Tokenizer) -> Symbols:
    """The code points of a text of subword tokens."""
    token_bytes = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
    parts = [np.empty(0, np.uint32)]
    rest = b""
    for start in range(0, len(tokens), _CHUNK_SYMBOLS):
        chunk = tokens[start : start + _CHUNK_SYMBOLS]
        data = rest + b"".join(token_bytes[token] for token in chunk)
        # A chunk may end inside a character, which has at most four bytes.
        cut = len(data)
        while cut > 0 and len(data) - cut < 4 and data[cut - 1] & 0xC0 == 0x80:
            cut -= 1
        cut = cut - 1 if cut and data[cut - 1] >= 0xC0 else len(data)
        rest = data[cut:]
        parts.append(code_points(data[:cut].decode("utf-8", "replace")))
    return np.concatenate([*parts, code_points(rest.decode("utf-8", "replace"))])


def _spell(symbols: Symbols) -> str:
    return np.asarray(symbols, np.uint32).tobytes().decode("utf-32-le", "replace")


def _divide_tokens(tokens: Sequence[int]) -> list[Symbols]:
    """The symbol of each token: the token itself."""
    return list(np.array(tokens, np.int64)[:, None])


def _subword_divider(tokenizer: Tokenizer) -> Callable[[Sequence[int]], list[Symbols]]:
    # A character may span two calls, so one index serves one text at a time.
    decoder = StreamDecoder()
    return lambda tokens: [
        code_points(decoder.feed(tokenizer.token_bytes(token))) for token in tokens
    ]


def _cached(folder: Path | None, name: str, make: Callable[[], Symbols]) -> Symbols:
    """An array from the cache; if it is not there, it is made and written to the cache."""
    path = None if folder is None else folder / f"{name}.npy"
    if path is not None:
        with suppress(OSError, ValueError, EOFError):
            try:
                cached: Symbols = np.load(path, mmap_mode="r", allow_pickle=False)
            except OSError as error:
                if not is_unsupported(error):
                    raise
                cached = np.load(path, allow_pickle=False)
            return cached
    array = make()
    if path is not None:
        # A full disk is no error: the array is made again the next time.
        with suppress(ChargenError), atomic_writer(path) as handle:
            np.save(handle, array, allow_pickle=False)
    return array


class CopyWatch:
    """Reads a text token by token and finds how much of its end is a copy of the training text.

    At each symbol it follows the positions of the training text where the copies so far end.
    """

    def __init__(self, index: CopyIndex) -> None:
        self.index = index
        self.longest = 0
        """Symbols of the longest copy so far."""
        self.position = 0
        """The position in the training text right after the longest copy."""
        self.restart(())

    def restart(self, tokens: Sequence[int]) -> list[int]:
        """Starts a new text, keeps the longest copy, and reads tokens as `feed` does."""
        self._past: Symbols = np.zeros(0, np.int64)
        # (K,): the positions right after each copy that goes on, and its length in symbols.
        self._ends: Symbols = np.zeros(0, np.int64)
        self._lengths: Symbols = np.zeros(0, np.int64)
        # The symbols of each of the last tokens.
        self._counts: deque[int] = deque(maxlen=_MAX_REMEMBERED_TOKENS)
        return self.feed(tokens)

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Reads tokens.

        Returns:
            For each token, how many of the tokens that end with it are a copy; 0 if these have
            fewer than `MIN_COPY_SYMBOLS` symbols.
        """
        if not len(tokens):
            return []
        symbols_of_tokens = self.index.divide(tokens)
        lengths = self._read_symbols(np.concatenate(symbols_of_tokens).astype(np.int64))
        copied_tokens, end = [], 0
        for symbols in symbols_of_tokens:
            end += len(symbols)
            self._counts.append(len(symbols))
            length, covered = lengths[end - 1] if end else 0, 0
            while length > 0 and covered < len(self._counts):
                covered += 1
                length -= self._counts[-covered]
            copied_tokens.append(covered)
        return copied_tokens

    def length_with(self, token: int) -> int:
        """How many symbols at the end would be a copy if this token came next; reads nothing.

        Args:
            token: of whole characters.
        """
        state = self._past, self._ends, self._lengths, self.longest, self.position
        symbols = np.concatenate(self.index.divide([token])).astype(np.int64)
        length = max(self._read_symbols(symbols), default=0)
        self._past, self._ends, self._lengths, self.longest, self.position = state
        return length

    def _read_symbols(self, new: Symbols) -> list[int]:
        """For each new symbol, how many of the symbols that end with it are a copy (0: too few)."""
        if not len(new):
            return []
        before = self._past[-(2 * BLOCK - 2) :]
        joined = np.concatenate([before, new])
        first = len(before)
        hits = self._find_hits(joined, first)
        lengths = [0] * len(new)
        offset = 0
        while offset < len(new):
            if not len(self._ends):  # nothing is followed: continue at the next hit
                offset = min((hit for hit in hits if hit >= offset), default=len(new))
                if offset == len(new):
                    break
            self._follow(int(new[offset]))
            if offset in hits:
                self._begin(joined[: first + offset + 1], hits[offset])
            best = int(self._lengths.max()) if len(self._lengths) else 0
            if best >= MIN_COPY_SYMBOLS:
                lengths[offset] = best
                if best > self.longest:
                    self.longest = best
                    self.position = int(self._ends[int(self._lengths.argmax())])
            offset += 1
        self._past = joined[-(2 * BLOCK - 2) :]
        return lengths

    def _find_hits(self, joined: Symbols, first: int) -> dict[int, tuple[int, int]]:
        """Finds the new symbols at which the last 16 symbols have the hash of a block.

        Returns:
            The number of each of these symbols (0 is `joined[first]`), with the first and the last
            + 1 of the equal hashes in the index.
        """
        windows = (
            np.lib.stride_tricks.sliding_window_view(joined, BLOCK)
            if (len(joined) >= BLOCK)
            else np.empty((0, BLOCK), np.int64)
        )
        windows = windows[max(0, first - BLOCK + 1) :]
        if not len(windows):
            return {}
        hashes = _hash(windows)
        low = self.index.hashes.searchsorted(hashes)
        high = self.index.hashes.searchsorted(hashes, "right")
        offset = max(0, BLOCK - 1 - first)
        hits = np.flatnonzero(high > low)
        return {int(hit) + offset: (int(low[hit]), int(high[hit])) for hit in hits}

    def _follow(self, symbol: int) -> None:
        """Keeps the positions at which this symbol comes next."""
        if len(self._ends):
            symbols = self.index.symbols
            inside = self._ends < len(symbols)
            same = inside & (symbols[np.minimum(self._ends, len(symbols) - 1)] == symbol)
            self._ends, self._lengths = self._ends[same] + 1, self._lengths[same] + 1

    def _begin(self, text: Symbols, hit: tuple[int, int]) -> None:
        """Follows new positions: the ends of the blocks of a hit that equal the end of the text."""
        low, high = hit
        if len(self._ends) >= _MAX_FOLLOWED_POSITIONS:
            return
        symbols = self.index.symbols
        high = min(high, low + _MAX_FOLLOWED_POSITIONS)
        starts = self.index.blocks[low:high].astype(np.int64) * BLOCK
        starts = starts[~np.isin(starts + BLOCK, self._ends)]
        # A copy that began before these symbols would have been found at an earlier block.
        back = np.arange(1, min(len(text), 2 * BLOCK - 1) + 1)
        positions = starts[:, None] + BLOCK - back[None]
        same = (symbols[np.maximum(positions, 0)] == text[-back]) & (positions >= 0)
        lengths = np.cumprod(same, axis=1).sum(1)
        is_copy = lengths >= BLOCK
        self._ends = np.concatenate([self._ends, starts[is_copy] + BLOCK])
        self._lengths = np.concatenate([self._lengths, lengths[is_copy]])


def lines_before(symbols: Symbols, position: int, newline: int) -> int:
    """How many lines end before a position.

    Args:
        symbols: (N,) the text.
        position: the position.
        newline: the symbol that ends a line.
    """
    counts: Iterator[int] = (
        int(np.count_nonzero(symbols[start : min(position, start + _CHUNK_SYMBOLS)] == newline))
        for start in range(0, position, _CHUNK_SYMBOLS)
    )
    return sum(counts)
