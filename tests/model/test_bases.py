"""The models in the box: found from everywhere, whole, small, and never taken for runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import chargen
from chargen.errors import ModelFileError, UsageError
from chargen.model import bases
from chargen.model.bases import BASES, base_path, is_base
from chargen.model.checkpoint import load_model, save_model
from chargen.model.claims import claim_folder
from chargen.model.runs import list_runs, locate_model
from tests.conftest import make_model

LIMITS = {"english": 8_000_000, "python": 4_000_000, "tiny": 400_000}


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A box of its own: a folder in which models can be put."""
    folder = tmp_path / "box"
    folder.mkdir()
    monkeypatch.setattr(bases, "bases_folder", lambda: folder)
    return folder


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", BASES)
def test_each_model_is_small_and_says_what_it_is(name):
    path = base_path(name)
    assert path is not None
    assert path.stat().st_size <= LIMITS[name]
    model = load_model(path)
    assert model.dtype == "int8"
    assert {"reads", "judged by", "good for", "not good for"} <= model.card["about"].keys()
    assert model.card["validation"]["bits_per_byte"] < 1.8
    assert "/tmp" not in str(model.card)


def test_a_model_in_the_box_is_found_by_its_name_from_any_folder(empty):
    assert locate_model("tiny") == base_path("tiny")
    assert locate_model(None) == base_path("english")
    assert list_runs() == []


def test_a_run_of_the_same_name_wins_and_the_newest_run_is_meant_without_a_name(empty):
    run = empty / "checkpoints" / "tiny" / "model.safetensors"
    run.parent.mkdir(parents=True)
    save_model(run, make_model())
    assert locate_model("tiny").resolve() == run
    assert locate_model(None).resolve() == run
    assert not is_base(run)


def test_in_a_checkout_the_models_in_the_box_are_no_runs(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert not {run.name for run in list_runs()} & BASES.keys()
    with pytest.raises(UsageError, match="checkpoints/english: this is a model in the box"):
        claim_folder(["novel.txt"], run="english", overwrite=True)
    assert base_path("english") is not None


def test_a_damaged_model_in_the_box_is_one_line_with_a_way_out(box, empty):
    path = box / "english" / "model.safetensors"
    path.parent.mkdir()
    shutil.copyfile(bases.Path(__file__), path)
    with pytest.raises(ModelFileError, match="install chargen again, or name a run") as caught:
        chargen.load()
    assert "\n" not in str(caught.value)


def test_a_missing_model_in_the_box_is_named_and_nothing_else_needs_it(box, empty):
    with pytest.raises(ModelFileError, match="english: this model is not in this installation"):
        chargen.load("english")
    with pytest.raises(ModelFileError, match="no run in checkpoints/ yet"):
        chargen.load()
    Path("novel.txt").write_text("A quiet day by the sea. " * 90, encoding="utf-8")
    with pytest.raises(ModelFileError, match="no model is in the box of this installation"):
        list(chargen.finetune(None, "novel.txt", steps=1))
    last = [*chargen.train("novel.txt", steps=2, hidden_size=8, memory=False)][-1]
    assert isinstance(last, chargen.Finished)
