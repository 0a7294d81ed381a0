"""Tokens of one's own: words, symbols between blanks, matches of a pattern."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen.cli.main import run
from chargen.errors import ModelFileError, UsageError
from chargen.text.extend_vocab import extend_pieces
from chargen.text.pieces import PATTERNS, PieceTokenizer, divide
from chargen.text.registry import tokenizer_builder, tokenizer_from_state
from chargen.text.tokenizer import TokenizerState
from chargen.training.events import StepDone

any_text = st.text(st.characters(exclude_categories=["Cs"]))
SMILES = r"\[[^]]+\]|Br|Cl|."


def tokenizer_of(kind, text, *, vocab_size=None, pattern=None, documents=False):
    builder = tokenizer_builder(kind, vocab_size=vocab_size, pattern=pattern)
    builder.feed(text)
    return builder.finish(documents=documents)


def texts_of(tokenizer, text):
    return [tokenizer.decode([token]) for token in tokenizer.encode(text)]


@pytest.mark.parametrize(
    ("kind", "pattern", "text", "tokens"),
    [
        (
            "words",
            None,
            "don't go, Zoë!\n",
            ["don't", " go", ",", " Zoë", "!", "\n"],
        ),
        ("words", None, "in 1984", ["in", " ", "1", "9", "8", "4"]),
        ("words", None, "  two", [" ", " two"]),
        ("spaces", None, "Cmaj7 | Am7 G/B\n", ["Cmaj7", " |", " Am7", " G/B", "\n"]),
        ("spaces", None, "e4 e5\tNf3", ["e4", " e5", "\t", "Nf3"]),
        ("regex", SMILES, "C[NH2+]ClBr1", ["C", "[NH2+]", "Cl", "Br", "1"]),
        ("regex", r"[ACGT]{3}", "ACGTTTNNNACG", ["ACG", "TTT", "N", "N", "N", "ACG"]),
        # Groups, flags and empty matches of a person's pattern change nothing.
        ("regex", r"(?i)(ab)+|x*", "ABabcx", ["ABab", "c", "x"]),
    ],
)
def test_frequent_pieces_are_tokens(kind, pattern, text, tokens):
    tokenizer = tokenizer_of(kind, "\n".join([text] * 3), pattern=pattern)
    assert texts_of(tokenizer, text) == tokens


def test_rare_pieces_are_written_by_character():
    tokenizer = tokenizer_of("words", "sea sea sea sea gulls\n")
    assert tokenizer.pieces == (" sea",)  # "sea" stands at the beginning of a line once
    assert texts_of(tokenizer, "sea sea gulls") == ["s", "e", "a", " sea", *" gulls"]


def test_a_word_that_only_began_lines_is_known_after_a_blank():
    tokenizer = tokenizer_of("words", "Oh no\n" * 3)
    assert texts_of(tokenizer, "no Oh") == ["n", "o", " ", "Oh"]


def test_the_most_frequent_pieces_come_first_and_the_vocabulary_has_its_size():
    text = "aa\n" * 9 + "bb\n" * 5 + "cc\n" * 7
    assert tokenizer_of("words", text).pieces == ("aa", "cc", "bb")
    small = tokenizer_of("words", text, vocab_size=7, documents=True)
    assert (small.vocab_size, small.pieces, small.eos_id) == (7, ("aa", "cc"), 6)
    with pytest.raises(UsageError, match="must be from 2"):
        tokenizer_of("words", text, vocab_size=1)
    with pytest.raises(UsageError, match=r"has 4 characters; give at least 4"):
        tokenizer_of("words", text, vocab_size=3)


@pytest.mark.parametrize("kind", ["words", "spaces", "regex"])
@given(corpus=any_text, text=any_text)
def test_decoding_reverses_encoding(kind, corpus, text):
    pattern = r"\w+\s*|[^\w]+" if kind == "regex" else None
    tokenizer = tokenizer_of(kind, (corpus + "\nab " + text) * 3, pattern=pattern)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    assert tokenizer.encode("\n").tolist() == [tokenizer.letters.encode("\n")[0]]
    assert not any("\n" in piece for piece in tokenizer.pieces)
    again = tokenizer_from_state(tokenizer.to_state())
    assert np.array_equal(again.encode(text), ids)
    assert again.vocab_size == tokenizer.vocab_size


@given(st.lists(st.sampled_from(["sea ", "the", "\n", " gull", "é"]), min_size=1, max_size=60))
def test_the_vocabulary_does_not_depend_on_chunks(chunks):
    builder = tokenizer_builder("words")
    for chunk in ["ab", *chunks]:
        builder.feed(chunk)
    whole = tokenizer_of("words", "".join(["ab", *chunks]))
    assert builder.finish(documents=False).to_state() == whole.to_state()


@given(any_text, st.sampled_from([*PATTERNS.values(), SMILES, r"\d*", r"(?s).*"]))
def test_divided_texts_join_to_the_text(text, pattern):
    assert "".join(divide(re.compile(pattern), text)) == text


def test_unseen_characters_become_the_nearest():
    tokenizer = tokenizer_of("words", "cafe sea\n" * 3)
    assert tokenizer.decode(tokenizer.encode("café sea")) == "cafe sea"
    assert tokenizer.unseen("é") == {"é": "e"}
    with pytest.raises(UsageError, match="U\\+00E9"):
        tokenizer.encode("café", "error")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "regex"}, r"needs a regular expression .*; give pattern"),
        ({"tokenizer": "regex", "pattern": "["}, r"--pattern '\[': not a regular expression"),
        ({"tokenizer": "regex", "pattern": "a" * 1001}, "longer than 1,000"),
        ({"tokenizer": "words", "pattern": "a"}, "no effect on the words tokenizer"),
        ({"vocab_size": 500}, "no effect on the char tokenizer"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(options, message):
    with pytest.raises(UsageError, match=message):
        list(chargen.train("missing.txt", **options, steps=1))


@pytest.mark.parametrize(
    "change",
    [
        {"pattern": "["},
        {"pattern": None},
        {"characters": ""},
        {"blob": "sea\nsea"},
        {"blob": "seä"},
        {"blob": "s"},
        {"blob": b"\xff"},
    ],
)
def test_damaged_states_are_refused(change):
    state = tokenizer_of("words", "sea\n" * 3).to_state()
    settings = {**state.settings, **{k: v for k, v in change.items() if k != "blob"}}
    blob = change.get("blob", state.blob)
    blob = blob.encode() if isinstance(blob, str) else blob
    with pytest.raises(ModelFileError):
        tokenizer_from_state(TokenizerState(kind="words", settings=settings, blob=blob))


def test_another_text_adds_characters_and_pieces():
    tokenizer = tokenizer_of("words", "sea gull\n" * 3)
    text = "sea wind ñ\nsea wind ñ\n"
    counts = {character: text.count(character) for character in set(text)}
    extension = extend_pieces(tokenizer, counts, text, 5, documents=True)
    extended = extension.tokenizer
    assert isinstance(extended, PieceTokenizer)
    assert extended.pieces == (*tokenizer.pieces, " wind", " ñ")
    assert extended.decode(extended.encode(text)) == text
    for token, old in enumerate(extension.old):
        if old >= 0:
            assert extended.token_bytes(token) == tokenizer.token_bytes(old)
        else:
            assert extension.donors[token]
    assert len(extension.old) == extended.vocab_size
    kept = extend_pieces(tokenizer, counts, text, 0, documents=False, add_characters=False)
    assert kept.tokenizer.to_state() == tokenizer.to_state()


def test_a_model_of_words_trains_resumes_writes_and_is_fine_tuned(tmp_path, capsys):
    (tmp_path / "sea.txt").write_text("the sea, the wind and the gulls\n" * 60, encoding="utf-8")
    tiny = {"hidden_size": 16, "embedding_size": 8, "batch_size": 2, "bptt": 8, "seed": 1}
    events = list(chargen.train("sea.txt", run="sea", tokenizer="words", steps=3, **tiny))
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert len(losses) == 3
    assert run(["resume", "sea", "--steps", "2"]) == 0
    model = chargen.load("sea")
    assert model.tokenizer.kind == "words"
    written = "".join(step.text for step in model.generate("the sea", length=20, seed=3))
    assert written
    assert run(["finetune", "sea", "sea.txt", "--run", "more", "--steps", "2"]) == 0
    for command in ("eval", "surprise"):
        capsys.readouterr()
        assert run([command, "more", "sea.txt", "--json"]) == 0
        json.loads(capsys.readouterr().out.splitlines()[-1])
    (tmp_path / "line.txt").write_text("the sea", encoding="utf-8")
    for command in (["heatmap", "sea", "line.txt"], ["step", "sea", "-p", "the sea"]):
        assert run(command) == 0
        assert "sea" in capsys.readouterr().out
