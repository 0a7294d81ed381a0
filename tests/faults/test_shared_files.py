"""Files that people give to others: they tell no paths, and no path in them is opened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import chargen
from chargen.api import Model
from chargen.cli.main import run
from chargen.finetune_api import finetune
from chargen.model import runs
from chargen.model.checkpoint import load_model, save_model, without_paths
from chargen.model.runs import CHECKPOINTS, named_model
from chargen.own_corpus import training_text
from chargen.text.text_options import TextOptions
from tests.conftest import make_cycle_model, make_model
from tests.repl.conftest import Talk, talk  # noqa: F401 - a fixture

SECRET = "/home/person/secret/model.safetensors"
NAMES = {
    "bard": "bard",
    "/home/x/checkpoints/bard/model.safetensors": "bard",
    r"C:\Users\x\checkpoints\bard\model.safetensors": "bard",
    r"C:\models\bard.safetensors": "bard",
    "../../bard.safetensors": "bard",
    "model.safetensors": "model",
    r"\\host\share": "share",
    "": "",
    "/": "",
    "..": "",
    r"a\..": "a",
}


@pytest.mark.parametrize("path", NAMES)
def test_the_name_of_a_model_on_any_system(path):
    assert named_model(path) == NAMES[path]


def old_card() -> dict[str, object]:
    inner = {"base_path": SECRET, "corpus": [], "base": {"name": "a", "card": {"seed": 1}}}
    return {"base_path": SECRET, "base": {"name": "b", "card": inner}, "seed": 3}


def test_a_card_with_paths_is_read_shown_and_copied_without_them(tmp_path, capfd, monkeypatch):
    path = Path("old.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr("chargen.model.checkpoint.without_paths", dict)
        save_model(path, replace(make_model(), card=old_card()))
    assert SECRET.encode() in path.read_bytes()
    model = load_model(path)
    expected = {"base": {"name": "b", "card": {"corpus": [], "base": {"name": "a", "card":
                {"seed": 1}}}}, "seed": 3}  # fmt: skip
    assert model.card == expected
    assert run(["info", str(path), "--json"]) == 0
    assert SECRET not in capfd.readouterr().out
    save_model(Path("copy.safetensors"), replace(model, card=old_card()))
    assert SECRET.encode() not in Path("copy.safetensors").read_bytes()


@pytest.mark.parametrize("base", [None, 3, "x", [], {}, {"card": 3}, {"card": {"base": None}}])
def test_an_odd_card_stays_as_it_is(base):
    assert without_paths({"base": base}) == {"base": base}


def test_a_deep_card_is_cut_without_recursion():
    card: dict[str, object] = {}
    for _ in range(5000):
        card = {"base_path": SECRET, "base": {"card": card}}
    level = without_paths(card)
    while level:
        assert "base_path" not in level
        level = level["base"]["card"]


def test_a_fine_tuned_model_names_its_base_and_no_path(tmp_path):
    save_model(Path("base.safetensors"), make_model())
    Path("new.txt").write_text("abcd efgh\n" * 200)
    made = list(
        finetune(str(tmp_path / "base.safetensors"), str(tmp_path / "new.txt"), run="new",
                 steps=2, threads=1, batch_size=2, bptt=8)
    )  # fmt: skip
    assert made
    folder = CHECKPOINTS / "new"
    assert str(tmp_path).encode() not in (folder / "model.safetensors").read_bytes()
    assert load_model(folder / "model.safetensors").card["base"]["name"] == "base"
    record = json.loads((folder / "run.json").read_text())
    assert record["text"]["base_path"] == str(tmp_path / "base.safetensors")
    assert training_text(Model(make_model(), folder / "model.safetensors")) is None  # other card
    model = chargen.load(str(folder))
    assert training_text(model) is not None
    list(chargen.resume(str(folder), steps=3))
    assert str(tmp_path).encode() not in (folder / "model.safetensors").read_bytes()


def test_a_comparison_looks_only_at_runs_beside_it(monkeypatch):
    looked = []
    monkeypatch.setattr(runs, "read_run", lambda folder: looked.append(folder) or {})
    folder = CHECKPOINTS / "a"
    folder.mkdir(parents=True)
    for name in ("../../secret", "/etc", r"\\host\share", "b"):
        (folder / "comparison.json").write_text(json.dumps({"runs": [name]}))
        assert runs.is_of_open_comparison(folder)
    assert looked == [CHECKPOINTS / name for name in ("secret", "etc", "share", "b")]


def test_a_model_in_the_working_folder_has_the_name_of_that_folder(tmp_path, monkeypatch):
    folder = tmp_path / "bard"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert runs.run_name(Path("model.safetensors")) == "bard"


def forbid_opening(monkeypatch, talk: Talk) -> list[object]:  # noqa: F811
    opened: list[object] = []

    def load(name):
        opened.append(name)
        raise chargen.ModelFileError("no")

    monkeypatch.setattr("chargen.repl.record.load", load)
    monkeypatch.setattr("chargen.repl.commands.learn.load", load)
    return opened


@pytest.mark.parametrize(
    "path", [SECRET, r"\\host\share\model.safetensors", "../x.safetensors", "evil", "/dev/zero"]
)
def test_a_path_in_a_session_or_a_card_is_never_opened(path, talk, monkeypatch):  # noqa: F811
    talk("abc")
    talk("/save a")
    value = json.loads(Path("a.json").read_text())
    assert value["model"] == "cycle"
    assert str(Path.cwd()) not in Path("a.json").read_text()
    Path("a.json").write_text(json.dumps({**value, "model": path, "path": path, "weights": "0"}))
    opened = forbid_opening(monkeypatch, talk)
    assert "which is not here; /load that model first" in talk("/load a.json")
    talk.session.model.card.update(base_path=path, base={"name": path, "path": path})
    assert "name it: /ab MODEL" in talk("/ab")
    assert opened == []


def test_what_a_session_names_is_looked_for_among_the_runs(talk):  # noqa: F811
    talk("abc")
    talk("/save a")
    (CHECKPOINTS / "mine").mkdir(parents=True)
    save_model(CHECKPOINTS / "mine/model.safetensors", make_cycle_model())
    value = json.loads(Path("a.json").read_text())
    for name in ("mine", "/elsewhere/mine/model.safetensors", r"D:\mine\model.safetensors"):
        Path("a.json").write_text(json.dumps({**value, "model": name}))
        save_model(Path("other.safetensors"), make_model())
        other = Talk(Model(make_model(), Path("other.safetensors")))
        other("/load a.json")
        assert other.session.name == "mine"
        assert other.session.text() == "abcdefghijklm"
        other.session.model.card["base"] = {"name": name}
        assert other("/ab").startswith("both begin with: ")


def test_the_way_out_of_a_missing_model_works(talk):  # noqa: F811
    talk("abc")
    talk("/save a")
    Path("away").mkdir()
    Path("cycle.safetensors").rename("away/cycle.safetensors")
    save_model(Path("other.safetensors"), make_model())
    other = Talk(Model(make_model(), Path("other.safetensors")))
    assert "/load that model first" in other("/load a")
    other("/load away/cycle.safetensors")
    other("/load a")
    assert other.session.text() == "abcdefghijklm"


@pytest.mark.parametrize("name", ["hf:person/data", "//host/share/a.txt", r"\\host\share\a.txt"])
def test_no_other_machine_is_asked_for_a_text_that_a_run_names(name, monkeypatch):
    asked = []
    monkeypatch.setattr(TextOptions, "open", lambda self, names, watcher: asked.append(names))
    folder = CHECKPOINTS / "foreign"
    folder.mkdir(parents=True)
    card = {"corpus": [{"name": "a.txt", "bytes": 3, "sha256": "0"}]}
    save_model(folder / "model.safetensors", replace(make_model(), card=card))
    text = {"corpus": [name], "tokenizer": "char", "documents": "whole", "valid_fraction": 0.1}
    (folder / "run.json").write_text(json.dumps({"text": text}))
    assert training_text(chargen.load("foreign")) is None
    assert asked == []
