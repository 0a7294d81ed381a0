"""Subword tokens by SentencePiece, trained and kept in memory.

SentencePiece decides the pieces (Kudo and Richardson, 2018); this file settles what a writer
needs of it: no normalization, every space kept, line ends and tabs as tokens of their own, and
bytes for what has no piece, so that `decode(encode(text)) == text` for every valid text.
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
from chargen.text.tokenizer import Ids, TokenizerState, utf8

_SPACE = "▁"  # what SentencePiece writes for a space; the character itself goes by its bytes
_MAX_SAMPLE = 20_000_000
"""Characters that pieces are learned from: more change little, and take much memory."""
_MEMORY = {"unigram": (20, 35), "bpe": (7, 90)}
"""Bytes that SentencePiece takes for a character of the sample, and for one of its distinct words
besides: measured on English, which repeats its words, and on Chinese written without spaces."""
_PER_LINE = 50
"""What a line costs besides its characters."""
_MAX_LINE = 1_000  # characters; SentencePiece ignores lines of more than 4,192 bytes
_DEFAULT_VOCAB = 1_000
_FEWEST, _MOST = 320, 1_000_000
_ENCODE_LINES = 4_096


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
        self._bytes = [self._bytes_of(one) for one in range(self.vocab_size)]
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
        """Ids (N,); a character without a piece becomes its UTF-8 bytes, so none is unknown."""
        text = (text if isinstance(text, bytes) else utf8(text)).decode("utf-8", "replace")
        ids: list[int] = []
        for number, part in enumerate(text.split(_SPACE)):
            if number:
                ids += self._space_bytes
            # One call over many lines: its cost grows faster than the length of one string.
            lines = part.splitlines(keepends=True)
            for start in range(0, len(lines), _ENCODE_LINES):
                for encoded in self._pieces.encode(lines[start : start + _ENCODE_LINES]):
                    ids += encoded
        return np.asarray(ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, invalid bytes as U+FFFD."""
        return b"".join(self._bytes[one] for one in ids).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of the piece, one byte of a character, or nothing for the end of a document."""
        return self._bytes[token_id]

    def unseen(self, text: str) -> dict[str, str]:
        """Always empty: bytes stand for what has no piece."""
        return {}

    def to_state(self) -> TokenizerState:
        """The SentencePiece model as the blob."""
        return TokenizerState(kind=self.kind, blob=self._model)

    @classmethod
    def from_state(cls, state: TokenizerState) -> SubwordTokenizer:
        """Rebuild from a model file.

        Raises:
            ModelFileError: the SentencePiece model is missing, damaged, or lacks byte pieces.
        """
        if not state.blob:
            raise ModelFileError("its subword tokenizer has no tensor tokenizer.model")
        try:
            tokenizer = cls(state.blob)
        except (RuntimeError, ValueError) as error:
            raise ModelFileError("its SentencePiece model is damaged") from error
        if not all(tokenizer._pieces.is_byte(one) for one in tokenizer._space_bytes):
            raise ModelFileError("its SentencePiece model has no byte fallback")
        return tokenizer


class SubwordBuilder:
    """Samples lines evenly over the corpus and trains SentencePiece on them."""

    def __init__(self, vocab_size: int | None = None, algorithm: str = "unigram") -> None:
        self.vocab_size = _DEFAULT_VOCAB if vocab_size is None else vocab_size
        self.algorithm = algorithm
        if not _FEWEST <= self.vocab_size <= _MOST:
            raise UsageError(
                f"--vocab-size {self.vocab_size}: must be from {_FEWEST} (256 byte pieces and some "
                f"letters come first) to {_MOST:,}; or use --tokenizer byte"
            )
        self._lines: list[str] = []
        self._sampled = 0
        self._stride = 1
        self._count = 0

    def feed(self, chunk: str | bytes) -> None:
        """Keep every `stride`-th line; the stride doubles each time the sample is full."""
        assert isinstance(chunk, str)
        for line in _short_lines(chunk):
            if self._count % self._stride == 0:
                self._lines.append(line)
                self._sampled += len(line) + _PER_LINE
            self._count += 1
        while self._sampled > _MAX_SAMPLE:
            self._lines = self._lines[::2]
            self._sampled = sum(map(len, self._lines)) + _PER_LINE * len(self._lines)
            self._stride *= 2

    def finish(self, *, documents: bool) -> SubwordTokenizer:
        """Train the pieces.

        Raises:
            CorpusError: the sample is empty or SentencePiece can make nothing of it.
        """
        if len(set("".join(self._lines[:1000]))) < 2:
            raise CorpusError(
                "the corpus has fewer than two distinct characters: nothing to predict"
            )
        vocab_size = self.vocab_size
        for _ in range(4):
            try:
                return SubwordTokenizer(self._train(vocab_size, documents))
            except RuntimeError as error:
                # A small corpus has fewer pieces than asked for; the message says how many.
                limit = re.search(r"value <= (\d+)", str(error))
                if limit is None or int(limit.group(1)) >= vocab_size:
                    reason = str(error).strip().splitlines()[-1]
                    raise CorpusError(
                        f"SentencePiece cannot make {vocab_size} pieces of this corpus ({reason}); "
                        "choose a smaller --vocab-size or --tokenizer char"
                    ) from error
                vocab_size = int(limit.group(1))
        raise CorpusError(
            f"SentencePiece cannot make {self.vocab_size} pieces of this corpus; "
            "choose --tokenizer char"
        )

    def _train(self, vocab_size: int, documents: bool) -> bytes:
        """The pieces of this sample: from the cache where they were learned before."""
        lines = self._common()
        settings = (sentencepiece.__version__, self.algorithm, vocab_size, documents)
        key = hashlib.sha256(repr(settings).encode())
        for line in lines:
            key.update(utf8(line) + b"\n")
        path = cache_folder() / "pieces" / f"{key.hexdigest()[:32]}.model"
        with suppress(OSError, ModelFileError):
            known = path.read_bytes()
            SubwordTokenizer.from_state(TokenizerState(kind="subword", blob=known))
            return known
        self._check_memory(lines)
        made = self._learn(lines, vocab_size, documents)
        with suppress(ChargenError, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_writer(path) as out:
                out.write(made)
        return made

    def _check_memory(self, lines: list[str]) -> None:
        """Before minutes of work that the system would end by killing the process.

        Raises:
            CorpusError: there is not enough for SentencePiece.
        """
        a_character, a_new_one = _MEMORY[self.algorithm]
        words = {word for line in lines for word in line.split(" ")}
        needed = a_character * sum(map(len, lines)) + a_new_one * sum(map(len, words))
        free = _free_memory()
        if free is not None and needed > free:
            raise CorpusError(
                f"learning subwords needs about {needed >> 20} MB of memory and {free >> 20} MB "
                "are free; free some, or choose --tokenizer char or --tokenizer byte"
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

    def _common(self) -> list[str]:
        """The sampled lines without characters too rare for a piece of their own.

        Letters may take half of the free pieces; SentencePiece refuses a vocabulary smaller than
        the alphabet, as Chinese text at a thousand pieces would have. Lines are divided at what
        is left out, which is then written in bytes.
        """
        counts = Counter[str]()
        for line in self._lines:
            counts.update(line)
        room = max(1, (self.vocab_size - 256 - 8) // 2)
        if len(counts) <= room:
            return self._lines
        rare = {ord(one): "\n" for one, _ in counts.most_common()[room:]}
        return [part for line in self._lines for part in line.translate(rare).split("\n") if part]


def _free_memory() -> int | None:
    """Bytes that this process may still take; None where the system does not say."""
    found = []
    with suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(one.split()[1]) << 10 for one in lines if one.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # a container may have less than its machine
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(found, default=None)


def _short_lines(chunk: str) -> Iterator[str]:
    for line in chunk.split("\n"):
        for start in range(0, len(line), _MAX_LINE):  # an empty line has no part
            yield line[start : start + _MAX_LINE]
