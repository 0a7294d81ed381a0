"""The token store: a text is encoded once and split at a document."""

from __future__ import annotations

import numpy as np
import pytest

from chargen.errors import CorpusError
from chargen.text.corpus import open_corpus
from chargen.text.reading import Reading
from chargen.text.store import (
    build_tokenizer,
    encode_corpus,
    find_store,
    token_dtype,
    tokenizer_digest,
)


def encode(path, kind="char", documents="whole", vocab_size=None):
    reading = Reading(as_bytes=kind == "byte")
    corpus = open_corpus([str(path)], documents=documents, reading=reading)
    tokenizer, (fingerprints,) = build_tokenizer(corpus, kind, vocab_size)
    return tokenizer, encode_corpus(corpus, tokenizer, fingerprints)


def shown(tokenizer, store):
    """The text of a store, with a bar for each end-of-document token."""
    return "".join(
        "|" if token == tokenizer.eos_id else tokenizer.decode([token]) for token in store.tokens
    )


@pytest.mark.parametrize(("kind", "size"), [("char", None), ("byte", None), ("subword", 400)])
def test_the_store_holds_the_encoded_text(tmp_path, prose, kind, size):
    path = tmp_path / "a.txt"
    path.write_text(prose, encoding="utf-8", newline="\n")
    tokenizer, store = encode(path, kind, vocab_size=size)
    assert np.array_equal(store.tokens, tokenizer.encode(prose))
    assert tokenizer.decode(store.tokens) == prose
    assert store.tokens.dtype == token_dtype(tokenizer.vocab_size)


def test_a_text_is_not_encoded_a_second_time(tmp_path, prose):
    path = tmp_path / "a.txt"
    path.write_text(prose, encoding="utf-8")
    _, first = encode(path)
    written = first.path.stat().st_mtime_ns
    _, second = encode(path)
    assert second.path == first.path
    assert second.path.stat().st_mtime_ns == written


def test_a_store_is_found_when_its_text_is_gone(tmp_path, prose):
    path = tmp_path / "a.txt"
    path.write_text(prose, encoding="utf-8")
    corpus = open_corpus([str(path)])
    tokenizer, (fingerprints,) = build_tokenizer(corpus, "char", None)
    store = encode_corpus(corpus, tokenizer, fingerprints)
    path.unlink()
    again = find_store(fingerprints, tokenizer, corpus.key())
    assert again is not None
    assert again.path == store.path
    assert find_store(fingerprints, tokenizer, {**corpus.key(), "documents": "lines"}) is None
    assert find_store(fingerprints, tokenizer, {**corpus.key(), "encoding": "cp1252"}) is None


@pytest.mark.parametrize("damage", ["truncate", "meta", "no meta"])
def test_a_damaged_store_is_made_again(tmp_path, prose, damage):
    path = tmp_path / "a.txt"
    path.write_text(prose, encoding="utf-8", newline="\n")
    tokenizer, store = encode(path)
    meta = store.path.with_name("meta.json")
    if damage == "truncate":
        store.path.write_bytes(store.path.read_bytes()[:100])
    elif damage == "meta":
        meta.write_text("[1", encoding="utf-8")
    else:
        meta.unlink()
    _, again = encode(path)
    assert tokenizer.decode(again.tokens) == prose


@pytest.mark.parametrize("kind", ["char", "byte", "subword"])
def test_lines_are_documents(tmp_path, kind):
    path = tmp_path / "a.txt"
    path.write_text("one two\n\n\nthree four\nfive six seven", encoding="utf-8")
    size = 330 if kind == "subword" else None
    tokenizer, store = encode(path, kind, "lines", size)
    assert shown(tokenizer, store) == "one two|three four|five six seven|"


def test_files_are_documents(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for name, text in (("a", "first\n"), ("b", "second"), ("c", "")):
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    tokenizer, store = encode(folder, documents="files")
    assert shown(tokenizer, store) == "first\n|second|"


def test_the_split_is_by_tokens_and_at_documents(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {k}\n" for k in range(100)), encoding="utf-8")
    _, store = encode(path)
    train, valid = store.split(0.1)
    assert len(train) == int(0.9 * len(store.tokens))
    assert np.array_equal(np.concatenate([train, valid]), store.tokens)
    tokenizer, store = encode(path, documents="lines")
    train, valid = store.split(0.1, tokenizer.eos_id)
    assert train[-1] == tokenizer.eos_id
    assert len(train) + len(valid) == len(store.tokens)
    assert len(store.split(0.0)[1]) == 0


@pytest.mark.parametrize(
    ("text", "fraction", "message"),
    [("abcabcab", 0.1, "only 8 tokens"), ("abc" * 10, 0.03, "validation part has 1 of 30")],
)
def test_parts_too_short_are_refused(tmp_path, text, fraction, message):
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    _, store = encode(path)
    with pytest.raises(CorpusError, match=message):
        store.split(fraction)


def test_the_shortest_part_that_can_be_scored_is_taken(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abc" * 10, encoding="utf-8")
    _, store = encode(path)
    assert len(store.split(0.04)[1]) == 2


def test_an_empty_corpus_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"")
    with pytest.raises(CorpusError, match=r"a\.txt: the corpus is empty"):
        encode(path)


def test_digests_of_different_tokenizers_differ(tmp_path, prose):
    path = tmp_path / "a.txt"
    path.write_text(prose, encoding="utf-8")
    digests = {tokenizer_digest(encode(path, kind)[0].to_state()) for kind in ("char", "byte")}
    assert len(digests) == 2


def test_ids_have_the_smallest_type_that_fits():
    assert [np.dtype(token_dtype(size)).itemsize for size in (2, 256, 257, 65536, 65537)] == [
        1,
        1,
        2,
        2,
        4,
    ]
