"""How a run ended is told, also when it could not say so itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import chargen
from chargen.cli.main import run
from chargen.errors import ModelFileError, UsageError
from chargen.model.claims import claim_folder
from chargen.model.runs import COMPARISON, METRICS, MODEL, RUN, locate_model, locate_run
from chargen.training.events import StepDone
from chargen.training.trainer import EagerSteps

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1, "steps": 6}


@pytest.fixture(autouse=True)
def text():
    Path("book.txt").write_text("the sea and the wind\n" * 80, encoding="utf-8")


def listed(capsys):
    capsys.readouterr()
    assert run(["runs", "--json"]) == 0
    records = map(json.loads, capsys.readouterr().out.splitlines())
    return {record["name"]: record for record in records}


def test_a_run_that_an_error_ended_has_failed(monkeypatch, capsys):
    take, calls = EagerSteps.take, []

    def breaks(self, *arguments, **named):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("a broken step")
        return take(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(EagerSteps, "take", breaks)
        with pytest.raises(RuntimeError, match="a broken step"):
            list(chargen.train("book.txt", run="a", **TINY))
    record = listed(capsys)["a"]
    assert record["status"] == "failed"
    assert json.loads(Path("checkpoints/a", RUN).read_text())["status"] == "failed"
    # It can be resumed, and then it has ended well.
    list(chargen.resume("a"))
    assert listed(capsys)["a"]["status"] == "done"


def test_a_run_without_a_score_is_listed(capsys):
    list(chargen.train("book.txt", run="a", **TINY))
    Path("checkpoints/a", MODEL).unlink()
    record = json.loads(Path("checkpoints/a", RUN).read_text())
    Path("checkpoints/a", RUN).write_text(json.dumps(record | {"status": "training"}))
    list(chargen.train("book.txt", run="b", **TINY))
    assert {name: value["status"] for name, value in listed(capsys).items()} == {
        "a": "killed", "b": "done",
    }  # fmt: skip
    Path("checkpoints/a", RUN).unlink()
    assert listed(capsys)["a"]["status"] == "killed"
    assert locate_model(None).parent.name == "b"  # there is nothing to write with in the other


def test_a_comparison_marks_what_it_takes_over():
    chosen = ["compare", "book.txt", "--steps", "4", "--run", "c", "--cells"]
    assert run([*chosen, "rnn"]) == 0
    marker = Path("checkpoints/c-rnn", COMPARISON)
    marker.write_text(json.dumps({"runs": ["c-rnn", "c-lstm"]}))  # one that never ended
    assert run([*chosen, "rnn,gru"]) == 0
    assert json.loads(marker.read_text()) == {"runs": ["c-rnn", "c-gru"]}
    assert locate_model(None).parent.name == "c-gru"


def test_a_folder_with_open_comparisons_alone_is_not_called_empty():
    list(chargen.train("book.txt", run="c-rnn", **TINY))
    Path("checkpoints/c-rnn", COMPARISON).write_text(json.dumps({"runs": ["c-rnn", "c-gru"]}))
    for locate in (locate_model, locate_run):
        with pytest.raises(ModelFileError, match=r"interrupted; name one of them: c-rnn$"):
            locate(None)


@pytest.mark.parametrize(
    ("name", "content"),
    [(MODEL, b"weights of somebody"), (RUN, b'{"status": "mine"}'), (METRICS, b'{"loss": 1}\n')],
)
def test_overwrite_replaces_runs_of_chargen_alone(name, content):
    Path("theirs").mkdir()
    Path("theirs", name).write_bytes(content)
    with pytest.raises(UsageError, match="holds files that chargen did not write"):
        list(chargen.train("book.txt", out="theirs", overwrite=True, **TINY))
    assert [path.name for path in Path("theirs").iterdir()] == [name]
    assert Path("theirs", name).read_bytes() == content


@pytest.mark.parametrize("kept", [MODEL, METRICS, RUN])
def test_overwrite_replaces_what_is_left_of_a_run(kept):
    list(chargen.train("book.txt", run="a", **TINY))
    for path in Path("checkpoints/a").iterdir():
        if path.name != kept:
            path.unlink()
    claim_folder(["x"], run="a", overwrite=True).close()
    events = list(chargen.train("book.txt", run="a", overwrite=True, **TINY))
    assert sum(isinstance(event, StepDone) for event in events) == 6
