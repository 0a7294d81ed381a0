"""Datasets: from CORPUS arguments to the tokens that a model trains on and is scored on.

Opens the text of a new run, and opens the text of an earlier run again. This file does not know
models; it knows what a model's card says about its text. finetune_dataset.py opens texts for a
tokenizer that exists already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chargen.errors import CorpusError, NetworkError, UsageError, unknown_name
from chargen.hints import option, ways
from chargen.text.copies import without_copies
from chargen.text.corpus import (
    DOCUMENT_MODES,
    Corpus,
    Fingerprint,
    Fingerprints,
    Watcher,
    open_corpus,
    unwatched,
)
from chargen.text.reader import Reading
from chargen.text.registry import TOKENIZERS, check_tokenizer
from chargen.text.sources import FileSource
from chargen.text.store import MIN_VALID, TokenStore, build_tokenizer, encode_corpus, find_store
from chargen.text.tokenizer import Tokenizer, Tokens
from chargen.text.unseen import unseen_lines

REPLAY = "replay"
"""The key under which a fine-tuning run keeps the options of its replay text."""
BASE_PATH = "base_path"
"""The key under which a fine-tuning run keeps where its base lay; only people read it."""
_FEW_VALID_TOKENS = 1000
"""A score of fewer tokens is too noisy to mean much."""


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What to read, how to divide it, and into what kind of tokens.

    Raises:
        UsageError: on construction, naming every option that is wrong.
    """

    corpus: tuple[str, ...] = ()
    """CORPUS arguments; none is the built-in corpus."""
    tokenizer: str = "char"
    """A row of `TOKENIZERS`."""
    vocab_size: int | None = None
    """The most tokens, for tokenizers that choose them; None is the tokenizer's default."""
    pattern: str | None = None
    """The regular expression that finds the tokens of the `regex` tokenizer."""
    documents: str = "whole"
    """A row of `DOCUMENT_MODES`."""
    separator: str | None = None
    """The line between two documents; makes `documents` `separator`."""
    encoding: str | None = None
    """Encoding of the files; None recognises UTF-8 and byte order marks."""
    column: str | None = None
    """The column of tables that holds the text; None finds it."""
    valid: str | None = None
    """A text to validate on; None takes the end of the corpus."""
    valid_fraction: float = 0.1
    """The share of the corpus to validate on."""
    valid_part: str = "spread"
    """Which documents validate: `spread` over the corpus, or its `tail`, as before version 0.2."""

    leave_out_copies: bool = True
    """Whether what stands in the validation part too is left out of training."""

    def __post_init__(self) -> None:
        """Checks everything that can be checked before anything is read."""
        problems = []
        try:
            check_tokenizer(self.tokenizer, vocab_size=self.vocab_size, pattern=self.pattern)
        except UsageError as error:
            problems.append(str(error))
        if self.separator is not None and self.documents == "whole":
            object.__setattr__(self, "documents", "separator")
        if self.separator is not None and (not self.separator or "\n" in self.separator):
            problems.append(f"separator {self.separator!r}: must be one line that is not empty")
        if self.documents == "separator" and self.separator is None:
            problems.append(
                "documents separator: name the line that divides"
                + ways(("use", option("--separator", "TEXT")))
            )
        elif self.documents != "separator" and self.separator is not None:
            problems.append(
                f"separator {self.separator!r}: has no effect with documents {self.documents}; "
                "give one of both"
            )
        if self.documents not in DOCUMENT_MODES:
            problems.append(unknown_name("documents", self.documents, DOCUMENT_MODES))
        if not 0 <= self.valid_fraction < 1:
            problems.append(f"valid-fraction {self.valid_fraction}: must be at least 0 and below 1")
        if [*self.corpus, self.valid].count("-") > 1:
            problems.append("'-' (standard input) can be read only once; name it once")
        if problems:
            raise UsageError("; ".join(problems))

    @property
    def spreads(self) -> bool:
        """Whether the documents that validate are spread over the corpus."""
        return self.valid_part == "spread" and self.documents != "whole"

    def open(self, names: Sequence[str], watcher: Watcher = unwatched) -> Corpus:
        """A corpus of these CORPUS names, read as these options say."""
        reading = Reading(
            encoding=self.encoding, column=self.column, as_bytes=self.tokenizer == "byte"
        )
        return open_corpus(
            names,
            documents=self.documents,
            separator=self.separator,
            reading=reading,
            watcher=watcher,
        )

    def open_all(self, watcher: Watcher = unwatched) -> list[Corpus]:
        """The corpus, and the text to validate on if there is one."""
        names: list[Sequence[str]] = [self.corpus]
        if self.valid is not None:
            names.append([self.valid])
        return [self.open(corpus_names, watcher) for corpus_names in names]


def options_to_json(options: TextOptions) -> dict[str, Any]:
    """The options as plain values, with absolute paths: they are the same in another folder."""
    value = asdict(options)
    value["corpus"] = [_absolute(name) for name in options.corpus]
    if options.valid is not None:
        value["valid"] = _absolute(options.valid)
    return value


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if name != "-" and Path(name).exists() else name


def options_from_json(value: Mapping[str, Any]) -> TextOptions:
    """The options that `options_to_json` wrote, from a file.

    Raises:
        CorpusError: the value does not hold options.
    """
    value = {key: setting for key, setting in value.items() if key not in (REPLAY, BASE_PATH)}
    value.setdefault("valid_part", "tail")  # as runs of version 0.1 were divided
    value.setdefault("leave_out_copies", False)
    optional_texts = (
        "tokenizer",
        "pattern",
        "documents",
        "separator",
        "encoding",
        "column",
        "valid",
    )
    corpus = value.get("corpus")
    valid = isinstance(corpus, list) and all(isinstance(name, str) for name in corpus)
    valid &= all(isinstance(value.get(name), str | None) for name in optional_texts)
    valid &= isinstance(value.get("tokenizer"), str) and isinstance(value.get("documents"), str)
    valid &= isinstance(value.get("vocab_size"), int | None)
    valid &= isinstance(value.get("valid_fraction"), int | float)
    try:
        if valid and isinstance(corpus, list):
            return TextOptions(**{**value, "corpus": tuple(corpus)})
    except (TypeError, UsageError):
        pass
    raise CorpusError("the run does not say how its corpus was read")


def documents_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """How the text of a model was divided, as arguments of `TextOptions`; whole if unknown."""
    documents, separator = card.get("documents"), card.get("separator")
    if documents == "separator" and isinstance(separator, str):
        return {"documents": documents, "separator": separator}
    known = documents in DOCUMENT_MODES and documents != "separator"
    return {"documents": str(documents) if known else "whole"}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A corpus, ready to train on."""

    tokenizer: Tokenizer
    train: Tokens
    valid: Tokens
    card: dict[str, Any]
    """What the model's card says about the text."""
    notes: tuple[str, ...]
    """What a person should know, such as skipped files."""
    stores: tuple[TokenStore, ...] = ()
    """Where the tokens lie in the cache."""

    def keep_for(self, run: Path) -> None:
        """Keeps the tokens in the cache as long as the folder of this run exists."""
        for store in self.stores:
            store.keep_for(run)


def open_dataset(options: TextOptions, watcher: Watcher = unwatched) -> Dataset:
    """Reads a corpus, makes its tokenizer, encodes it and divides it.

    Args:
        options: what to read and how.
        watcher: is called with the progress.

    Raises:
        CorpusError: the corpus cannot be read or is too short.
        UsageError: no such tokenizer.
    """
    corpora = options.open_all(watcher)
    tokenizer, fingerprints = build_tokenizer(
        corpora[0],
        options.tokenizer,
        options.vocab_size,
        *corpora[1:],
        pattern=options.pattern,
    )
    stores = [
        encode_corpus(corpus, tokenizer, read)
        for corpus, read in zip(corpora, fingerprints, strict=True)
    ]
    notes = [note for corpus in corpora for note in corpus.notes()]
    return make_dataset(options, tokenizer, stores, fingerprints, notes)


def reopen_dataset(
    options: TextOptions,
    tokenizer: Tokenizer,
    card: Mapping[str, Any],
    *,
    allow_changed: bool,
    movable: bool = True,
    watcher: Watcher = unwatched,
) -> Dataset:
    """Opens the text of a run that is resumed, as it was when the run began.

    If the corpus has changed or is gone, the dataset is taken from the cache and a note says so.
    If the cache has it no more, the corpus as it is now is taken, but only if that is allowed.

    Args:
        options: how the run read its text.
        tokenizer: the tokenizer of the run.
        card: the card of the run, which says what the corpus was.
        allow_changed: takes the corpus as it is now.
        movable: whether a person can say where the text lies now.
        watcher: is called with the progress.

    Raises:
        CorpusError: the corpus has changed or is gone, and the cache has it no more.
    """
    notes: list[str] = []
    stores: list[TokenStore] = []
    fingerprints: list[Sequence[Fingerprint]] = []
    split = card.get("split")
    recorded = [card.get("corpus"), split.get("valid") if isinstance(split, dict) else None]
    names = [options.corpus, *([] if options.valid is None else [(options.valid,)])]
    for number, corpus_names in enumerate(names):
        before = _parse_fingerprints(recorded[number])
        corpus, now, difference = _compare_with_card(options, corpus_names, before, watcher, notes)
        store = None
        if corpus is None or not (difference and allow_changed):
            store = find_store(
                before,
                tokenizer,
                documents=options.documents,
                encoding=options.encoding,
                separator=options.separator,
            )
        if store is not None and difference:
            notes.append(f"{difference}; going on with the text as it was, from the cache")
            now = before
        elif store is None and corpus is not None and (allow_changed or not difference):
            store = encode_corpus(corpus, tokenizer, now)
            if difference:
                notes.append(f"{difference}; going on with the text as it is now")
                notes += unseen_lines(tokenizer, corpus.pieces())
        if store is None:
            changed = corpus is not None and not allow_changed
            way = _way_to_resume(number, movable=movable, changed=changed)
            raise CorpusError(f"{difference}, and the cache has it no more{way}")
        stores.append(store)
        fingerprints.append(now)
    return make_dataset(options, tokenizer, stores, fingerprints, notes)


def _way_to_resume(number: int, *, movable: bool, changed: bool) -> str:
    """How a run goes on whose text was not found as it was: the first, or that to validate on."""
    where = option("--valid", "FILE") if number else option("--corpus", "FILE")
    if movable and not number and where is None:
        where = "chargen resume RUN CORPUS"
    named = f"name where the text lies now ({where})" if movable and where else "put it back"
    return ways(named, ("add", option("--allow-changed-corpus") if changed else None))


def reopen_store(
    options: TextOptions, tokenizer: Tokenizer, card: Mapping[str, Any]
) -> tuple[TokenStore, Tokens] | None:
    """The tokens that a model was trained on, and those that validated it.

    The second part is empty if another text validated the model. None if the text is neither in
    the cache nor unchanged on this machine.

    Args:
        options: how the text was read.
        tokenizer: the tokenizer of the model.
        card: the card of the model, which says what the corpus was.
    """
    try:
        before = _parse_fingerprints(card.get("corpus"))
        store = find_store(
            before,
            tokenizer,
            documents=options.documents,
            encoding=options.encoding,
            separator=options.separator,
        )
        if store is None and options.corpus and all(map(is_on_this_machine, options.corpus)):
            corpus, now, difference = _compare_with_card(options, options.corpus, before)
            if corpus is None or difference:
                return None
            store = encode_corpus(corpus, tokenizer, now)
        if store is None:
            return None
        fraction = 0.0 if options.valid is not None else options.valid_fraction
        train, valid = store.split(fraction, tokenizer.eos_id, spread=options.spreads)
        if options.leave_out_copies:
            train, _ = without_copies(train, valid)
    except (CorpusError, UsageError, OSError):
        return None
    return TokenStore(tokens=train, path=store.path), valid


def is_on_this_machine(name: str) -> bool:
    r"""Whether reading a corpus that a run names needs no other machine.

    The run may come from anybody, and looking at it must not connect to a place that it names: a
    data set of the Hub, or a file of another computer (`\\host\share`).
    """
    return not name.startswith(("hf:", "//", "\\\\", "/\\", "\\/"))


def _parse_fingerprints(value: Any) -> Fingerprints:
    try:
        fingerprints = tuple(Fingerprint(**entry) for entry in value)
    except TypeError:
        fingerprints = ()
    types = {(type(entry.name), type(entry.bytes), type(entry.sha256)) for entry in fingerprints}
    if types != {(str, int, str)} or not all(
        isinstance(entry.boundaries, str | None) for entry in fingerprints
    ):
        raise CorpusError("the run does not say what its corpus was")
    return fingerprints


def _compare_with_card(
    options: TextOptions,
    names: Sequence[str],
    before: Fingerprints,
    watcher: Watcher = unwatched,
    notes: list[str] | None = None,
) -> tuple[Corpus | None, Fingerprints, str]:
    """Reads a corpus and compares it with what it was.

    A file that was only appended to since is the same: it is read up to where it ended.

    Args:
        options: how the corpus was read.
        names: its CORPUS arguments.
        before: what it was.
        watcher: is called with the progress.
        notes: gets a line about a file that has grown.

    Returns:
        The corpus (None if it cannot be read), its fingerprints now, and the difference in words
        (empty if there is none).
    """
    if "-" in names or any(Path(name).is_fifo() for name in names):
        return None, before, "what came through a pipe cannot be read again"
    try:
        corpus = options.open(names, watcher)
        now = corpus.fingerprints()
    except (CorpusError, NetworkError, OSError) as error:
        return None, before, f"the corpus cannot be read any more ({error})"
    if _is_same(before, now):
        return corpus, now, ""
    sizes = _sizes_of_grown(corpus, before)
    if sizes:
        beginning = options.open(names, watcher)
        beginning.reading.sizes.update(sizes)
        # The former size of a file that was rewritten may divide a character.
        with suppress(CorpusError, OSError):
            if _is_same(before, read := beginning.fingerprints()):
                grown = ", ".join(path.name for path in sizes)
                if notes is not None:
                    notes.append(f"{grown}: has grown since; going on with the text as it was")
                return beginning, read, ""
    for old, new in zip(before, now, strict=False):
        if not old.is_same_text(new):
            change = f"{old.bytes:,} bytes then, {new.bytes:,} now"
            if old.sha256 == new.sha256:
                change = "the same bytes, divided into other documents"
            return corpus, now, f"{new.name}: the corpus changed since the run began ({change})"
    counts = f"{len(before)} files then, {len(now)} now"
    return corpus, now, f"the corpus changed since the run began ({counts})"


def _sizes_of_grown(corpus: Corpus, before: Fingerprints) -> dict[Path, int]:
    """The former size of each text file that is longer now.

    Fingerprints of other sources, such as tables, count the bytes of texts, not of files.
    """
    if len(corpus.sources) != len(before):
        return {}
    return {
        source.path: old.bytes
        for source, old in zip(corpus.sources, before, strict=True)
        if isinstance(source, FileSource) and source.size() > old.bytes
    }


def _is_same(before: Fingerprints, now: Fingerprints) -> bool:
    return len(before) == len(now) and all(map(Fingerprint.is_same_text, before, now))


def make_dataset(
    options: TextOptions,
    tokenizer: Tokenizer,
    stores: Sequence[TokenStore],
    fingerprints: Sequence[Sequence[Fingerprint]],
    notes: Sequence[str],
) -> Dataset:
    """Divides encoded texts into tokens to train on and tokens to score, and writes the card.

    Args:
        options: how the texts were read.
        tokenizer: the tokenizer.
        stores: the corpus, and the text to validate on if `options` name one.
        fingerprints: those of each store's text.
        notes: notes of the reading; the dataset adds its own.

    Raises:
        CorpusError: a part is too short.
    """
    split: dict[str, Any]
    if options.valid is not None:
        train, _ = stores[0].split(0.0)
        valid = stores[1].tokens
        if len(valid) < MIN_VALID:
            raise CorpusError(f"the validation text has {len(valid)} tokens: too short to score")
        split = {"valid": [asdict(source) for source in fingerprints[1]]}
    else:
        train, valid = stores[0].split(
            options.valid_fraction, tokenizer.eos_id, spread=options.spreads
        )
        split = {"valid_fraction": options.valid_fraction}
        if options.spreads:
            split["valid_part"] = options.valid_part
    notes = list(notes)
    if options.leave_out_copies:
        train, told = without_copies(train, valid)
        notes += [told] if told else []
    if options.vocab_size is not None and tokenizer.vocab_size < options.vocab_size:
        unit = TOKENIZERS[options.tokenizer].unit
        notes.append(f"the corpus gives {tokenizer.vocab_size} {unit}, not {options.vocab_size}")
    if 0 < len(valid) < _FEW_VALID_TOKENS:
        notes.append(f"the validation part has only {len(valid)} tokens: its score says little")
    split |= {"train_tokens": len(train), "valid_tokens": len(valid)}
    card = {
        "corpus": [asdict(source) for source in fingerprints[0]],
        "documents": options.documents,
        **({} if options.separator is None else {"separator": options.separator}),
        "split": split,
    }
    return Dataset(
        tokenizer=tokenizer,
        train=train,
        valid=valid,
        card=card,
        notes=tuple(notes),
        stores=tuple(stores),
    )
