"""The commands that look inside a model: each one on every cell, as text, JSON and files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from chargen.api import Model
from chargen.insight.surprise import measure_surprise
from chargen.model.checkpoint import save_model
from tests.conftest import CELLS, make_cycle_model, make_model

TEXT = "abc dab\nhead (bead) deed\n" * 24


@pytest.fixture(params=CELLS)
def model(request) -> Model:
    file = make_model(request.param, 2, characters="\n ()abcdefgh")
    save_model(Path("m.safetensors"), file)
    Path("text.txt").write_text(TEXT, encoding="utf-8", newline="\n")
    return Model(file, Path("m.safetensors"))


@pytest.fixture
def cycle() -> str:
    save_model(Path("cycle.safetensors"), make_cycle_model())
    Path("text.txt").write_text("abcdefg\nab", encoding="utf-8", newline="\n")
    return "cycle.safetensors"


COMMANDS = {
    "gradients": ("m.safetensors", "--corpus", "text.txt", "--back", "20"),
    "horizon": ("m.safetensors", "text.txt"),
    "saturation": ("m.safetensors", "text.txt"),
    "units": ("m.safetensors", "text.txt", "--ablate"),
    "why": ("m.safetensors", "text.txt", "--at", "30"),
    "surprise": ("m.safetensors", "text.txt"),
    "step": ("m.safetensors", "-p", "abc dab"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_display_in_every_form(cli, model, name):
    code, out, err = cli(name, *COMMANDS[name])
    assert code == 0, err
    assert out.endswith("\n")
    assert "\x1b" not in out
    code, out, _ = cli(name, *COMMANDS[name], "--json")
    assert code == 0
    assert all(isinstance(json.loads(line), dict) for line in out.splitlines())
    for target in ("a.svg", "a.html"):
        code, out, err = cli(name, *COMMANDS[name], "--export", target)
        assert code == 0
        if name != "units":  # if no unit follows a property, there is no picture
            assert f"written to {target}" in err
            assert "<svg" in Path(target).read_text() or "<table" in Path(target).read_text() or (
                "<script>" in Path(target).read_text()
            )  # fmt: skip
    if Path("a.svg").exists():
        ElementTree.parse("a.svg")


def test_surprise_writes_positions_as_compilers_do(cli, cycle):
    Path("text.txt").write_text("abcd\nxyz", encoding="utf-8", newline="\n")
    code, out, err = cli("surprise", cycle, "text.txt", "--top", "2")
    assert (code, err) == (0, "")
    first = out.splitlines()[0]
    assert first.startswith("text.txt:1:5: ")
    assert first.endswith("bits for '⏎' after 'abcd', expected 'e' (77%)")
    model = Model(make_cycle_model())
    surprise = measure_surprise(model.stepper, model.encode("abcd\nxyz"))
    code, out, _ = cli("surprise", cycle, "text.txt", "--json", "--top", "100")
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 7
    assert rows[0]["bits"] == pytest.approx(float(np.nanmax(surprise.bits)))
    assert (rows[0]["line"], rows[0]["column"], rows[0]["expected"]) == (1, 5, "e")


def test_surprise_is_a_linter(cli, cycle):
    assert cli("surprise", cycle, "text.txt", "--max-bits", "100")[:2] == (0, "")
    Path("text.txt").write_text("abd\nabcx\n", encoding="utf-8", newline="\n")
    code, out, _ = cli("surprise", cycle, "text.txt", "--max-bits", "3")
    positions = [line.split(": ")[0] for line in out.splitlines()]
    assert code == 4
    assert positions == sorted(positions)
    assert positions[0] == "text.txt:1:4"
    assert "text.txt:2:4" in positions


def test_surprise_of_standard_input_and_of_hostile_names(cli, cycle, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abcxyz")))
    code, out, _ = cli("surprise", cycle, "-", "--top", "1")
    assert (code, out.split(": ")[0]) == (0, "-:1:4")
    name = "e\x1b[2Jvil.txt"
    Path(name).write_text("abcxyz")
    _, out, _ = cli("surprise", cycle, name, "--top", "1")
    assert out.startswith("e␛[2Jvil.txt:1:4")


def test_why_by_number_by_line_and_column_and_in_three_ways(cli, cycle):
    for at in ("5", "1:5"):
        code, out, err = cli("why", cycle, "text.txt", "--at", at)
        assert code == 0
        assert "'e' had a probability of 77.2%" in out
        assert "likeliest there: 'e' 77.2%, 'f' 22.8%" in out
    assert "the training text is not on this machine" in err
    for way in ("input", "gradient", "omission"):
        code, out, _ = cli("why", cycle, "text.txt", "--at", "5", "--by", way, "--json")
        value = json.loads(out)
        assert (value["position"], value["token"], value["by"]) == (5, "e", way)
        assert len(value["values"]) == len(value["tokens"]) == 4
        assert int(np.abs(value["values"]).argmax()) == 3  # it sees the last character alone


def test_a_step_as_numbers(cli, cycle):
    code, out, _ = cli("step", cycle, "-p", "abc", "--at", "2", "--json")
    value = json.loads(out)
    assert (code, value["token"], value["position"]) == (0, "b", 2)
    assert [line["name"] for line in value["layers"][0]][1] == "forget gate"
    assert value["predictions"][0]["token"] == "c"
    code, out, _ = cli("step", cycle, "-p", "abc", "--at", "2")
    assert out.splitlines()[:2] == ["step 2 of 3", "a[b]c"]
    assert "the next token of the text had 77.2%" in out


def test_units_are_named_beside_the_model_and_known_by_name(cli):
    file = make_cycle_model()
    save_model(Path("c.safetensors"), file)
    letters = np.random.default_rng(0).choice(list("abcdefghijklm nop"), 4000)
    Path("text.txt").write_text("".join(letters), encoding="utf-8")
    # Its own label: the letter m, for which this model has a unit of its own.
    spans = [(start, start + 1) for start in np.flatnonzero(letters == "m")]
    Path("l.tsv").write_text("".join(f"{start}\t{end}\tem\n" for start, end in spans))
    command = ("units", "c.safetensors", "text.txt", "--labels", "l.tsv")
    code, out, err = cli(*command, "--ablate")
    assert code == 0
    assert "named in c.units.json" in err
    line = next(row for row in out.splitlines() if row.startswith("em "))
    assert "L1:14, AUC 1.00, p" in line or "L1:14.cell, AUC 1.00" in line
    assert "bits a token" in line
    assert "digit            too rare in this text" in out
    _, out, _ = cli(*command, "--json")
    rows = {row["property"]: row for row in map(json.loads, out.splitlines())}
    assert rows["em"]["score"] == 1.0
    assert rows["em"]["unit"].split(".")[0] == f"L1:{14}"


def test_gradients_of_several_models_and_during_training(cli, prose):
    for cell in ("rnn", "gru"):
        save_model(Path(f"{cell}.safetensors"), make_model(cell))
    Path("text.txt").write_text(prose[:6000], encoding="utf-8")
    code, out, _ = cli("gradients", "rnn.safetensors", "gru.safetensors", "--corpus", "text.txt",
                       "--back", "10", "--json")  # fmt: skip
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["model"] for row in rows] == ["rnn.safetensors", "gru.safetensors"]
    assert all(len(row["state"]) == len(row["input"]) == 11 for row in rows)
    code, out, err = cli("gradients", "--corpus", "text.txt", "--every", "4", "--steps", "8",
                         "--cell", "gru", "--back", "8")  # fmt: skip
    assert code == 0, err
    assert "step 4: " in err
    assert "step 8: " in out
    assert Path("checkpoints/text/model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("gradients", "cycle.safetensors"), 2, "give --corpus FILE"),
        (("gradients", "cycle.safetensors", "--corpus", "short"), 3, "2 tokens; give at least 4"),
        (("gradients", "cycle.safetensors", "--back", "0"), 2, "--back 0: must be from 1"),
        (("gradients", "--every", "5"), 2, "--every trains a new model"),
        (("gradients", "--every", "5", "x", "--corpus", "y"), 2, "--every trains a new model"),
        (("gradients", "--every", "9", "--steps", "5", "--corpus", "y"), 2, "--every 9: must be"),
        (("gradients", "--cell", "gru"), 2, "--steps and --cell are for --every"),
        (("horizon", "cycle.safetensors"), 2, "name the FILE to read"),
        (("horizon", "cycle.safetensors", "short"), 3, "short: 2 tokens; give at least 16"),
        (("horizon", "cycle.safetensors", "text.txt", "--longest", "1"), 2, "--longest 1: must"),
        (("saturation", "cycle.safetensors", "none"), 3, "none"),
        (("saturation", "a", "b", "c"), 2, "give one MODEL and one FILE"),
        (("units", "cycle.safetensors", "text.txt"), 3, "10 tokens; give at least 400"),
        (("why", "cycle.safetensors", "text.txt", "--at", "1"), 2, "--at 1: must be from 2"),
        (("why", "cycle.safetensors", "text.txt", "--at", "99"), 2, "--at 99: must be from 2 to"),
        (("why", "cycle.safetensors", "text.txt", "--at", "1:99"), 2, "line 1 has columns 1 to 8"),
        (("why", "cycle.safetensors", "text.txt", "--at", "9:1"), 2, "the text has lines 1 to 2"),
        (("why", "cycle.safetensors", "text.txt", "--at", "x"), 2, "--at 'x': write a token's"),
        (("why", "cycle.safetensors", "text.txt", "--by", "magic"), 2, "unknown way to ask why"),
        (("why", "cycle.safetensors", "text.txt", "--at", ":5"), 2, "--at ':5': write a token's"),
        (("why", "cycle.safetensors", "text.txt", "--at", "5:"), 2, "--at '5:': write a token's"),
        (("why", "cycle.safetensors"), 2, "cycle.safetensors: name the FILE to read"),
        (("surprise", "cycle.safetensors"), 2, "name the FILE to read"),
        (("surprise", "cycle.safetensors", "one"), 3, "nothing predicts a single token"),
        (
            ("horizon", "cycle.safetensors", "text.txt", "--export", "no/a.svg"),
            1,
            "no/a.svg: cannot be written",
        ),
        (("why", "cycle.safetensors", "one"), 3, "a single token has nothing before it"),
        (("surprise", "cycle.safetensors", "empty"), 3, "empty"),
        (("surprise", "cycle.safetensors", "text.txt", "--top", "-1"), 2, "--top -1: must"),
        (("surprise", "cycle.safetensors", "text.txt", "--max-bits", "nan"), 2, "--max-bits nan"),
        (("surprise", "cycle.safetensors", "text.txt", "--export", "a.gif"), 2, "--export a.gif"),
        (("step", "cycle.safetensors", "-p", ""), 3, "the text is empty"),
        (("step", "cycle.safetensors", "-p", "abc", "--at", "4"), 2, "--at 4: the text has tokens"),
        (("step", "cycle.safetensors", "-p", "abc", "--layer", "2"), 2, "--layer 2: the model has"),
        (("step", "cycle.safetensors", "-p", "a" * 4001), 3, "4,001 tokens are too many"),
        (("step", "none.safetensors", "-p", "abc"), 3, "no such model file"),
    ],
)
def test_what_cannot_be_shown_is_one_line(cli, cycle, arguments, code, message):
    Path("short").write_text("ab")
    Path("one").write_text("a")
    Path("empty").write_text("")
    exit_code, out, err = cli(*arguments)
    assert (exit_code, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_damaged_model_is_one_line(cli, cycle):
    data = bytearray(Path(cycle).read_bytes())
    data[-40] ^= 255
    Path("bad.safetensors").write_bytes(bytes(data))
    for name, rest in {"horizon": "text.txt", "units": "text.txt", "why": "text.txt"}.items():
        code, _, err = cli(name, "bad.safetensors", rest)
        assert (code, err.count("\n")) == (3, 1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # as the command line does for itself
def test_numbers_that_overflow_are_no_traceback(cli):
    file = make_model("rnn-relu", 1)
    for name in file.weights:
        file.weights[name] *= 1e6
    save_model(Path("m.safetensors"), file)
    Path("text.txt").write_text(TEXT)
    for name, arguments in COMMANDS.items():
        code, _, err = cli(name, *arguments)
        assert code in (0, 1), f"{name}: {err}"
        assert "internal error" not in err
