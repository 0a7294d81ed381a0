"""chargen sample --prompts: files of prompts, and the texts after them."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from chargen.api import Model
from chargen.cli import prompts
from chargen.cli.main import run
from chargen.inference import generate
from chargen.model.checkpoint import ModelFile, save_model
from chargen.model.config import ModelConfig
from chargen.text.tokenizer import ByteTokenizer
from tests.conftest import make_model

OPTIONS = ("-l", "9", "--seed", "4")


def texts(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def expected(model_path: Path, given: list[str], count: int = 1) -> list[tuple[str, int, str]]:
    model = Model(make_model())
    written = model.generate_many(given, count, length=9, seed=4)
    return [(text.prompt, text.number, text.text) for text in written]


def test_lines_of_a_file(cli, model_path):
    Path("p.txt").write_bytes(b"\xef\xbb\xbfabc\n\n  \n h\r\nabc")
    arguments = ("sample", model_path, "--prompts", "p.txt", *OPTIONS)
    code, out, err = cli(*arguments, "--json")
    assert (code, err) == (0, "p.txt: 2 blank lines skipped\n")
    rows = texts(out)
    values = [(row["prompt"], row["number"], row["text"]) for row in rows]
    assert values == expected(model_path, ["abc", " h", "abc"])
    assert list(rows[0]) == [
        *("prompt", "text", "tokens", "finish", "nats_per_token", "seed", "number")
    ]
    assert {(row["tokens"], row["finish"], row["seed"]) for row in rows} == {(9, "length", 4)}
    assert all(0 < row["nats_per_token"] < 10 for row in rows)
    _, single, _ = cli("sample", model_path, "-p", "abc", *OPTIONS)
    assert single == "abc" + rows[0]["text"]
    _, plain, _ = cli(*arguments)
    assert plain == "\n\n".join(row["prompt"] + row["text"] for row in rows)
    _, bare, _ = cli(*arguments, "--no-echo")
    assert bare == "\n\n".join(row["text"] for row in rows)


def test_several_texts_after_each_prompt(cli, model_path):
    Path("p.txt").write_text("abc\nh\n")
    code, out, _ = cli("sample", model_path, "--prompts", "p.txt", *OPTIONS, "-n", 3, "--json")
    assert code == 0
    values = [(row["prompt"], row["number"], row["text"]) for row in texts(out)]
    assert values == expected(model_path, ["abc", "h"], 3)
    assert [value[:2] for value in values] == [(p, n) for p in ("abc", "h") for n in range(3)]
    _, out, _ = cli("sample", model_path, "-p", "abc", *OPTIONS, "-n", 3, "--json")
    assert [row["text"] for row in texts(out)] == [text for _, _, text in values[:3]]


def test_other_keys_of_a_row_come_back(cli, model_path):
    rows = [
        {"prompt": "abc", "id": 7, "tags": ["x", {"y": None}]},
        "h\na",
        {"id": "ü", "prompt": "", "seed": "mine", "text": "mine"},
    ]
    lines = "".join(json.dumps(row) + "\n\n" for row in rows)
    Path("p.JSONL").write_text(lines, encoding="utf-8")
    code, out, err = cli("sample", model_path, "--prompts", "p.JSONL", *OPTIONS, "--json", "-n", 2)
    assert (code, err) == (0, "")
    written = texts(out)
    values = [(row["prompt"], row["number"], row["text"]) for row in written]
    assert values == expected(model_path, ["abc", "h\na", ""], 2)
    assert [(row.get("id"), row.get("tags"), row["seed"]) for row in written[::2]] == [
        (7, ["x", {"y": None}], 4), (None, None, 4), ("ü", None, 4)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ("", 2, "--prompts F: no prompt in it; give one a line"),
        ('{"prompt": "abc"', 3, "F:1: cannot be read as jsonl: the line is cut off"),
        ('"a"\n\n{"prompt": 3}\n', 3, "F:3: cannot be read as a prompt: give a string, or an"),
        ('"a"\n{"text": "b"}\n', 3, 'F:2: cannot be read as a prompt: give a string, or an object '
                                    'with the key "prompt"'),
        ('"a"\n[1]\n', 3, "F:2: cannot be read as a prompt"),
        ('"a"\nnull\n', 3, "F:2: cannot be read as a prompt"),
        ('"a"\n"b\n', 3, "F:2: cannot be read as jsonl"),
        (f'"a"\n{"[" * 99_999}\n', 3, "F:2: cannot be read as jsonl"),
    ],
)  # fmt: skip
def test_a_broken_row_is_named_after_the_texts_before_it(cli, model_path, content, code, message):
    Path("p.jsonl").write_text(content)
    ended, out, err = cli("sample", model_path, "--prompts", "p.jsonl", *OPTIONS, "--json")
    assert ended == code
    assert err.count("\n") == 1
    assert message.replace("F", "p.jsonl") in err
    before = ["a"] if content.startswith('"a"') else []
    assert [row["prompt"] for row in texts(out)] == before


@pytest.mark.parametrize(
    ("content", "options", "code", "message"),
    [
        (b"", [], 2, "--prompts p.txt: no prompt in it; give one a line"),
        (b"\n \n", [], 2, "--prompts p.txt: no prompt in it; give one a line"),
        (b"ab\nc\xe9d\n", [], 3, "p.txt:2: not UTF-8 (byte 0xE9)"),
        (b"ab\nc\0d\n", [], 3, "p.txt:2: binary, not text (a zero byte)"),
        (b"ab\n\xc3\xa4\n", ["--unknown", "error"], 2, "p.txt:2: "),
        (b"ab\n" + b"a" * 101, [], 3, "p.txt:2: longer than 100 bytes; give only its end"),
        (b"a", ["--encoding", "none"], 2, "--encoding none: not an encoding"),
    ],
)
def test_bad_files(cli, model_path, monkeypatch, content, options, code, message):
    monkeypatch.setattr(prompts, "_MAX_LINE_BYTES", 100)
    Path("p.txt").write_bytes(content)
    ended, _, err = cli("sample", model_path, "--prompts", "p.txt", *OPTIONS, *options)
    assert ended == code
    assert message in err.splitlines()[-1]


def test_unseen_characters_are_told_once(cli, model_path):
    Path("p.txt").write_text("abc\naé\nb\né\né\n", encoding="utf-8")
    code, out, err = cli("sample", model_path, "--prompts", "p.txt", *OPTIONS, "--json")
    assert code == 0
    assert err.splitlines() == [
        "p.txt:2: 1 of 2 characters unseen: é → e",
        "p.txt: unseen characters in 2 more prompts",
    ]
    assert [row["prompt"] for row in texts(out)] == ["abc", "aé", "b", "é", "é"]


def test_an_encoding_is_read_and_a_guess_is_told(cli, model_path):
    Path("p.txt").write_bytes("héä\nab\n".encode("latin-1"))
    arguments = ("sample", model_path, "--prompts", "p.txt", *OPTIONS, "--json", "-q")
    _, out, _ = cli(*arguments, "--encoding", "latin-1")
    assert [row["prompt"] for row in texts(out)] == ["héä", "ab"]
    Path("p.txt").write_text("abc\nh\n", encoding="utf-16")
    _, out, _ = cli(*arguments)
    assert [row["prompt"] for row in texts(out)] == ["abc", "h"]


def test_a_model_of_bytes_reads_lines_as_they_are(capfdbinary):
    config = ModelConfig(vocab_size=256, cell="gru", hidden_size=4, embedding_size=4)
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    weights["head.bias"][ord("z")] = 99
    file = ModelFile(config=config, tokenizer=ByteTokenizer().to_state(), weights=weights)
    save_model(Path("b.safetensors"), file)
    Path("p.bin").write_bytes(b"a\xff\0\nb\r\n")
    assert run(["sample", "b.safetensors", "--prompts", "p.bin", "-l", "2"]) == 0
    assert capfdbinary.readouterr().out == b"a\xff\0zz\n\nb\rzz"


def test_headings_on_a_terminal(cli, model_path, monkeypatch):
    monkeypatch.setattr("chargen.terminal.context.Terminal.shows_text", True)
    Path("p.txt").write_text("abc\nh\x1b[2J\n")
    _, out, _ = cli("sample", model_path, "--prompts", "p.txt", *OPTIONS, "--ascii")
    lines = out.split("\n")
    assert lines[0] == "-" * 20 + " 1"
    assert "-" * 20 + " 2" in lines
    assert "\x1b" not in out
    assert "h␛[2J" in out
    _, out, _ = cli("sample", model_path, "--prompts", "p.txt", *OPTIONS, "-n", 2)
    assert "─" * 20 + " 2, text 1 of 2" in out.split("\n")


def test_standard_input_is_read_only_where_a_dash_asks(model_path, monkeypatch, capfd):
    Path("p.txt").write_text("abc\nh\n")
    arguments = ["sample", str(model_path), *OPTIONS, "--prompts"]
    assert run([*arguments, "p.txt"]) == 0
    from_file = capfd.readouterr().out
    reading, writing = os.pipe()
    os.write(writing, b"abc\nh\n")
    with os.fdopen(reading) as stream, os.fdopen(writing, "wb") as writer:
        monkeypatch.setattr("sys.stdin", stream)
        assert run([*arguments, "p.txt"]) == 0
        assert capfd.readouterr() == (from_file, "")
        writer.close()
        waits = []
        monkeypatch.setattr(prompts, "wait_for_standard_input", waits.append)
        assert run([*arguments, "-"]) == 0
        assert capfd.readouterr() == (from_file, "")
        assert len(waits) == 1
    monkeypatch.setattr("sys.stdin", None)
    assert run([*arguments, "-"]) == 2
    assert "it is closed" in capfd.readouterr().err


def test_a_named_pipe_tells_that_it_waits(model_path, monkeypatch, capfd):
    os.mkfifo("pipe")
    told = []

    class Told:
        def __init__(self, terminal, text):
            told.append(text)
            self.writer = os.open("pipe", os.O_RDWR)  # another program opens it at last
            os.write(self.writer, b"abc\n")

        def __enter__(self):
            pass

        def __exit__(self, *error):
            os.close(self.writer)

    monkeypatch.setattr(prompts, "waiting_told", Told)
    assert run(["sample", str(model_path), "--prompts", "pipe", *OPTIONS]) == 0
    assert told == ["waiting for pipe; it is a pipe, and another program must write it"]
    assert capfd.readouterr().out.startswith("abc")


def test_a_long_pipe_is_read_as_it_is_needed(model_path, monkeypatch, capfd):
    """Each text is out before many more lines are asked for; no row of the file is kept."""
    monkeypatch.setattr(generate, "TEXTS_PER_BATCH", 3)
    kept = []
    made = prompts.Prompts.__init__

    def note(self, *arguments, **options):
        made(self, *arguments, **options)
        kept.append(self)

    monkeypatch.setattr(prompts.Prompts, "__init__", note)
    written = 0

    class Lines(io.RawIOBase):
        asked = 0

        def readline(self, limit=-1):
            nonlocal written
            written += capfd.readouterr().out.count("\n")
            assert self.asked - written <= 3
            assert len(kept[0].others) <= 3
            self.asked += 1
            return b"abc\n" if self.asked <= 50 else b""

    lines = Lines()
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": lines}))
    arguments = ["sample", str(model_path), "--prompts", "-", "--json", *OPTIONS]
    assert run(arguments) == 0
    assert (lines.asked, written + capfd.readouterr().out.count("\n")) == (51, 50)


def test_the_help_tells_of_prompts(cli):
    _, out, _ = cli("sample", "--help")
    assert "chargen sample bard --prompts openings.txt --json" in out
