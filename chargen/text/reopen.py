"""Opens the text of an earlier run again: as it was, or as it is now if that is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from chargen.errors import CorpusError, NetworkError, UsageError
from chargen.hints import option, ways
from chargen.text.copies import without_copies
from chargen.text.corpus import Corpus, Fingerprint, Fingerprints, Watcher, unwatched
from chargen.text.dataset import Dataset, make_dataset
from chargen.text.sources import FileSource
from chargen.text.store import TokenStore, encode_corpus, find_store
from chargen.text.text_options import TextOptions
from chargen.text.tokenizer import Tokenizer, Tokens
from chargen.text.unseen import unseen_lines


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
            store = find_store(before, tokenizer, options.key())
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
    where = option("--text", "FILE") or option("--corpus", "FILE")
    if number:
        where = option("--valid", "FILE")
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
        store = find_store(before, tokenizer, options.key())
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
        if isinstance(source, FileSource) and (source.size() or 0) > old.bytes
    }


def _is_same(before: Fingerprints, now: Fingerprints) -> bool:
    return len(before) == len(now) and all(map(Fingerprint.is_same_text, before, now))
