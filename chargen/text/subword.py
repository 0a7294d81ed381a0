"""The subword tokenizer: SentencePiece (Kudo and Richardson, 2018), trained in memory.

SentencePiece chooses the pieces. This file sets it up for generating text: no normalization, all
spaces stay, line ends and tabs are tokens, and characters without a piece become bytes. Therefore
`decode(encode(text)) == text` for every valid text. Shape letter: N tokens.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
import sentencepiece

from chargen.errors import ChargenError, CorpusError, ModelFileError, UsageError
from chargen.files import atomic_writer, cache_folder
from chargen.hints import any_of, option, ways
from chargen.text.tokenizer import Ids, TokenizerState, utf8

_SPACE = "▁"  # SentencePiece writes a space so; the character itself is encoded as its bytes
_OWN_SIGNS = {ord(_SPACE): "\n", 0x2585: "\n"}
"""What SentencePiece writes for a space, and for what it does not know."""
_MAX_SAMPLE_CHARACTERS = 20_000_000
"""Pieces are learned from a sample of this size: a larger one changes little and takes memory."""
_MEMORY_BYTES = {"unigram": (20, 35), "bpe": (7, 90)}
"""Bytes of memory that SentencePiece takes for each character of the sample, and in addition for
each character of its distinct words. Measured on English, which repeats its words, and on Chinese,
which has no spaces."""
_LINE_OVERHEAD_CHARACTERS = 50
"""The memory that a line takes besides its text, counted in characters of the sample."""
_MAX_LINE_CHARACTERS = 1_000
"""Longer lines are divided: SentencePiece ignores lines of more than 4,192 bytes."""
_DEFAULT_VOCAB_SIZE = 1_000
_MIN_VOCAB_SIZE, _MAX_VOCAB_SIZE = 320, 1_000_000
_LINES_PER_CALL = 4_096
"""Lines that SentencePiece encodes in one call."""
_MAX_TRAININGS = 4
"""If the corpus has too few pieces, SentencePiece is trained again with a smaller vocabulary."""


class SubwordTokenizer:
    """SentencePiece pieces with byte fallback; piece 0 is `<unk>` and never written."""

    kind: ClassVar[str] = "subword"
    reads_bytes: ClassVar[bool] = False

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._pieces = sentencepiece.SentencePieceProcessor()
        self._pieces.LoadFromSerializedProto(model)
        self.vocab_size = self._pieces.get_piece_size()
        eos = self._pieces.eos_id()
        self.eos_id = eos if eos >= 0 else None
        self._bytes = [self._bytes_of(token) for token in range(self.vocab_size)]
        self._space_bytes = [self._pieces.piece_to_id(f"<0x{b:02X}>") for b in utf8(_SPACE)]

    def _bytes_of(self, token_id: int) -> bytes:
        piece = self._pieces.id_to_piece(token_id)
        if self._pieces.is_byte(token_id):
            return bytes((int(piece[3:5], 16),))
        if self._pieces.is_unknown(token_id):
            return "\ufffd".encode()
        if self._pieces.is_control(token_id):
            return b""
        return utf8(piece.replace(_SPACE, " "))

    def encode(self, text: str | bytes, unknown: str = "nearest") -> Ids:
        """Ids (N,). No character is unknown: without a piece it becomes its UTF-8 bytes."""
        text = (text if isinstance(text, bytes) else utf8(text)).decode("utf-8", "replace")
        ids: list[int] = []
        for number, part in enumerate(text.split(_SPACE)):
            if number:
                ids += self._space_bytes
            # Line by line: the time of SentencePiece grows faster than the length of a string.
            lines = part.splitlines(keepends=True)
            for start in range(0, len(lines), _LINES_PER_CALL):
                for encoded in self._pieces.encode(lines[start : start + _LINES_PER_CALL]):
                    ids += encoded
        return np.asarray(ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, invalid bytes as U+FFFD."""
        return b"".join(self._bytes[token] for token in ids).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of the piece, one byte of a character, or b"" for the end-of-document token."""
        return self._bytes[token_id]

    def unseen(self, text: str) -> dict[str, str]:
        """Always empty: characters without a piece become bytes."""
        return {}

    def to_state(self) -> TokenizerState:
        """The SentencePiece model as the blob."""
        return TokenizerState(kind=self.kind, blob=self._model)

    @classmethod
    def from_state(cls, state: TokenizerState) -> SubwordTokenizer:
        """Rebuilds the tokenizer from the state in a model file.

        Raises:
            ModelFileError: the SentencePiece model is missing, damaged, or lacks byte pieces.
        """
        if not state.blob:
            raise ModelFileError("its subword tokenizer has no tensor tokenizer.model")
        try:
            tokenizer = cls(state.blob)
        except (RuntimeError, ValueError) as error:
            raise ModelFileError("its SentencePiece model is damaged") from error
        if not all(tokenizer._pieces.is_byte(token) for token in tokenizer._space_bytes):
            raise ModelFileError("its SentencePiece model has no byte fallback")
        return tokenizer


class SubwordBuilder:
    """Samples lines evenly from the corpus and trains SentencePiece on them.

    Args:
        vocab_size: the most pieces; a small corpus gives fewer.
        algorithm: `unigram` or `bpe`.

    Raises:
        UsageError: `vocab_size` is out of range.
    """

    def __init__(self, vocab_size: int | None = None, algorithm: str = "unigram") -> None:
        self.vocab_size = _DEFAULT_VOCAB_SIZE if vocab_size is None else vocab_size
        self.algorithm = algorithm
        self._is_size_given = vocab_size is not None
        if not _MIN_VOCAB_SIZE <= self.vocab_size <= _MAX_VOCAB_SIZE:
            raise UsageError(
                f"--vocab-size {self.vocab_size}: must be from {_MIN_VOCAB_SIZE} (256 byte pieces "
                f"and some letters come first) to {_MAX_VOCAB_SIZE:,}"
                f"{ways(*self._other_tokenizers('byte'))}"
            )
        self._lines: list[str] = []
        self._sample_size = 0
        self._interval = 1
        self._line_count = 0

    def feed(self, chunk: str | bytes) -> None:
        """Samples every n-th line; n doubles each time the sample is full."""
        assert isinstance(chunk, str)
        for line in _short_lines(chunk):
            if self._line_count % self._interval == 0:
                self._lines.append(line)
                self._sample_size += len(line) + _LINE_OVERHEAD_CHARACTERS
            self._line_count += 1
        while self._sample_size > _MAX_SAMPLE_CHARACTERS:
            self._lines = self._lines[::2]
            overhead = _LINE_OVERHEAD_CHARACTERS * len(self._lines)
            self._sample_size = sum(map(len, self._lines)) + overhead
            self._interval *= 2

    def finish(self, *, documents: bool) -> SubwordTokenizer:
        """Trains the pieces.

        Raises:
            CorpusError: the sample has fewer than two distinct characters, SentencePiece cannot
                make pieces of it, or there is too little memory.
        """
        if not _has_two_characters(self._lines):
            raise CorpusError(
                "the corpus has fewer than two distinct characters: there is nothing to predict; "
                "give a text with at least two"
            )
        vocab_size = self.vocab_size
        for _ in range(_MAX_TRAININGS):
            try:
                return SubwordTokenizer(self._train(vocab_size, documents))
            except RuntimeError as error:
                # A small corpus has fewer pieces than that; the message says how many.
                limit = re.search(r"value <= (\d+)", str(error))
                if limit is None or int(limit.group(1)) >= vocab_size:
                    reason = str(error).strip().splitlines()[-1]
                    raise CorpusError(
                        f"SentencePiece cannot make {vocab_size} pieces of this corpus ({reason})"
                        f"{ways(*self._other_tokenizers('char'))}"
                    ) from error
                vocab_size = int(limit.group(1))
        raise CorpusError(
            f"SentencePiece cannot make {self.vocab_size} pieces of this corpus"
            f"{ways(*self._other_tokenizers('char'))}"
        )

    def _other_tokenizers(self, *kinds: str) -> list[tuple[str, str | None]]:
        """The ways out by another tokenizer; char and byte refuse a size of the vocabulary."""
        size = any_of("--vocab-size") if self._is_size_given else None
        without = "" if size is None else f" without {size}"
        uses = [option("--tokenizer", kind) for kind in kinds]
        return [("use", use and f"{use}{without}") for use in uses]

    def _train(self, vocab_size: int, documents: bool) -> bytes:
        """The SentencePiece model of this sample, from the cache if it was trained before."""
        lines = self._without_rare_characters()
        settings = (sentencepiece.__version__, self.algorithm, vocab_size, documents)
        key = hashlib.sha256(repr(settings).encode())
        for line in lines:
            key.update(utf8(line) + b"\n")
        path = cache_folder() / "pieces" / f"{key.hexdigest()[:32]}.model"
        with suppress(OSError, ModelFileError):
            cached = path.read_bytes()
            SubwordTokenizer.from_state(TokenizerState(kind="subword", blob=cached))
            return cached
        self._check_memory(lines)
        model = self._learn(lines, vocab_size, documents)
        with suppress(ChargenError, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_writer(path) as out:
                out.write(model)
        return model

    def _check_memory(self, lines: list[str]) -> None:
        """Checks that there is enough memory.

        Without it, the system would kill the process after minutes of work.

        Raises:
            CorpusError: SentencePiece needs more memory than is free.
        """
        per_character, per_word_character = _MEMORY_BYTES[self.algorithm]
        words = {word for line in lines for word in line.split(" ")}
        needed = per_character * sum(map(len, lines)) + per_word_character * sum(map(len, words))
        free = _free_memory()
        if needed > free:
            raise CorpusError(
                f"learning subwords needs about {needed >> 20} MB of memory and {free >> 20} MB "
                f"are free{ways('free some', *self._other_tokenizers('char', 'byte'))}"
            )

    def _learn(self, lines: list[str], vocab_size: int, documents: bool) -> bytes:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=self.algorithm,
            vocab_size=vocab_size,
            hard_vocab_limit=self.algorithm == "bpe",
            character_coverage=1.0,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            allow_whitespace_only_pieces=True,
            user_defined_symbols=["\n", "\t"],
            unk_id=0,
            bos_id=-1,
            eos_id=1 if documents else -1,
            pad_id=-1,
            num_threads=2,  # a fixed number: the pieces do not depend on the machine
            minloglevel=2,
        )
        return model.getvalue()

    def _without_rare_characters(self) -> list[str]:
        """The sampled lines, divided at characters that are too rare for a piece.

        SentencePiece refuses a vocabulary that is smaller than the alphabet, such as Chinese text
        with a thousand pieces. Single characters may take half of the pieces. The tokenizer
        encodes the other characters as bytes.
        """
        counts = Counter[str]()
        for line in self._lines:
            counts.update(line)
        room = max(1, (self.vocab_size - 256 - 8) // 2)
        if len(counts) <= room:
            return self._lines
        rare = {ord(character): "\n" for character, _ in counts.most_common()[room:]}
        return [part for line in self._lines for part in line.translate(rare).split("\n") if part]


def _has_two_characters(lines: Iterable[str]) -> bool:
    """Whether a text has more than one distinct character."""
    first = None
    for line in lines:
        first = first or line[:1]
        if line.strip(first):
            return True
    return False


def _free_memory() -> int:
    """Bytes of memory that this process may still take."""
    import psutil

    free: int = psutil.virtual_memory().available
    with suppress(OSError, ValueError):  # psutil does not know the limit of a control group
        free = min(free, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return free


def _short_lines(chunk: str) -> Iterator[str]:
    """The lines of a chunk that are not empty, divided if they are too long.

    They are also divided at SentencePiece's own signs: it would leave out lines with the one, and
    take the other for a space. Both are encoded as their bytes.
    """
    for line in chunk.translate(_OWN_SIGNS).split("\n"):
        for start in range(0, len(line), _MAX_LINE_CHARACTERS):
            yield line[start : start + _MAX_LINE_CHARACTERS]
