"""Tokenizers: decoding reverses encoding, and streamed pieces join to the text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.errors import CorpusError, ModelFileError, UsageError
from chargen.text.char import CharBuilder, CharTokenizer
from chargen.text.registry import TOKENIZERS, tokenizer_builder, tokenizer_from_state
from chargen.text.subword import SubwordBuilder, SubwordTokenizer
from chargen.text.tokenizer import (
    ByteTokenizer,
    StreamDecoder,
    TokenizerState,
    token_lengths,
    utf8,
)

any_text = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def subwords(prose) -> dict[str, SubwordTokenizer]:
    tokenizers = {}
    for algorithm in ("unigram", "bpe"):
        builder = SubwordBuilder(400, algorithm)
        builder.feed(prose)
        tokenizers[algorithm] = builder.finish(documents=algorithm == "bpe")
    return tokenizers


def char_of(text: str, *, documents: bool = False) -> CharTokenizer:
    builder = CharBuilder()
    builder.feed(text)
    return builder.finish(documents=documents)


@given(st.text(min_size=1))
def test_char_decoding_reverses_encoding(text):
    tokenizer = char_of(text + "ab")
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.characters == "".join(sorted(set(text + "ab")))


@given(st.lists(st.text(min_size=1), min_size=1))
def test_char_vocabulary_does_not_depend_on_chunks(chunks):
    builder = CharBuilder()
    builder.feed("ab")
    for chunk in chunks:
        builder.feed(chunk)
    assert (
        builder.finish(documents=False).characters == char_of("".join(["ab", *chunks])).characters
    )


@given(any_text, st.sampled_from([np.uint8, np.uint16]))
def test_char_compact_encoding_equals_encoding(text, dtype):
    tokenizer = char_of("abcdefgh äöü\n")
    assert np.array_equal(tokenizer.encode_compact(text, dtype), tokenizer.encode(text))


@given(st.binary())
def test_byte_decoding_reverses_encoding(data):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(data)
    assert b"".join(map(tokenizer.token_bytes, ids)) == data
    assert tokenizer.decode(ids) == data.decode("utf-8", "replace")


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@given(text=any_text | st.text(" \n\t▁ab<0x>é😀"))
def test_subword_decoding_reverses_encoding(subwords, algorithm, text):
    tokenizer = subwords[algorithm]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    assert 0 not in ids, "<unk> is never written"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.data())
def test_streamed_pieces_join_to_the_text_and_break_no_character(text, data):
    tokenizer = ByteTokenizer()
    decoder = StreamDecoder()
    pieces = [decoder.feed(tokenizer.token_bytes(token)) for token in tokenizer.encode(text)]
    assert "".join(pieces) + decoder.finish() == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_a_character_cut_at_the_end_is_shown_as_replacement():
    decoder = StreamDecoder()
    assert decoder.feed(b"\xe2\x82") == ""
    assert decoder.finish() == "\ufffd"


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
@pytest.mark.parametrize("documents", [False, True])
def test_state_rebuilds_the_same_tokenizer(kind, documents, prose):
    builder = tokenizer_builder(
        kind,
        vocab_size=400 if kind.startswith("subword") else None,
        pattern=r"\w+" if kind == "regex" else None,
    )
    builder.feed(prose)
    tokenizer = builder.finish(documents=documents)
    again = tokenizer_from_state(tokenizer.to_state())
    assert again.vocab_size == tokenizer.vocab_size
    assert again.eos_id == tokenizer.eos_id
    assert (tokenizer.eos_id is not None) == documents
    assert np.array_equal(again.encode(prose), tokenizer.encode(prose))
    if documents:
        assert tokenizer.token_bytes(tokenizer.eos_id) == b""
        assert tokenizer.decode([tokenizer.eos_id]) == ""


def test_lengths_count_bytes_and_characters(subwords):
    text = "naïve — ☃ 😀 abc"
    for tokenizer in (char_of(text), ByteTokenizer(), *subwords.values()):
        size, characters = token_lengths(tokenizer)[:, tokenizer.encode(text)].sum(1)
        assert (size, characters) == (len(text.encode()), len(text))


def test_unknown_characters_follow_the_policy():
    tokenizer = char_of("abce ")
    assert tokenizer.decode(tokenizer.encode("aéb")) == "aeb"
    assert tokenizer.decode(tokenizer.encode("aéb", "skip")) == "ab"
    with pytest.raises(UsageError, match=r"'é' \(U\+00E9\)"):
        tokenizer.encode("aéb", "error")
    assert tokenizer.unseen("aéb€") == {"é": "e", "€": "e"}


def test_surrogate_escapes_of_the_shell_become_their_bytes():
    assert utf8(b"a\xffb".decode("utf-8", "surrogateescape")) == b"a\xffb"
    assert utf8("\ud800") == b"?"
    assert list(ByteTokenizer().encode("\udcff")) == [255]


def test_a_corpus_of_one_character_is_refused():
    for kind, size in (("char", None), ("byte", None), ("subword", 400)):
        builder = tokenizer_builder(kind, vocab_size=size)
        builder.feed(b"aaaa" if kind == "byte" else "aaaa")
        with pytest.raises(CorpusError):
            builder.finish(documents=False)


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("text", ["the cat sat on the mat\n" * 20, "ab cd ef" * 400])
def test_the_subword_vocabulary_shrinks_to_the_pieces_of_the_corpus(algorithm, text):
    builder = SubwordBuilder(5000, algorithm)
    builder.feed(text)
    assert builder.finish(documents=False).vocab_size < 5000


def test_a_subword_vocabulary_can_be_smaller_than_the_alphabet():
    text = "".join(
        chr(0x4E00 + (7 * k * k) % 3000) + ("\n" if k % 30 == 0 else "") for k in range(9000)
    )
    builder = SubwordBuilder(600)
    builder.feed(text)
    tokenizer = builder.finish(documents=False)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (TokenizerState(kind="word"), "kind unknown"),
        (TokenizerState(kind="char", settings={"characters": 3}), "lists no characters"),
        (TokenizerState(kind="char", settings={"characters": "ba"}), "not sorted"),
        (TokenizerState(kind="char", settings={"characters": "aab"}), "not sorted"),
        (TokenizerState(kind="subword"), "no tensor tokenizer.model"),
        (TokenizerState(kind="subword", blob=b"garbage"), "damaged"),
    ],
)
def test_damaged_states_are_refused(state, message):
    with pytest.raises(ModelFileError, match=message):
        tokenizer_from_state(state)


def test_too_few_subwords_and_unknown_kinds_are_refused():
    with pytest.raises(UsageError, match="--vocab-size 100: must be from 320"):
        SubwordBuilder(100)
    with pytest.raises(UsageError, match="did you mean 'byte'"):
        tokenizer_builder("bytes")
