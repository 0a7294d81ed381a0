"""Whatever a person gives is read alike: byte order marks, encodings, line ends."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from chargen.api import Model
from chargen.cli.main import run
from chargen.errors import CorpusError
from chargen.insight.properties import read_labels
from chargen.model.checkpoint import ModelFile, save_model
from chargen.model.config import ModelConfig
from chargen.repl.record import read_session, write_session
from chargen.repl.session import Session
from chargen.text.corpus import open_corpus
from chargen.text.reading import Reading
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
        ["gradients", "--corpus", "FILE", "--back", "2", "--json"],
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
    assert "bad:1: not UTF-8 (byte 0xEF)" in error
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


def test_labels_obey_the_encoding_and_have_lines_as_an_editor_counts_them():
    Path("l.tsv").write_bytes("0\t2\tété\n".encode("cp1252"))
    with pytest.raises(CorpusError, match=r"--labels l\.tsv:1: not UTF-8"):
        read_labels(Path("l.tsv"), tuple("abcdef"))
    assert list(read_labels(Path("l.tsv"), tuple("abcdef"), "cp1252")) == ["été"]
    Path("l.tsv").write_text("# a comment\u2028 of one line\n0\t2\tname\nwrong\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="line 3: write START"):
        read_labels(Path("l.tsv"), tuple("abcdef"))


def test_a_session_that_an_editor_gave_a_mark_is_loaded():
    session = Session(Model(make_model(characters="\n abcdefghé"), Path("m.safetensors")), 1)
    write_session(Path("s.json"), session)
    Path("s.json").write_bytes(b"\xef\xbb\xbf" + Path("s.json").read_bytes())
    read_session(Path("s.json"), session)


def test_a_comparison_reads_as_a_training_does(capsys):
    Path("t.csv").write_bytes("n;text\n1;déjà vu\n".encode("cp1252") * 400)
    arguments = ["compare", "t.csv", "--cells", "rnn,gru", "--steps", "3", "--hidden-size", "8",
                 "--batch-size", "2", "--bptt", "8", "--documents", "files"]  # fmt: skip
    assert run(arguments) == 3
    assert "not UTF-8" in capsys.readouterr().err
    assert run([*arguments, "--encoding", "cp1252", "--column", "text"]) == 0


def test_a_model_of_bytes_keeps_every_byte(capsys, monkeypatch):
    config = ModelConfig(vocab_size=256, cell="rnn", hidden_size=4, embedding_size=4)
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    file = ModelFile(config=config, tokenizer=ByteTokenizer().to_state(), weights=weights)
    save_model(Path("m.safetensors"), file)
    Path("raw").write_bytes(b"\xff\r\n\x00")
    grid = json.loads(output(capsys, monkeypatch, ["heatmap", "raw", "--json"]))
    assert len(grid["columns"]) == 4


def read(name, **reading):
    return list(open_corpus([name], reading=Reading(**reading)).pieces())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "gb18030"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", "ab\n"), ("a.csv", "text\nab\n"), ("a.jsonl", '{"text": "ab"}\n')],
)
def test_a_mark_is_no_text_where_the_encoding_is_named_too(encoding, name, content):
    Path(name).write_bytes(("\ufeff" + content).encode(encoding))
    column = None if name == "a.txt" else "text"
    assert "".join(read(name, encoding=encoding, column=column)).strip() == "ab"


def test_a_mark_inside_a_text_stays():
    Path("a.txt").write_bytes("\ufeffa\ufeffb".encode())
    assert read("a.txt", encoding="utf-8") == read("a.txt") == ["a\ufeffb"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_rows_of_json_are_read_by_their_mark(encoding):
    rows = ["cédé", "a\u2028b", "c\x85d"]
    text = "\r\n".join(json.dumps({"text": row}, ensure_ascii=False) for row in rows)
    Path("a.jsonl").write_bytes(text.encode(encoding))
    assert [piece for piece in read("a.jsonl", column="text") if piece != "\n"] == rows


@pytest.mark.parametrize("good", [1, 3, 70_000])
def test_a_row_of_json_in_another_encoding_is_told_with_its_line(good):
    row = '{"text": "naïve café, déjà vu"}\n'.encode("cp1252")
    Path("a.jsonl").write_bytes(b'{"text": "a"}\r\n' * good + row)
    with pytest.raises(
        CorpusError, match=rf"^a\.jsonl:{good + 1}: not UTF-8 \(byte 0xEF\): it may be cp1252"
    ):
        read("a.jsonl")
    assert "naïve café, déjà vu" in read("a.jsonl", encoding="cp1252")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_pipe_into_the_repl_is_read_so_too(capsys, monkeypatch, encoding):
    typed = "/set length 5\ncédé\n"
    expected = output(capsys, monkeypatch, ["repl"], b"/seed 1\n" + typed.encode())
    data = ("/seed 1\r\n" + typed.replace("\n", "\r\n")).encode(encoding)
    assert output(capsys, monkeypatch, ["repl"], data) == expected
    assert "length 5" in expected


def test_a_pipe_of_another_encoding_ends_the_repl_with_one_line(capsys, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO("déjà vu\n".encode("cp1252")), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run(["repl", "m.safetensors"]) == 3
    error = capsys.readouterr().err
    assert error.startswith("chargen: standard input:1: not UTF-8 (byte 0xE9)")
    assert error.count("\n") == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8"])
def test_a_text_that_is_cut_inside_a_character_is_not_taken_for_another(encoding):
    Path("a.txt").write_bytes("a text of words, 你好".encode(encoding)[:-1])
    with pytest.raises(CorpusError, match="it ends inside a character") as error:
        read("a.txt")
    assert "cp1252" not in str(error.value)


def test_a_closed_standard_input_is_one_line(monkeypatch, capsys):
    for stdin in (None, io.TextIOWrapper(io.BytesIO())):
        if stdin is not None:
            stdin.close()
        monkeypatch.setattr(sys, "stdin", stdin)
        assert run(["train", "-", "--run", "closed"]) == 2
        assert "standard input): it is closed" in capsys.readouterr().err
