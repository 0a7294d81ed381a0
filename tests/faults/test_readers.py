"""Whatever a person gives is read alike: byte order marks, encodings, line ends."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from chargen.cli.main import run
from chargen.insight.properties import read_labels
from chargen.model.checkpoint import ModelFile, save_model
from chargen.model.config import ModelConfig
from chargen.text.tokenizer import ByteTokenizer
from tests.conftest import make_model

TEXT = "ab\ncédé\nhgf\n"
CONTENTS = {
    "plain": (TEXT.encode(), ()),
    "mark": (b"\xef\xbb\xbf" + TEXT.encode(), ()),
    "CRLF": (TEXT.replace("\n", "\r\n").encode(), ()),
    "UTF-16": (TEXT.encode("utf-16"), ()),
    "UTF-32": (TEXT.encode("utf-32"), ()),
    "cp1252": (TEXT.encode("cp1252"), ("--encoding", "cp1252")),
}


@pytest.fixture(autouse=True)
def model():
    save_model(Path("m.safetensors"), make_model(characters="\n abcdefghé"))


def output(capsys, monkeypatch, arguments, stdin=b""):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
    capsys.readouterr()
    assert run([arguments[0], "m.safetensors", *arguments[1:]]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize(
    "command",
    [
        ["heatmap", "FILE", "--json"],
        ["heatmap", "-", "--json"],
        ["step", "-p", "-", "--json"],
        ["sample", "--prompt-file", "FILE", "--length", "9", "--seed", "1", "--json"],
        ["sample", "-p", "-", "--length", "9", "--seed", "1", "--json"],
        ["eval", "FILE", "--json"],
        ["surprise", "FILE", "--json"],
    ],
    ids=" ".join,
)
def test_every_command_reads_alike(capsys, monkeypatch, command, content):
    data, options = CONTENTS[content]
    expected_stdin = TEXT.encode()
    Path("text.txt").write_bytes(expected_stdin)
    words = ["text.txt" if word == "FILE" else word for word in command]
    expected = output(capsys, monkeypatch, words, expected_stdin)
    Path("text.txt").write_bytes(data)
    assert output(capsys, monkeypatch, [*words, *options], data) == expected


@pytest.mark.parametrize(
    "command",
    [["heatmap", "m.safetensors", "bad"], ["sample", "m.safetensors", "--prompt-file", "bad"]],
)
def test_other_encodings_are_told_as_for_a_corpus(capsys, command):
    Path("bad").write_bytes("naïve café, déjà vu\n".encode("cp1252") * 9)
    assert run(command) == 3
    error = capsys.readouterr().err
    assert "bad: not UTF-8 (byte 0xEF near offset 2)" in error
    assert "use --encoding " in error
    assert run([*command, "--encoding", "cp1252", "--json"]) == 0


def test_labels_are_read_so_too():
    table = "0\t2\tfirst\n3\t5\tother\n"
    for data in (table.encode(), table.replace("\n", "\r\n").encode("utf-16")):
        Path("l.tsv").write_bytes(data)
        labels = read_labels(Path("l.tsv"), tuple("abcdef"))
        assert {name: values.tolist() for name, values in labels.items()} == {
            "first": [1, 1, 0, 0, 0, 0],
            "other": [0, 0, 0, 1, 1, 0],
        }


def test_a_model_of_bytes_keeps_every_byte(capsys, monkeypatch):
    config = ModelConfig(vocab_size=256, cell="rnn", hidden_size=4, embedding_size=4)
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    file = ModelFile(config=config, tokenizer=ByteTokenizer().to_state(), weights=weights)
    save_model(Path("m.safetensors"), file)
    Path("raw").write_bytes(b"\xff\r\n\x00")
    grid = json.loads(output(capsys, monkeypatch, ["heatmap", "raw", "--json"]))
    assert len(grid["columns"]) == 4
