"""Which model in the box fine-tuning begins with, and what it says about the choice."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path

import pytest

import chargen
from chargen import choose_base
from chargen.choose_base import advice, best_base, starting_model
from chargen.cli.finetune import model_and_corpus
from chargen.cli.main import run
from chargen.errors import UsageError
from chargen.text.text_options import TextOptions

ENGLISH = (
    "The old man sat by the window and looked at the rain, which had not stopped since Monday. "
    "He was thinking of his brother, who had gone to sea in the spring and had never written.\n"
) * 20
CODE = inspect.getsource(textwrap)
GREEK = "Μῆνιν ἄειδε θεὰ Πηληϊάδεω Ἀχιλῆος οὐλομένην, ἣ μυρί᾽ Ἀχαιοῖς ἄλγε᾽ ἔθηκε. " * 40
GERMAN = "Der Zauberer wohnte zwischen Hügeln, und niemand wusste, wovon er eigentlich lebte. " * 40


@pytest.fixture
def text(tmp_path, monkeypatch):
    """Writes a text to a file; returns how to read it."""
    monkeypatch.chdir(tmp_path)

    def write(content):
        Path("text.txt").write_text(content, encoding="utf-8")
        return TextOptions(corpus=("text.txt",))

    return write


@pytest.mark.parametrize(("content", "name"), [(ENGLISH, "english"), (CODE, "python")])
def test_the_base_that_predicts_the_text_best_is_chosen(text, content, name):
    model, line = starting_model(text(content))
    assert model.path is not None
    assert model.path.parent.name == name
    assert line.startswith(f"from {name}, a model in the box: ")
    sample = content[1500:3000]
    bits = {
        other: chargen.load(other).score(sample).bits_per_byte for other in ("english", "python")
    }
    assert best_base(sample).name == min(bits, key=bits.get)


@pytest.mark.parametrize(
    ("content", "words"),
    [(GREEK, "% of these characters"), (GERMAN, "to which this text is foreign")],
)
def test_a_text_that_no_base_knows_is_told_so(text, content, words):
    _, line = starting_model(text(content))
    assert words in line
    assert "chargen train begins with nothing" in line


def test_a_text_too_short_to_tell_begins_with_english(text):
    model, _ = starting_model(text("Hello, world."))
    assert model.path is not None
    assert model.path.parent.name == "english"


def test_who_trains_from_nothing_is_told_of_a_base_that_knows_the_text(text, monkeypatch):
    (line,) = advice(text(ENGLISH))
    assert line.startswith("english, a model in the box, predicts the beginning of this text with")
    assert advice(text(GERMAN)) == advice(text(GREEK)) == advice(text("Hello.")) == []
    assert advice(TextOptions(corpus=("text.txt",), tokenizer="byte")) == []
    options = text(ENGLISH)
    monkeypatch.setattr(choose_base, "_MAX_ADVISED_BYTES", 100)
    assert advice(options) == []


@pytest.mark.parametrize(
    ("names", "model", "corpus"),
    [
        (("text.txt",), None, ("text.txt",)),
        (("text.txt", "text.txt"), None, ("text.txt", "text.txt")),
        (("english", "text.txt"), "english", ("text.txt",)),
        (("englsih", "text.txt"), "englsih", ("text.txt",)),
        (("builtin:python-docs", "text.txt"), None, ("builtin:python-docs", "text.txt")),
        (("a.safetensors", "text.txt"), "a.safetensors", ("text.txt",)),
        (("-",), None, ("-",)),
        (("missing.txt",), None, ("missing.txt",)),
    ],
)
def test_the_first_name_is_the_model_where_it_is_one(text, names, model, corpus):
    text(ENGLISH)
    assert model_and_corpus(names) == (model, corpus)


def test_a_model_alone_is_no_corpus(text):
    text(ENGLISH)
    with pytest.raises(UsageError, match="english: this is a model; name a CORPUS"):
        model_and_corpus(("english",))


def test_train_from_a_base_is_fine_tuning(text, capsys):
    text(ENGLISH)
    assert run(["train", "text.txt", "--from", "tiny", "--run", "r", "--steps", "2"]) == 0
    assert chargen.load("r").card["base"]["name"] == "tiny"
    sized = ["train", "text.txt", "--from", "tiny", "--hidden-size", "3", "--run", "s"]
    assert run(sized) == 2
    assert "--hidden-size 3" in capsys.readouterr().err
