"""Characters that a tokenizer does not know are told wherever a text is read."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import chargen
from chargen.api import Model
from chargen.model.checkpoint import save_model
from chargen.repl.keys import TokenPicker
from chargen.text.char import CharTokenizer
from chargen.text.tokenizer import ByteTokenizer
from chargen.text.unseen import Unseen, unseen_lines
from tests.conftest import make_model
from tests.repl.conftest import Talk

TINY = {"hidden_size": 8, "num_layers": 1, "threads": 1, "batch_size": 4, "bptt": 16, "steps": 2}
KNOWN = CharTokenizer("\n abcdEs")
LINE = "2 of 8 characters unseen: é → E, ß → s"


@pytest.mark.parametrize(
    ("text", "policy", "line"),
    [
        ("€ ß" + "a" * 28, "nearest", "2 of 31 characters unseen: € → E, ß → s"),
        ("xxx" + "a" * 6, "skip", "3 of 9 characters unseen: x (left out)"),
        ("a\tb", "nearest", "1 of 3 characters unseen: '\\t' → ' '"),
        # What would change a terminal, or join the character before it, is shown by its number.
        ("a\x1b\u202e\u0301\ud800", "skip",
         "4 of 5 characters unseen: U+001B, U+202E, U+0301, U+D800 (left out)"),
        ("0123456789" * 2, "skip",
         "20 of 20 characters unseen: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more (left out)"),
    ],
)  # fmt: skip
def test_a_line_counts_and_names_them(text, policy, line):
    assert unseen_lines(KNOWN, [text], policy) == [line]


def test_nothing_is_told_where_nothing_is_unknown():
    assert unseen_lines(KNOWN, ["abc", None, "d\n"]) == []
    assert unseen_lines(ByteTokenizer(), ["é", b"\xff"]) == []


def test_pieces_and_counts_add_up_to_the_whole_text():
    text = "".join(chr(code) for code in range(32, 400)) * 3
    whole, counted = unseen_lines(KNOWN, [text]), Unseen(KNOWN)
    counted.feed_counts(dict.fromkeys(text[: len(text) // 3], 3))
    assert unseen_lines(KNOWN, list(text)) == whole == counted.lines()
    assert unseen_lines(KNOWN, ["aé".encode(), b"\xff"]) == [
        "2 of 3 characters unseen: é → E, \ufffd → ' '"
    ]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run of a text without accents, whose corpus has changed since and is not in the cache."""
    corpus = Path("book.txt")
    corpus.write_text("a plain text of ordinary letters, " * 400, encoding="utf-8")
    list(chargen.train(corpus, out="run", **TINY))
    corpus.write_text("ä pläin text öf ordinary letters, " * 400, encoding="utf-8")
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "cache2"))
    return Path("run")


def test_a_resumed_run_tells_what_it_replaces(run):
    notes: list[str] = []
    list(chargen.resume(run, allow_changed_corpus=True, steps=1, on_note=notes.append))
    assert "1200 of 13600 characters unseen: ä → a, ö → o" in notes


def test_a_program_without_on_note_is_warned(run):
    with pytest.warns(chargen.UnseenWarning, match="1200 of 13600 characters") as caught:
        list(chargen.resume(run, allow_changed_corpus=True, steps=1))
    assert caught[0].filename == __file__


def test_a_replay_text_is_told(run):
    Path("new.txt").write_text("other words, of the same letters " * 300, encoding="utf-8")
    Path("replay.txt").write_text("schön " * 3000, encoding="utf-8")
    settings = {"steps": 1, "batch_size": 4, "bptt": 16, "threads": 1}
    notes: list[str] = []
    list(
        chargen.finetune(
            run, "new.txt", out="tuned", replay="replay.txt", on_note=notes.append, **settings
        )
    )
    assert any(note.startswith("replay: 6000 of 18000 characters unseen: c →") for note in notes)


def test_the_functions_of_a_model_warn_at_the_line_that_calls_them():
    model = Model(make_model())
    calls = (
        lambda: model.encode("aé"),
        lambda: next(model.generate("aé", length=1)),
        lambda: next(model.generate_batch("aé", 1, length=1)),
        lambda: next(model.generate_many(["aé"], length=1)),
        lambda: list(model.generate_many(["a"] * 70 + ["aé"], length=1)),
        lambda: model.score("aé"),
        lambda: model.score("aé".encode()),
        lambda: model.trace("aé"),
    )
    for call in calls:
        with pytest.warns(chargen.UnseenWarning, match="1 of 2 characters unseen: é → e") as caught:
            call()
        assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.score("abc")


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "M", "F"), ("surprise", "M", "F"), ("why", "M", "F"),
        ("horizon", "M", "F"), ("units", "M", "F"), ("saturation", "M", "F"),
        ("gradients", "M", "--corpus", "F", "--back", "8"), ("heatmap", "M", "F"),
        ("heatmap", "M", "-p", "T"), ("step", "M", "-p", "T", "--at", "1"),
        ("sample", "M", "-p", "T", "-l", "3"), ("sample", "M", "--prompt-file", "F", "-l", "3"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_each_command_tells_it_in_one_line(command, model_path, capfd):
    from chargen.cli.main import run as run_command

    text = "ab cd\n" * 700 + "é"
    Path("f.txt").write_text(text, encoding="utf-8")
    names = {"M": str(model_path), "F": "f.txt", "T": "abé"}
    code = run_command([names.get(word, word) for word in command])
    lines = [line for line in capfd.readouterr().err.splitlines() if "unseen" in line]
    count = 3 if "T" in command else len(text)
    assert code == 0
    assert len(lines) == 1
    assert f"1 of {count} characters unseen: é → e" in lines[0]


def test_the_repl_tells_it_for_another_model_and_for_a_typed_character(tmp_path):
    save_model(tmp_path / "other.safetensors", make_model(characters="\n abc"))
    talk = Talk(Model(make_model()))
    talk("/set length 3")
    assert talk("é").startswith("1 of 1 characters unseen: é → e")
    talk("/clear")
    talk("abd")
    assert " characters unseen: " in talk("/ab other.safetensors").splitlines()[0]
    assert " characters unseen: " in talk("/load other.safetensors")
    picker = TokenPicker(talk.context)
    picker.type("ä")
    assert ("italic", "1 of 1 characters unseen: ä → a\n") in picker.shown()
