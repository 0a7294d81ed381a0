"""Labels: documents of a label begin with its token; a person writes, mixes and scores by it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen.cli.main import run
from chargen.errors import ModelFileError, UsageError
from chargen.inference.engine import Stepper
from chargen.own_corpus import training_text, validation_text
from chargen.text.char import CharTokenizer
from chargen.text.corpus import open_corpus
from chargen.text.corpus_tokenizer import (
    CorpusTokenizer,
    parse_mixture,
    split_by_label,
    unwrapped,
)
from chargen.text.encoding import encoded_batches
from chargen.text.reading import Reading
from chargen.text.registry import tokenizer_from_state
from chargen.text.tokenizer import TokenizerState

TINY = {"hidden_size": 24, "num_layers": 1, "batch_size": 4, "bptt": 12, "threads": 1, "seed": 1}


@pytest.fixture
def letters() -> Path:
    """Two folders of texts that share no letter."""
    for name, text in (("austen", "abba baab abab\n"), ("poe", "xyyx yxxy xyxy\n")):
        Path("letters", name).mkdir(parents=True)
        for number in range(12):
            Path("letters", name, f"{number}.txt").write_text(text * 4)
    return Path("letters")


@pytest.fixture
def model(letters) -> chargen.Model:
    list(chargen.train(letters, run="two", label_from="folder", steps=150, **TINY))
    return chargen.load("two")


def written(model: chargen.Model, **settings: object) -> str:
    return "".join(
        step.text for step in model.generate(seed=3, length=40, temperature=0.2, **settings)
    )


def test_documents_begin_with_their_label(model):
    assert model.labels == ("austen", "poe")
    store = training_text(model)
    assert store is not None
    tokens = store.tokens
    eos, first = model.tokenizer.eos_id, unwrapped(model.tokenizer).vocab_size
    begins = np.concatenate([[0], np.flatnonzero(tokens == eos)[:-1] + 1])
    assert set(tokens[begins].tolist()) == {first, first + 1}
    assert np.count_nonzero(tokens >= first) == len(begins)
    for begin in begins:
        own = "ab" if tokens[begin] == first else "xy"
        assert model.tokenizer.decode(tokens[begin : begin + 4].tolist())[0] in own
    assert len(validation_text(model)) > 9


def test_each_label_writes_its_letters_and_no_label_is_written(model):
    austen, poe = model.labelled("austen"), model.labelled("poe")
    assert set(written(austen)) <= set("ab \n")
    assert set(written(poe)) <= set("xy \n")
    assert written(austen)[0] in "ab"
    texts = {}
    for number, step in poe.generate_batch("", 3, seed=1, length=20, temperature=0.2):
        texts[number] = texts.get(number, "") + step.text
    assert all(set(text) <= set("xy \n") for text in texts.values())
    labels = [model.tokenizer.label_id(name) for name in model.labels]
    tokens = [step.token_id for step in model.generate(seed=1, length=300, stop_at_end=False)]
    assert not set(labels) & set(tokens)


def test_a_mixture_is_the_mean_of_embeddings(model):
    mixed = model.labelled("austen:3, poe:1")
    assert mixed.mixture == {"austen": 0.75, "poe": 0.25}
    weights = dict(model.file.weights)
    embedding = weights["embedding.weight"].copy()
    austen, poe = (model.tokenizer.label_id(name) for name in ("austen", "poe"))
    embedding[austen] = 0.75 * embedding[austen] + 0.25 * embedding[poe]
    by_hand = Stepper(model.config, {**weights, "embedding.weight": embedding})
    ids = np.array([model.tokenizer.eos_id, austen])
    expected, _ = by_hand.logits_of(ids, by_hand.zero_state())
    found, _ = mixed.stepper.logits_of(ids, mixed.stepper.zero_state())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert model.mixture == {"austen": 0.5, "poe": 0.5}


def test_an_unknown_label_is_told_with_a_similar_one(model, capsys):
    with pytest.raises(UsageError, match="unknown label 'austin': did you mean 'austen'"):
        model.labelled("austin")
    assert run(["sample", "two", "--label", "pow"]) == 2
    assert "did you mean 'poe'" in capsys.readouterr().err
    for wrong in ("austen:0,poe:1", "austen:x", "austen:-1", "austen:nan"):
        with pytest.raises(UsageError, match="weight above 0"):
            model.labelled(wrong)


def test_commands_know_labels(model, capsys):
    assert run(["sample", "two", "--label", "poe", "--length", "20", "-t", "0.2"]) == 0
    assert set(capsys.readouterr().out) <= set("xy \n")
    assert run(["info", "two", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["austen", "poe"]
    assert run(["eval", "two", "letters", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert list(value["labels"]) == ["austen", "poe"]
    assert value["labels"]["poe"]["characters"] == 12 * 60
    assert run(["eval", "two", "letters/poe/1.txt", "--label", "poe", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)["bits_per_byte"]
    assert run(["eval", "two", "letters/poe/1.txt", "--label", "austen", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_byte"] > own


def test_copies_of_a_labelled_model_write_the_same(model):
    import copy
    import pickle

    poe = model.labelled("poe")
    assert written(copy.deepcopy(poe)) == written(pickle.loads(pickle.dumps(poe))) == written(poe)


def test_fine_tuning_keeps_the_labels_and_adds_new_ones(model, letters):
    Path("new/verne").mkdir(parents=True)
    for number in range(24):
        Path("new/verne", f"{number}.txt").write_text("mnnm nmmn\n" * 4)
    events = list(chargen.finetune("two", "new", run="three", label_from="folder", steps=150))
    tuned = chargen.load("three")
    assert tuned.labels == ("austen", "poe", "verne")
    assert events
    assert set(written(tuned.labelled("verne"))) <= set("mn \n")


@pytest.mark.parametrize("documents", ["lines", "paragraphs", "files"])
def test_every_division_has_labels(documents):
    Path("a").mkdir()
    Path("a/1.txt").write_text("one\ntwo\n\nthree\n")
    corpus = open_corpus(["a"], documents=documents, reading=Reading(label_from="file"))
    tokenizer = CorpusTokenizer(CharTokenizer("\n" + "ehnortw", documents=True), labels=["1"])
    ids = np.concatenate([ids for ids, _ in encoded_batches(corpus, tokenizer, np.dtype("u1"))])
    spelled = "".join({tokenizer.eos_id: "$", 9: "L"}.get(i, tokenizer.decode([i])) for i in ids)
    assert (
        spelled
        == {
            "lines": "Lone$Ltwo$Lthree$",
            "paragraphs": "Lone\ntwo$Lthree$",
            "files": "Lone\ntwo\n\nthree\n$",
        }[documents]
    )


def test_labels_of_a_column_and_of_names():
    rows = "".join(f'{{"text": "abc", "by": {by}}}\n' for by in ('"x"', "null", "7", '" "'))
    Path("rows.jsonl").write_text(rows)
    corpus = open_corpus(
        ["rows.jsonl"], documents="files", reading=Reading(label_from="column:by", column="text")
    )
    labels = [getattr(item, "name", item) for item in corpus.pieces()]
    assert labels == ["x", "abc", None, "abc", None, "7", "abc", None, "abc", None]


@given(st.lists(st.sampled_from("ab c:,%é"), min_size=1, max_size=6).map("".join))
def test_any_name_can_be_a_label(name):
    tokenizer = CorpusTokenizer(CharTokenizer("ab"), labels=[name])
    assert parse_mixture(name, tokenizer) == {name: 1.0}
    again = tokenizer_from_state(tokenizer.to_state())
    assert isinstance(again, CorpusTokenizer)
    assert again.labels == (name,)
    assert again.decode([0, again.label_id(name), 1]) == "ab"
    assert again.token_bytes(again.label_id(name)) == b""


@pytest.mark.parametrize("labels", ["a", [1], [""], ["a", "a"], {}])
def test_damaged_labels_are_refused(labels):
    state = TokenizerState(kind="char", settings={"characters": "ab", "labels": labels})
    if labels == {}:
        state.settings["labels"] = {"a": 1}
    with pytest.raises(ModelFileError, match="labels are damaged"):
        tokenizer_from_state(state)


def test_models_without_labels_say_so(letters, capsys):
    list(chargen.train(letters, run="plain", steps=2, **TINY))
    model = chargen.load("plain")
    assert model.labels == ()
    assert model.mixture == {}
    with pytest.raises(UsageError, match="learned no labels"):
        model.labelled("poe")
    assert split_by_label(np.arange(3), model.tokenizer) == {}
