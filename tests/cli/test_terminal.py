"""What a person sees, through a real pseudo-terminal; and signals."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chargen.model.checkpoint import ModelFile, load_model, save_model
from chargen.model.config import ModelConfig
from chargen.model.runs import MODEL
from chargen.text.tokenizer import ByteTokenizer

pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals need a POSIX system")
pyte = pytest.importorskip("pyte")

CHARGEN = [sys.executable, "-m", "chargen"]
QUICK = ["--hidden-size", "24", "--batch-size", "4", "--bptt", "16", "--threads", "1"]


@pytest.fixture(autouse=True)
def without_coverage(monkeypatch):
    """Processes that are interrupted run without coverage.

    An interrupt that falls into coverage's own code leaves its lock taken, and the process waits
    for it for ever when it ends.
    """
    for name in list(os.environ):
        if name.startswith("COVERAGE_"):
            monkeypatch.delenv(name)


def spawn(*arguments: str, columns: int = 80, **environ: str):
    return pexpect.spawn(
        CHARGEN[0],
        [*CHARGEN[1:], *arguments],
        dimensions=(24, columns),
        env={**os.environ, "TERM": "xterm-256color", **environ},
        timeout=60,
    )


def screen_of(data: bytes, columns: int = 80) -> list[str]:
    screen = pyte.Screen(columns, 24)
    pyte.ByteStream(screen).feed(data)
    return [line.rstrip() for line in screen.display if line.strip()]


@pytest.fixture
def corpus(prose) -> str:
    Path("text.txt").write_text(prose[:20_000], encoding="utf-8")
    return "text.txt"


@pytest.mark.parametrize(
    ("columns", "environ"), [(40, {}), (80, {"NO_COLOR": "1"}), (200, {}), (200, {"NO_COLOR": "1"})]
)
def test_training_is_shown_and_leaves_the_terminal_as_it_was(corpus, columns, environ):
    child = spawn(
        "train", corpus, "--run", "a", "--steps", "150", *QUICK, columns=columns, **environ
    )
    child.expect(pexpect.EOF)
    data = child.before
    child.close()
    assert child.exitstatus == 0
    assert b"step " in data, "the live block was drawn"
    assert data.rfind(b"\x1b[?25h") > data.rfind(b"\x1b[?25l"), "the cursor is shown again"
    assert (b";36m" in data) == (not environ), "colours, unless NO_COLOR"
    text = "".join(screen_of(data, columns)).replace(" ", "")
    assert "writewithit:chargenrepla" in text
    assert "/150" not in text, "the live block is gone at the end"


def test_without_a_terminal_plain_lines_and_no_escapes(corpus):
    result = subprocess.run(
        [*CHARGEN, "train", corpus, "--steps", "300", *QUICK],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == ""
    assert "\x1b" not in result.stderr
    assert len(result.stderr.splitlines()) == 5


def byte_writer(path: Path) -> None:
    """A model that writes every byte value in turn: 0, 1, 2, ... 255, 0, ..."""
    config = ModelConfig(vocab_size=256, cell="rnn", hidden_size=256, embedding_size=256)
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    weights["embedding.weight"] = np.eye(256, dtype=np.float32) * 9
    weights["layers.0.weight_ih"] = np.eye(256, dtype=np.float32)
    weights["head.weight"] = np.roll(np.eye(256, dtype=np.float32), 1, axis=0) * 90
    save_model(
        path, ModelFile(config=config, tokenizer=ByteTokenizer().to_state(), weights=weights)
    )


def test_no_control_sequence_of_a_model_reaches_the_screen():
    byte_writer(Path("evil.safetensors"))
    child = spawn("sample", "evil.safetensors", "-p", "\x1b\u202e\u2028", "--length", "600")
    child.expect(pexpect.EOF)
    data = child.before
    child.close()
    assert child.exitstatus == 0
    text = data.decode()
    # The pseudo-terminal itself writes a carriage return before each line feed.
    controls = {
        character
        for character in text
        if (ord(character) < 32 or 127 <= ord(character) < 160) and character not in "\r\n\t"
    }
    assert controls == set()
    assert not {"\u202e", "\u2028"} & set(text)
    assert "␛" in text
    assert "⟨U+202E⟩" in text


HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\x7f\u202e\u2066\u2028\u200b\ufeff\x00"
FORBIDDEN = ["\x1b]", "\x07", "\x1b[2J", "\x9b", "\x7f", "\x00", *"\u202e\u2066\u2028"]


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory, prose) -> Path:
    """A run whose every text is an attack: name, card, characters, its corpus's name."""
    folder = tmp_path_factory.mktemp("hostile")
    name = "evil\x1b[2J\x07\u202e"
    run, corpus = folder / "checkpoints" / name, folder / f"{name}.txt"
    characters = "".join(dict.fromkeys(f"{HOSTILE} \nabc".replace("\x00", "")))
    corpus.write_text((characters + prose[:400]) * 9, encoding="utf-8")
    quietly = ["--quiet", "--steps", "3", *QUICK]
    environ = {**os.environ, "CHARGEN_CACHE": str(folder / "cache")}
    subprocess.run([*CHARGEN, "train", corpus, "--out", run, *quietly], check=True, env=environ)
    file = load_model(run / MODEL)
    card = dict.fromkeys(("documents", "steps", "seed", "weights", "chargen"), HOSTILE)
    lies = {"corpus": [{"name": HOSTILE, "bytes": 3, "sha256": HOSTILE}]}
    save_model(run / MODEL, replace(file, card={**card, **lies}))
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": HOSTILE, "updated": HOSTILE}))
    return folder


@pytest.fixture
def hostile_run(hostile_folder) -> Path:
    """The same in this test's own folder."""
    shutil.copytree(hostile_folder, ".", dirs_exist_ok=True, ignore=lambda *_: ["cache"])
    return next(Path("checkpoints").iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "RUN"], ["info", "RUN", "--json"], ["runs"], ["runs", "--json"], ["corpora"],
        ["sample", "RUN", "-p", HOSTILE.replace("\x00", ""), "--length", "400"],
        ["sample", "RUN", "--length", "50", "-n", "3"],
        ["sample", "RUN", "--length", "9", "--json"],
        ["eval", "RUN", "CORPUS"], ["eval", "RUN", "CORPUS", "--json"],
        ["eval", "RUN", HOSTILE[:9]],
        ["heatmap", "RUN", "CORPUS"], ["heatmap", "RUN", "CORPUS", "--view", "predict"],
        ["heatmap", "RUN", "CORPUS", "--view", "surprise"], ["heatmap", "RUN", HOSTILE[:9]],
        ["train", "CORPUS", "--steps", "30", "--overwrite", "--out", "RUN", *QUICK],
        ["train", HOSTILE[:9]], ["train", "--run", HOSTILE[:9]], ["info", HOSTILE[:9]],
        ["resume", "RUN"], ["resume", "RUN", "--steps", "3"], ["resume", HOSTILE[:9]],
        [HOSTILE[:9]], ["train", f"--{HOSTILE[:9]}"], ["train", "--cell", HOSTILE[:9]],
    ],
    ids=lambda words: " ".join(words).encode("unicode_escape").decode()[:40],
)  # fmt: skip
def test_nothing_hostile_reaches_the_screen(hostile_run, arguments):
    corpus = next(Path().glob("evil*.txt"))
    words = {"RUN": str(hostile_run), "CORPUS": str(corpus)}
    child = spawn(*(words.get(argument, argument) for argument in arguments))
    child.expect(pexpect.EOF)
    text = child.before.decode()
    child.close()
    assert child.exitstatus in (0, 2, 3), text
    assert text
    assert "Traceback" not in text
    assert [sequence for sequence in FORBIDDEN if sequence in text] == []


def test_nothing_hostile_reaches_the_screen_from_the_repl(hostile_run):
    child = spawn("repl", str(hostile_run), "--length", "200")
    lines = [
        "/set speed max", "abc", "/text", "/heat", "/predict", "/surprise", "/why", "/unit",
        "/choose 2", "/words", "/show", "/branches", "/models", "/load no\u202e", "/fork \u202e",
        "/branches", "/save \u202e", "/source", "/set stop \u202e", "/set", "/history", "/b\u202e",
        "/export a\u202e.svg", "/heat on", "", "/watch L1:1", "", "/quit",
    ]  # fmt: skip
    child.logfile_read = io.BytesIO()
    for line in lines:
        # What prompt_toolkit sends when it begins to read a line, however slowly: keys that come
        # before would act on the text that is being written.
        child.expect_exact("\x1b[?2004h")
        child.send(line + "\r")
    child.expect(pexpect.EOF)
    text = child.logfile_read.getvalue().decode()
    child.close()
    assert child.exitstatus == 0, text
    assert "activation: hidden state" in text
    assert "Traceback" not in text
    assert [sequence for sequence in FORBIDDEN if sequence in text] == []


def test_the_same_model_writes_raw_bytes_into_a_pipe_where_they_are_asked_for():
    byte_writer(Path("evil.safetensors"))
    command = [*CHARGEN, "sample", "evil.safetensors", "-p", "a", "--length", "512"]
    result = subprocess.run([*command, "--raw-bytes"], capture_output=True, check=True)
    assert result.stdout == bytes((97 + k) % 256 for k in range(513))
    assert result.stderr == b""
    whole = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(whole) == 513
    whole.decode()


def test_interrupted_writing_exits_130():
    byte_writer(Path("m.safetensors"))
    child = spawn("sample", "m.safetensors", "-p", "a", "--length", "100000000")
    child.expect("bcdefgh")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


def test_a_closed_pipe_is_no_error():
    byte_writer(Path("m.safetensors"))
    with subprocess.Popen(
        [*CHARGEN, "sample", "m.safetensors", "-p", "a", "--length", "100000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.read(10) == b"abcdefghij"
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_signals_finish_the_step_and_save(corpus, number, code):
    with subprocess.Popen(
        [*CHARGEN, "train", corpus, "--run", "a", "--steps", "1000000", *QUICK, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if json.loads(line)["event"] == "step":
                process.send_signal(number)
                break
        *_, last = process.stdout
        errors = process.stderr.read()
    assert process.returncode == code
    assert json.loads(last)["event"] == "finished"
    assert json.loads(last)["reason"] == "interrupted"
    assert "interrupted" in errors.splitlines()[-3]
    assert errors.splitlines()[-2] == "go on with it: chargen resume a"
    assert Path("checkpoints/a", MODEL).is_file()


def test_ctrl_c_before_training_begins_leaves_nothing(prose):
    with subprocess.Popen(
        [*CHARGEN, "train", "-", "--run", "a", *QUICK],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdin.write(prose.encode())
        process.stdin.flush()
        # The corpus is not at its end yet, so nothing can have begun; wait until it is being read.
        wait_until_reading(process.pid)
        process.send_signal(signal.SIGINT)
        process.wait()
    assert process.returncode == 130
    assert not Path("checkpoints").exists()


def wait_until_reading(pid: int) -> None:
    status = Path(f"/proc/{pid}/wchan")
    if not status.exists():
        pytest.skip("needs /proc")
    while "pipe" not in status.read_text():
        os.sched_yield()
