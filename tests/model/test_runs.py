"""Which file a name means, and which name a new run gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chargen.errors import ModelFileError, UsageError
from chargen.model.checkpoint import save_model
from chargen.model.claims import claim_folder
from chargen.model.runs import (
    check_run_name,
    clean_name,
    list_runs,
    locate_model,
    read_run,
)
from tests.conftest import make_model


@pytest.fixture
def two_runs():
    for number, name in enumerate(("bard", "austen")):
        folder = Path("checkpoints", name)
        folder.mkdir(parents=True)
        save_model(folder / "model.safetensors", make_model())
        os.utime(folder / "model.safetensors", (1_000_000 + number, 1_000_000 + number))


@pytest.mark.usefixtures("two_runs")
def test_a_model_is_found_by_name_folder_or_file():
    model = Path("checkpoints/bard/model.safetensors")
    assert (
        locate_model("bard")
        == locate_model("checkpoints/bard")
        == locate_model(str(model))
        == model
    )
    assert locate_model(None) == Path("checkpoints/austen/model.safetensors")
    assert [run.name for run in list_runs()] == ["austen", "bard"]
    with pytest.raises(ModelFileError, match="did you mean 'bard'"):
        locate_model("brad")
    with pytest.raises(ModelFileError, match="no such model file"):
        locate_model("elsewhere/model.safetensors")
    Path("bard").mkdir()
    assert locate_model("bard") == model, "a folder of that name that is no run is not meant"
    Path("checkpoints/broken").mkdir()
    with pytest.raises(ModelFileError, match=r"a folder without a run"):
        locate_model("broken")


def chosen(*arguments, **settings) -> Path:
    """The folder that a new run claims; the claim is given back at once."""
    claim = claim_folder(*arguments, **settings)
    claim.close()
    return claim.folder


@pytest.mark.usefixtures("two_runs")
def test_a_new_run_is_named_after_its_corpus_and_its_base():
    base = Path("checkpoints/bard/model.safetensors")
    names = {
        "novel.txt": "novel",
        "books/": "books",
        "x/a.b.txt": "a.b",
        "builtin:python-docs": "python-docs",
        "hf:some/stories": "stories",
        "-": "stdin",
    }
    for corpus, name in names.items():
        assert chosen([corpus]) == Path("checkpoints", name)
        assert chosen([corpus], base=base) == Path("checkpoints", f"bard-{name}")
        assert chosen([corpus], base=Path("v1.2.safetensors")).name == f"v1.2-{name}"
    assert chosen(["bard.txt"]) == Path("checkpoints/bard-2")
    assert chosen([]) == Path("checkpoints/python-docs")


@pytest.mark.usefixtures("two_runs")
def test_a_folder_that_holds_a_run_is_refused():
    assert chosen([], run="bard", out="elsewhere") == Path("elsewhere/bard")
    assert chosen([], out="elsewhere") == Path("elsewhere")
    for where in ({"run": "bard"}, {"out": "checkpoints/bard"}):
        with pytest.raises(UsageError, match=r"bard: holds a run.*; .*, or add overwrite=True"):
            chosen([], **where)
        assert chosen([], **where, overwrite=True) == Path("checkpoints/bard")
    with pytest.raises(UsageError, match="must name a folder"):
        chosen([], out="")


def test_without_runs_the_error_says_how_to_train_one(monkeypatch):
    monkeypatch.setattr("chargen.model.runs.base_path", lambda _: None)
    with pytest.raises(ModelFileError, match=r"chargen train corpus\.txt"):
        locate_model(None)
    with pytest.raises(ModelFileError, match="no run of that name"):
        locate_model("bard")


def test_names_of_runs_are_valid_folder_names():
    assert check_run_name("bard-2.b") == "bard-2.b"
    for name in ("", "a/b", "..", "a b", "-a", ".a", "a\x1b", "a" * 101, "a\n"):
        with pytest.raises(UsageError, match="--run"):
            check_run_name(name)
    assert clean_name("my novel!") == "my-novel"
    assert clean_name("...") == "run"


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", "[" * 100_000, '{"seconds": NaN}', '{"seconds": 1e999}']
)
def test_a_damaged_run_json_counts_as_missing(tmp_path, text):
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    assert read_run(tmp_path) == {}


def test_a_run_json_that_is_a_pipe_counts_as_missing(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    assert read_run(tmp_path) == {}
