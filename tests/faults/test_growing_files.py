"""A log that grows while it is read is read up to where it was; a rewritten file is an error."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import chargen
from chargen.cli.main import run
from chargen.errors import CorpusError
from chargen.text import corpus as corpus_module
from chargen.text.corpus import open_corpus
from chargen.text.dataset import open_dataset
from chargen.text.text_options import TextOptions

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1, "steps": 4}
TEXT = "the sea and the wind\n" * 60
ROWS = "".join(json.dumps({"text": f"row {n} of the sea"}) + "\n" for n in range(71))
CSV = "text,n\n" + "".join(f"row {n} of the sea,1\n" for n in range(60))


@pytest.fixture
def appending(monkeypatch):
    """Whatever is read is appended to before each pass over it."""
    paths: list[tuple[Path, str]] = []
    read = corpus_module.CorpusPass._read

    def append_and_read(self):
        pieces = read(self)
        first = next(pieces, None)
        for path, more in paths:
            with path.open("a", encoding="utf-8") as file:
                file.write(more)
        if first is not None:
            yield first
        yield from pieces

    monkeypatch.setattr(corpus_module.CorpusPass, "_read", append_and_read)
    return lambda path, more: paths.append((Path(path), more))


@pytest.mark.parametrize(
    ("name", "content", "more"),
    [
        ("log.txt", TEXT, "a new line\n"),
        ("rows.jsonl", ROWS, '{"text": "new"}\n'),
        ("rows.csv", CSV, "new,2\n"),
        ("folder/log.txt", TEXT, "a new line\n"),
    ],
)
def test_what_is_appended_meanwhile_is_not_read(appending, name, content, more):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(content, encoding="utf-8")
    appending(name, more)
    corpus = "folder" if name.startswith("folder") else name
    options = TextOptions(
        corpus=(corpus,), valid_fraction=0, column="text" if ".txt" not in name else None
    )
    dataset = open_dataset(options)
    assert "new" not in dataset.tokenizer.decode(dataset.train)
    assert Path(name).stat().st_size > len(content)


def test_a_file_that_becomes_shorter_is_an_error(monkeypatch):
    Path("log.txt").write_text(TEXT, encoding="utf-8")
    corpus = TextOptions(corpus=("log.txt",)).open(["log.txt"])
    corpus.fingerprints()
    Path("log.txt").write_text("gone\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="became shorter while it was read"):
        corpus.fingerprints()


@pytest.mark.parametrize("cached", [True, False])
def test_a_run_goes_on_with_the_text_that_its_log_held(cached, capsys):
    Path("log.txt").write_text(TEXT, encoding="utf-8")
    whole = [e.loss for e in chargen.train("log.txt", run="whole", **TINY).steps()]
    stop = iter([False, True])
    list(chargen.train("log.txt", run="a", should_stop=lambda: next(stop, True), **TINY))
    if not cached:
        shutil.rmtree("cache/tokens")
    with Path("log.txt").open("a", encoding="utf-8") as file:
        file.write("what came later\n" * 30)
    notes: list[str] = []
    rest = [e.loss for e in chargen.resume("a", on_note=notes.append).steps()]
    assert rest == whole[-len(rest) :]
    assert notes[0] == "log.txt: has grown since; going on with the text as it was"
    Path("log.txt").write_text(TEXT.upper() * 2, encoding="utf-8")
    shutil.rmtree("cache/tokens")
    assert run(["resume", "a", "--steps", "1"]) == 3
    assert "changed since the run began" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "later"),
    [
        ("log.txt", TEXT, "é€é\n" * 900),  # its former size divides a character
        ("rows.jsonl", ROWS, ROWS + '{"text": "new"}\n'),  # its texts' size divides a row
        ("rows.csv", CSV, CSV + "new,2\n"),
    ],
)
def test_a_former_size_that_divides_something_ends_no_resume(name, content, later):
    """The cache has the text as it was, whatever the beginning of the file is now."""
    Path(name).write_text(content, encoding="utf-8")
    options = {**TINY, "column": None if name == "log.txt" else "text"}
    whole = [e.loss for e in chargen.train(name, run="whole", **options).steps()]
    stop = iter([False, True])
    list(chargen.train(name, run="a", should_stop=lambda: next(stop, True), **options))
    Path(name).write_text(later, encoding="utf-8")
    notes: list[str] = []
    rest = [e.loss for e in chargen.resume("a", on_note=notes.append).steps()]
    assert rest == whole[-len(rest) :]
    assert "going on with the text as it was, from the cache" in notes[0]


def test_a_file_whose_size_the_system_does_not_tell_is_read(monkeypatch):
    Path("status").write_text(TEXT, encoding="utf-8")
    monkeypatch.setattr(os, "fstat", lambda number: os.stat_result((0,) * 10))
    assert "".join(filter(None, open_corpus(["status"]).pieces())) == TEXT
