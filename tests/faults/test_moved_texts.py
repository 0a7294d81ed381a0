"""A run that was moved goes on where its text is found: by name nearby, or where a person says."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

import chargen
from chargen.cli.main import run
from chargen.model.runs import RUN
from chargen.training.events import StepDone

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1}
TEXT = "the sea and the wind\n" * 80


def half_a_run(corpus, **settings):
    """A run that was interrupted after three of six steps, and the losses of the other three."""
    settings = {**TINY, "steps": 6, **settings}
    whole = [
        event.loss
        for event in chargen.train(corpus, run="whole", **settings)
        if isinstance(event, StepDone)
    ]
    seen = []
    events = chargen.train(corpus, run="a", should_stop=lambda: len(seen) >= 3, **settings)
    for event in events:
        if isinstance(event, StepDone):
            seen.append(event)
    return whole[3:]


def losses(events):
    return [event.loss for event in events if isinstance(event, StepDone)]


def forget_the_cache():
    for folder in Path("cache").glob("tokens*"):
        shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["checkpoints/a", "checkpoints", "."])
def test_a_text_of_the_same_name_near_the_run_is_found(tmp_path, place):
    Path("old").mkdir()
    Path("old/book.txt").write_text(TEXT, encoding="utf-8")
    rest = half_a_run("old/book.txt")
    forget_the_cache()
    Path(place).mkdir(exist_ok=True)
    shutil.move("old/book.txt", Path(place, "book.txt"))
    assert losses(chargen.resume("a")) == rest
    assert json.loads(Path("checkpoints/a", RUN).read_text())["text"]["corpus"] == [
        str(tmp_path / Path(place, "book.txt"))
    ]


def test_a_run_that_was_moved_reads_the_text_that_is_named():
    Path("book.txt").write_text(TEXT, encoding="utf-8")
    rest = half_a_run("book.txt")
    forget_the_cache()
    Path("far/away").mkdir(parents=True)
    shutil.move("book.txt", "far/other name.txt")
    shutil.move("checkpoints/a", "far/away/a")
    assert run(["resume", "far/away/a"]) == 3
    assert losses(chargen.resume("far/away/a", corpus="far/other name.txt")) == rest


def test_a_run_that_read_a_pipe_goes_on_with_a_file(monkeypatch, capsys):
    def pipe():
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))

    pipe()
    events = chargen.train("-", run="a", steps=6, should_stop=lambda: True, **TINY)
    assert len(losses(events)) == 1
    forget_the_cache()
    assert run(["resume", "a"]) == 3
    assert "(chargen resume RUN CORPUS)" in capsys.readouterr().err
    Path("saved.txt").write_text(TEXT, encoding="utf-8")
    assert run(["resume", "a", "saved.txt"]) == 0


def test_another_text_of_the_same_name_is_not_taken(capsys):
    Path("book.txt").write_text(TEXT, encoding="utf-8")
    half_a_run("book.txt")
    forget_the_cache()
    Path("book.txt").unlink()
    Path("checkpoints/book.txt").write_text(TEXT.upper(), encoding="utf-8")
    assert run(["resume", "a"]) == 3
    assert "changed since the run began" in capsys.readouterr().err


def test_the_validation_text_moves_too():
    Path("book.txt").write_text(TEXT, encoding="utf-8")
    Path("valid.txt").write_text(TEXT[:300] + "other words\n" * 9, encoding="utf-8")
    rest = half_a_run("book.txt", valid="valid.txt")
    forget_the_cache()
    Path("b").mkdir()
    shutil.move("valid.txt", "b/v.txt")
    assert losses(chargen.resume("a", valid="b/v.txt")) == rest


@pytest.mark.parametrize("wrong", ["checkpoints/book.txt", "old/book.txt"])
def test_of_several_texts_of_that_name_the_one_with_the_hash_is_taken(wrong):
    Path("old").mkdir()
    Path("old/book.txt").write_text(TEXT, encoding="utf-8")
    rest = half_a_run("old/book.txt")
    forget_the_cache()
    shutil.move("old/book.txt", "book.txt")
    Path(wrong).write_text("another text\n" * 99, encoding="utf-8")
    assert losses(chargen.resume("a")) == rest


def test_the_replayed_text_is_found_by_its_hash_too():
    Path("old").mkdir()
    Path("old/book.txt").write_text(TEXT, encoding="utf-8")
    Path("new.txt").write_text("a ship on the sea\n" * 80, encoding="utf-8")
    list(chargen.train("old/book.txt", run="base", **{**TINY, "steps": 6}))

    def tune(name, should_stop=lambda: False):
        settings = {"steps": 6, "batch_size": 5, "bptt": 8, "threads": 1}
        return losses(
            chargen.finetune(
                "base", "new.txt", run=name, replay="old/book.txt", should_stop=should_stop,
                **settings,
            )
        )  # fmt: skip

    whole = tune("whole")
    begun = tune("a", should_stop=lambda: True)
    forget_the_cache()
    shutil.move("old/book.txt", "book.txt")
    Path("checkpoints/book.txt").write_text("another text\n" * 99, encoding="utf-8")
    assert losses(chargen.resume("a")) == whole[len(begun) :]
