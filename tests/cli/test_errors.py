"""Bad input: one clear line on stderr, the right exit code, and nothing lost."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from chargen.cli.main import run
from chargen.model.checkpoint import save_model
from tests.conftest import make_model


@pytest.fixture
def fails(capfd):
    """Run a command that fails: (exit code, the one line)."""

    def call(*arguments: object) -> tuple[int, str]:
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("chargen: "), err
        assert err.count("\n") == 1, err
        return int(code), err

    return call


def write(name: str, data: bytes | str) -> str:
    Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return name


CORPORA = {
    "missing": (None, "no such file"),
    "empty": ("", "empty"),
    "one character": ("a", "1 distinct character"),
    "one character many times": ("a" * 5000, "1 distinct character"),
    "a few characters": ("hello world\n", "only 12 tokens"),
    "binary": (b"\x7fELF\0\0\0" * 99, "no text: it is a program"),
    "latin-1": ("Größe, Straße, Übel\n".encode("latin-1") * 99, "--encoding"),
    "utf-16 without a mark": ("text\n".encode("utf-16-le") * 99, "--encoding"),
}


@pytest.mark.parametrize(("content", "message"), CORPORA.values(), ids=list(CORPORA))
@pytest.mark.parametrize("command", ["train", "eval"])
def test_bad_corpora(fails, model_path, content, message, command):
    name = "a.txt" if content is None else write("a.txt", content)
    if command == "train":
        code, line = fails("train", name, "--steps", "2")
    elif content in ("a" * 5000, "hello world\n"):
        pytest.skip("short texts can be scored")
    else:
        code, line = fails("eval", model_path, name)
        message = message.replace("1 distinct character", "1 token")
    assert code == 3
    assert message in line
    assert not Path("checkpoints").exists()


def test_short_corpora_train_with_a_smaller_window(capfd):
    write("a.txt", "The quick brown fox jumps over the lazy dog.\n")
    assert run(["train", "a.txt", "--steps", "3", "--hidden-size", "8"]) == 0
    err = capfd.readouterr().err
    assert "window of 39 tokens instead of 48: the corpus is that short" in err
    assert "the validation part has only 5 tokens: its score says little" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "lsmt"], "did you mean 'lstm'"),
        (["--tokenizer", "chars"], "did you mean 'char'"),
        (["--valid-fraction", "0.001"], "validation part has 1 of"),
        (["--valid-fraction", "1"], "valid-fraction 1.0"),
        (["--valid", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--run", "a/b"], "--run 'a/b'"),
        (["--hidden-size", "0"], "hidden-size 0"),
        (["--minutes", "0"], "minutes 0"),
        (["--minutes", "1", "--epochs", "2"], "give one of them"),
        (["--learning-rate", "nan"], "learning-rate nan"),
        (["--vocab-size", "500"], "has no effect on the char tokenizer"),
        (["--tokenizer", "subword", "--vocab-size", "9"], "--vocab-size 9: must be from 320"),
        (["--encoding", "utf-9"], "--encoding utf-9"),
        (["--device", "cuda"], "--device cuda"),
        (["--lines"], "No such option"),
        (["--steps", "many"], "Invalid value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_of_train(fails, arguments, message, prose, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    write("a.txt", prose[:1000])
    code, line = fails("train", "a.txt", *arguments)
    assert code in (1, 2, 3)
    assert message in line
    assert not list(Path().glob("checkpoints/*/model.safetensors"))


def test_unknown_names(fails):
    assert fails("trian")[0] == 2
    assert "did you mean 'train'" in fails("trian")[1]
    code, line = fails("train", "builtin:pyhton-docs")
    assert (code, "did you mean 'python-docs'" in line) == (3, True)
    code, line = fails("sample", "nobody")
    assert (code, "no run of that name" in line) == (3, True)


def test_an_existing_run_is_kept_unless_told(fails, capfd, prose):
    write("a.txt", prose[:2000])
    quick = ["--steps", "3", "--hidden-size", "8", "--run", "a"]
    assert run(["train", "a.txt", *quick]) == 0
    capfd.readouterr()
    before = Path("checkpoints/a/model.safetensors").read_bytes()
    code, line = fails("train", "a.txt", *quick)
    assert code == 2
    assert "--overwrite" in line
    # A new run that fails before it has a model leaves the old one.
    assert fails("train", "missing.txt", *quick, "--overwrite")[0] == 3
    assert fails("train", "a.txt", *quick, "--overwrite", "--layers", "0")[0] == 2
    assert Path("checkpoints/a/model.safetensors").read_bytes() == before
    assert run(["train", "a.txt", *quick, "--overwrite", "--seed", "5"]) == 0
    assert Path("checkpoints/a/model.safetensors").read_bytes() != before


def test_an_output_folder_that_cannot_be_written(fails, prose):
    write("a.txt", prose[:2000])
    write("file", "in the way")
    code, line = fails("train", "a.txt", "--out", "file/run", "--steps", "2")
    assert code == 2
    assert "cannot write there" in line
    assert Path("file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--length", "0"], "length 0: must be at least 1"),
        (["--temperature", "-0.5"], "temperature -0.5"),
        (["--temperature", "nan"], "temperature nan"),
        (["--top-k", "-1"], "top-k -1"),
        (["--top-p", "0"], "top-p 0"),
        (["--min-p", "1.5"], "min-p 1.5"),
        (["--stop", ""], "stop ''"),
        (["--seed", "-1"], "seed -1"),
        (["-n", "0"], "--count 0"),
        (["--prompt-file", "missing"], "--prompt-file missing"),
        (["--prompt-file", "/dev/zero"], "--prompt-file /dev/zero: not a file"),
        (["-p", "a", "--prompt-file", "b"], "give one of them"),
        (["-p", "a", "--prompts", "b"], "--prompt and --prompts: give one of them"),
        (["--prompts", "a", "--prompt-file", "-"], "--prompt-file and --prompts: give one of"),
        (["--prompts", "missing"], "--prompts missing: cannot be read"),
        (["--prompts", "/dev/null"], "--prompts /dev/null: not a file"),
        (["--prompts", "."], "--prompts .: not a file"),
        (["--prompts", ""], "--prompts '': not a file"),
        (["--prompts", "cache/kernels"], "--prompts cache/kernels: not a file"),
        (["--unknown", "maybe"], "Invalid value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_of_sample(fails, model_path, arguments, message):
    code, line = fails("sample", model_path, *arguments)
    assert code == 2
    assert message in line


def test_greedy_is_no_error(model_path, capfd):
    texts = []
    for seed in "12":
        arguments = ["--temperature", "0", "--length", "20", "--seed", seed]
        assert run(["sample", str(model_path), *arguments]) == 0
        texts.append(capfd.readouterr().out)
    assert texts[0] == texts[1]
    assert len(texts[0]) == 20


@pytest.mark.parametrize("command", [["info"], ["sample"], ["eval"]])
def test_damaged_models_exit_3(fails, model_path, command):
    write("a.txt", "abc")
    data = model_path.read_bytes()
    for name, damaged in {
        "truncated": data[:-9],
        "garbage": bytes(range(256)) * 9,
        "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0}.",
        "header of gigabytes": b"\xff\xff\xff\xff\0\0\0\0" + data[8:],
    }.items():
        write("damaged.safetensors", damaged)
        code, line = fails(
            *command, "damaged.safetensors", *(["a.txt"] if "eval" in command else [])
        )
        assert code == 3, name
        assert line.startswith("chargen: damaged.safetensors: "), line


def test_internal_errors_are_one_line_and_debug_shows_them(fails, capfd, monkeypatch):
    def broken(*_):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("chargen.model.runs.list_runs", broken)
    code, line = fails("runs")
    assert code == 1
    assert "internal error: RuntimeError: first second" in line
    assert run(["runs", "--debug"]) == 1
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1] == line.strip()


def test_names_cannot_reach_the_terminal_raw(fails):
    code, line = fails("train", "evil\x1b]0;owned\x07\u202e.txt")
    assert code == 3
    assert "\x1b" not in line
    assert "\u202e" not in line
    assert "evil␛]0;owned␇⟨U+202E⟩.txt" in line


def test_failing_to_overwrite_leaves_the_whole_old_run(fails, capfd, prose, monkeypatch):
    write("a.txt", prose[:3000])
    quick = ["--hidden-size", "8", "--run", "a"]
    assert run(["train", "a.txt", "--steps", "30", *quick]) == 0
    capfd.readouterr()
    before = {path.name: path.read_bytes() for path in Path("checkpoints/a").iterdir()}
    # Only for this module: libraries need the real one.
    patched = SimpleNamespace(**{**vars(math), "isfinite": lambda _: False})
    monkeypatch.setattr("chargen.training.recovery.math", patched)
    code, line = fails("train", "a.txt", *quick, "--overwrite", "--steps", "9", "--quiet")
    assert (code, "step 1: the loss was" in line) == (1, True)
    assert before == {path.name: path.read_bytes() for path in Path("checkpoints/a").iterdir()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--threads", "100000000"],
        ["--seed", "18446744073709551616"],
        ["--batch-size", "1000000000000"],
        ["--steps", "99999999999999999999"],
        ["--weight-decay", "nan"],
        ["--out", ""],
        ["--out", "x" * 300],
        ["--valid", "-"],
    ],
    ids=" ".join,
)
def test_values_beyond_all_reason(fails, arguments, prose):
    write("a.txt", prose[:2000])
    corpus = "-" if "-" in arguments else "a.txt"
    assert fails("train", corpus, "--hidden-size", "8", *arguments)[0] == 2


def test_not_enough_memory_is_one_line(fails, prose, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("chargen.training.session.RecurrentLM", full)
    write("a.txt", prose[:2000])
    code, line = fails("train", "a.txt", "--steps", "2")
    assert code == 1
    assert "not enough memory" in line
    assert not Path("checkpoints/a").exists(), "no empty folder is left"


def test_names_that_are_no_utf8(capfd, prose):
    name = os.fsdecode(b"l\xe9.txt")
    Path(name).write_text(prose[:2000], encoding="utf-8")
    assert run(["train", name, "--steps", "2", "--hidden-size", "8", "--run", "a"]) == 0
    assert run(["info", "a"]) == 0
    out, err = capfd.readouterr()
    assert "corpus" in out
    assert "internal" not in err


def test_overflowing_weights_are_refused(fails, capfd, tmp_path):
    model = make_model("rnn-relu")
    model.weights.update({name: value * 1e37 for name, value in model.weights.items()})
    save_model(tmp_path / "m.safetensors", model)
    write("a.txt", "abcdefgh" * 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        code, line = fails("sample", "m.safetensors", "--json", "-p", "abcdef")
        assert (code, "overflowed" in line) == (1, True)
        code, line = fails("eval", "m.safetensors", "a.txt")
        assert (code, "overflowed" in line) == (1, True)
