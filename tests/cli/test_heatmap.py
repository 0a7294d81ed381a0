"""chargen heatmap: pictures of a file, without a REPL."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from chargen.api import Model
from chargen.model.checkpoint import save_model
from tests.conftest import make_cycle_model, make_model


@pytest.fixture
def cycle() -> str:
    save_model(Path("cycle.safetensors"), make_cycle_model())
    Path("text.txt").write_text("abc\nabcde", encoding="utf-8")
    return "cycle.safetensors"


def test_a_picture_of_a_file(cli, cycle):
    code, out, err = cli("heatmap", cycle, "text.txt", "--order", "index", "--rows", "3")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "2 █▒▒▒█▒▒▒▒",
        "3 ▒█▒▒▒█▒▒▒",
        "4 ▒▒█▒▒▒█▒▒",
        "  abc⏎abcde",
        "-1.0    ░░░▒▒▒▒▓▓▓███ +1.0  activation: hidden state, layer 1, 3 of 28 units",
    ]


def test_the_text_on_the_command_line_and_on_standard_input(cli, cycle, monkeypatch):
    import io

    _, typed, _ = cli("heatmap", cycle, "-p", "abc")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abc")))
    _, piped, _ = cli("heatmap", cycle, "-")
    assert typed == piped
    assert typed.splitlines()[-2].endswith(" abc")


def test_values_as_json_are_those_of_the_model(cli):
    file = make_model("gru", 2)
    save_model(Path("m.safetensors"), file)
    text = "abc dab"
    code, out, _ = cli(
        "heatmap", "m.safetensors", "-p", text, "--json", "--view", "reset", "--layer", "2",
        "--order", "index",
    )  # fmt: skip
    value = json.loads(out)
    trace = Model(file).trace(text)
    assert code == 0
    np.testing.assert_allclose(value["values"], trace.gates[:, 1, 0].T, atol=1e-6)
    assert "".join(value["columns"]) == text
    assert value["rows"] == [str(unit) for unit in range(12)]


def test_numbers_that_json_does_not_have_are_null(cli, cycle):
    code, out, _ = cli("heatmap", cycle, "-p", "abc", "--json", "--view", "surprise")
    (bits,) = json.loads(out)["values"]
    assert code == 0
    assert "NaN" not in out
    assert bits[0] is None, "nothing predicts the first token"
    assert all(isinstance(number, float) for number in bits[1:])


def test_the_end_of_a_long_text_is_read_in_its_context(cli):
    file = make_model("lstm", 1)
    save_model(Path("m.safetensors"), file)
    text = "abcdefgh " * 40
    Path("long.txt").write_text(text)
    _, out, _ = cli("heatmap", "m.safetensors", "long.txt", "--json", "--length", "5",
                    "--order", "index")  # fmt: skip
    trace = Model(file).trace(text)
    np.testing.assert_allclose(json.loads(out)["values"], trace.states[-5:, 0, 0].T, atol=1e-4)


@pytest.mark.parametrize("view", ["hidden", "forget", "gates", "unit", "surprise", "predict"])
def test_exports_of_every_kind_of_view(cli, cycle, view):
    for name in ("a.svg", "a.html"):
        code, out, err = cli("heatmap", cycle, "text.txt", "--view", view, "--export", name)
        assert (code, out, err) == (0, "", f"written to {name}\n")
    assert ElementTree.parse("a.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["text.txt", "--export", "a.gif"], 2, "--export a.gif: must end with one of .svg"),
        (["nowhere.txt"], 3, "nowhere.txt: cannot be read (No such file or directory)"),
        (["-p", ""], 3, "the text is empty"),
        (["text.txt", "--view", "reset"], 2, "view 'reset': LSTM has no such thing"),
        (["text.txt", "--view", "hiden"], 2, "did you mean 'hidden'"),
        (["text.txt", "--layer", "2"], 2, "layer 2: the model has one layer"),
        (["text.txt", "--unit", "L1:2"], 2, "--unit L1:2: is for --view unit"),
        (["text.txt", "--view", "unit", "--unit", "L1:99"], 2, "units 0 to 27"),
        (["text.txt", "--length", "0"], 2, "--length 0: must be from 1 to 20,000"),
        (["text.txt", "--rows", "0"], 2, "--rows 0: must be at least 1"),
        (["text.txt", "-p", "x"], 2, "give one MODEL, and one FILE or -p TEXT"),
        (["text.txt", "--export", "no/a.svg"], 1, "no/a.svg: cannot be written"),
    ],
)
def test_what_cannot_be_shown_is_one_line(cli, cycle, arguments, code, message):
    exit_code, out, err = cli("heatmap", cycle, *arguments)
    assert (exit_code, out) == (code, "")
    assert message in err
    assert len(err.splitlines()) == 1
