"""From CORPUS arguments to tokens to learn and tokens to score: all of this room put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chargen.errors import CorpusError, NetworkError, UsageError, unknown_name
from chargen.text.corpus import DOCUMENT_MODES, Corpus, Fingerprint, Watcher, open_corpus, unwatched
from chargen.text.reader import Reading
from chargen.text.registry import tokenizer_kind
from chargen.text.store import MIN_VALID, TokenStore, build_tokenizer, encode_corpus, stored
from chargen.text.tokenizer import Tokenizer, Tokens

REPLAY = "replay"
"""Where a fine-tuning run keeps how its other text was read, beside its own options."""


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What to read, how to divide it, and into what kind of tokens."""

    corpus: tuple[str, ...] = ()
    """CORPUS arguments; none is the built-in corpus."""
    tokenizer: str = "char"
    """A row of `TOKENIZERS`."""
    vocab_size: int | None = None
    """Pieces of a subword tokenizer."""
    documents: str = "whole"
    """`whole`, `files` or `lines`."""
    encoding: str | None = None
    """Of the files; None recognises UTF-8 and byte order marks."""
    column: str | None = None
    """Of tables; None finds it."""
    valid: str | None = None
    """A text to validate on, instead of the corpus's tail."""
    valid_fraction: float = 0.1
    """The tail's share."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read."""
        tokenizer_kind(self.tokenizer)
        problems = []
        if self.documents not in DOCUMENT_MODES:
            problems.append(unknown_name("documents", self.documents, DOCUMENT_MODES))
        if not 0 <= self.valid_fraction < 1:
            problems.append(f"valid-fraction {self.valid_fraction}: must be at least 0 and below 1")
        if self.vocab_size is not None and not self.tokenizer.startswith("subword"):
            problems.append(
                f"vocab-size {self.vocab_size}: has no effect on the {self.tokenizer} tokenizer; "
                "leave it out, or use --tokenizer subword"
            )
        if [*self.corpus, self.valid].count("-") > 1:
            problems.append("'-' (standard input) can be read only once; name it once")
        if problems:
            raise UsageError("; ".join(problems))

    def open(self, names: Sequence[str], watcher: Watcher = unwatched) -> Corpus:
        """A corpus of these names, read as these options say."""
        reading = Reading(
            encoding=self.encoding, column=self.column, as_bytes=self.tokenizer == "byte"
        )
        return open_corpus(names, documents=self.documents, reading=reading, watcher=watcher)


def options_to_json(options: TextOptions) -> dict[str, Any]:
    """Plain values; paths from the root, so that they mean the same in another folder."""
    value = asdict(options)
    value["corpus"] = [_absolute(one) for one in options.corpus]
    if options.valid is not None:
        value["valid"] = _absolute(options.valid)
    return value


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if name != "-" and Path(name).exists() else name


def options_from_json(value: Mapping[str, Any]) -> TextOptions:
    """The options that `options_to_json` made, from a file.

    Raises:
        CorpusError: they are not options.
    """
    value = {key: one for key, one in value.items() if key != REPLAY}
    texts = ("tokenizer", "documents", "encoding", "column", "valid")
    corpus = value.get("corpus")
    fine = isinstance(corpus, list) and all(isinstance(one, str) for one in corpus)
    fine &= all(isinstance(value.get(name), str | None) for name in texts)
    fine &= isinstance(value.get("tokenizer"), str) and isinstance(value.get("documents"), str)
    fine &= isinstance(value.get("vocab_size"), int | None)
    fine &= isinstance(value.get("valid_fraction"), int | float)
    try:
        if fine and isinstance(corpus, list):
            return TextOptions(**{**value, "corpus": tuple(corpus)})
    except (TypeError, UsageError):
        pass
    raise CorpusError("the run does not say how its corpus was read")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A corpus, ready to train on."""

    tokenizer: Tokenizer
    train: Tokens
    valid: Tokens
    card: dict[str, Any]
    notes: tuple[str, ...]


def open_dataset(options: TextOptions, watcher: Watcher = unwatched) -> Dataset:
    """Read a corpus, make its tokenizer, encode it and divide it.

    Args:
        options: what and how.
        watcher: is told how far that is.

    Raises:
        CorpusError: it cannot be read or is too short.
        UsageError: no such tokenizer.
    """
    corpus = options.open(options.corpus, watcher)
    extra = [] if options.valid is None else [options.open([options.valid], watcher)]
    tokenizer = build_tokenizer(corpus, options.tokenizer, options.vocab_size, *extra)
    stores = [encode_corpus(one, tokenizer) for one in (corpus, *extra)]
    notes = [note for one in (corpus, *extra) for note in one.notes()]
    prints = [one.fingerprints for one in (corpus, *extra)]
    return divided(options, tokenizer, stores, prints, notes)


def reopen_dataset(
    options: TextOptions,
    tokenizer: Tokenizer,
    card: Mapping[str, Any],
    *,
    allow_changed: bool,
    watcher: Watcher = unwatched,
) -> Dataset:
    """The corpus of a run that is taken up again, as it was when the run began.

    What was read then is in the cache; a corpus that changed or is gone is said, and the cache
    used. Where the cache is gone as well, the corpus as it is now must be allowed.

    Args:
        options: of the run.
        tokenizer: of the run.
        card: of the run: what the corpus was.
        allow_changed: take the corpus as it is now.
        watcher: is told how far it is.

    Raises:
        CorpusError: it changed or is gone, and so is the cache.
    """
    notes: list[str] = []
    stores: list[TokenStore] = []
    prints: list[Sequence[Fingerprint]] = []
    split = card.get("split")
    then = [card.get("corpus"), split.get("valid") if isinstance(split, dict) else None]
    names = [options.corpus, *([] if options.valid is None else [(options.valid,)])]
    for number, spelled in enumerate(names):
        before = _fingerprints(then[number])
        corpus, difference = _compared(options, spelled, before, watcher)
        store = None
        if corpus is None or not (difference and allow_changed):
            # Any corpus read in this way: the key needs only how, and what it was.
            shape = corpus or options.open(())
            store = stored(shape, tokenizer, [one.sha256 for one in before])
        if store is not None and difference:
            notes.append(f"{difference}; going on with the text as it was, from the cache")
            prints.append(before)
        elif store is None and corpus is not None and (allow_changed or not difference):
            store = encode_corpus(corpus, tokenizer)
            if difference:
                notes.append(f"{difference}; going on with the text as it is now")
        if store is None:
            raise CorpusError(
                f"{difference}, and the cache has it no more; "
                "put it back, or add --allow-changed-corpus"
            )
        stores.append(store)
        if len(prints) < len(stores):
            prints.append(list(corpus.fingerprints) if corpus else before)
    return divided(options, tokenizer, stores, prints, notes)


def reopen_parts(
    options: TextOptions, tokenizer: Tokenizer, card: Mapping[str, Any]
) -> tuple[TokenStore, Tokens] | None:
    """What a model was trained on, and the tail kept to validate it; None where it is not here.

    The tail is empty where another text validates.

    Args:
        options: how it was read.
        tokenizer: of the model.
        card: of the model: what the corpus was.
    """
    try:
        before = _fingerprints(card.get("corpus"))
        store = stored(options.open(()), tokenizer, [one.sha256 for one in before])
        if store is None and options.corpus:
            corpus, difference = _compared(options, options.corpus, before)
            if corpus is None or difference:
                return None
            store = encode_corpus(corpus, tokenizer)
        if store is None:
            return None
        fraction = 0.0 if options.valid is not None else options.valid_fraction
        train, valid = store.split(fraction, tokenizer.eos_id)
    except (CorpusError, UsageError, OSError):
        return None
    return TokenStore(tokens=train, path=store.path), valid


def _fingerprints(value: Any) -> list[Fingerprint]:
    try:
        found = [Fingerprint(**one) for one in value]
    except TypeError:
        found = []
    kinds = {(type(one.name), type(one.bytes), type(one.sha256)) for one in found}
    if kinds != {(str, int, str)}:
        raise CorpusError("the run does not say what its corpus was")
    return found


def _compared(
    options: TextOptions,
    spelled: Sequence[str],
    before: Sequence[Fingerprint],
    watcher: Watcher = unwatched,
) -> tuple[Corpus | None, str]:
    """The corpus as it is now, if it can be read, and in words what became of it since."""
    if "-" in spelled or any(Path(one).is_fifo() for one in spelled):
        return None, "what came through a pipe cannot be read again"
    try:
        corpus = options.open(spelled, watcher)
        for _ in corpus.pieces():
            pass
    except (CorpusError, NetworkError, OSError) as error:
        return None, f"the corpus cannot be read any more ({error})"
    now = corpus.fingerprints
    if [one.sha256 for one in now] == [one.sha256 for one in before]:
        return corpus, ""
    for old, new in zip(before, now, strict=False):
        if old.sha256 != new.sha256:
            sizes = f"{old.bytes:,} bytes then, {new.bytes:,} now"
            return corpus, f"{new.name}: the corpus changed since the run began ({sizes})"
    counts = f"{len(before)} files then, {len(now)} now"
    return corpus, f"the corpus changed since the run began ({counts})"


def divided(
    options: TextOptions,
    tokenizer: Tokenizer,
    stores: Sequence[TokenStore],
    prints: Sequence[Sequence[Fingerprint]],
    notes: list[str],
) -> Dataset:
    """Tokens to learn and tokens to score, and what the card says of them."""
    split: dict[str, Any]
    if options.valid is not None:
        train, _ = stores[0].split(0.0)
        valid = stores[1].tokens
        if len(valid) < MIN_VALID:
            raise CorpusError(f"the validation text has {len(valid)} tokens: too short to score")
        split = {"valid": [asdict(one) for one in prints[1]]}
    else:
        train, valid = stores[0].split(options.valid_fraction, tokenizer.eos_id)
        split = {"valid_fraction": options.valid_fraction}
    if options.vocab_size is not None and tokenizer.vocab_size < options.vocab_size:
        notes.append(f"the corpus gives {tokenizer.vocab_size} subwords, not {options.vocab_size}")
    if 0 < len(valid) < 1000:
        notes.append(f"the validation part has only {len(valid)} tokens: its score says little")
    split |= {"train_tokens": len(train), "valid_tokens": len(valid)}
    card = {
        "corpus": [asdict(one) for one in prints[0]],
        "documents": options.documents,
        "split": split,
    }
    return Dataset(tokenizer=tokenizer, train=train, valid=valid, card=card, notes=tuple(notes))
