"""Training in two processes, started by torchrun, compared with training in one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from chargen.errors import ChargenError, UsageError
from chargen.training.distributed import ALONE, Ranks, is_peer_error, peer_errors
from chargen.training.launch import Process, this_process

SETTINGS = [
    "--hidden-size",
    "32",
    "--layers",
    "2",
    "--batch-size",
    "7",
    "--bptt",
    "16",
    "--precision",
    "fp32",
    "--dropout",
    "0.2",
    "--seed",
    "3",
    "--threads",
    "1",
    "--valid-fraction",
    "0.05",
]

TORCHRUN = [
    sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
    "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
]  # fmt: skip
"""Two processes that find each other by themselves, on a port of their own."""


@pytest.fixture
def corpus(prose, monkeypatch) -> str:
    Path("text.txt").write_text(prose[:40_000], encoding="utf-8", newline="\n")
    for name in list(os.environ):
        if name.startswith("COVERAGE_"):  # as in tests/cli/test_terminal.py
            monkeypatch.delenv(name)
    return "text.txt"


def chargen(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chargen", *arguments], capture_output=True, text=True, check=False
    )


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TORCHRUN, "-m", "--", "chargen", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def losses(text: str) -> list[float]:
    rows = [json.loads(line) for line in text.splitlines()]
    return [row["loss"] for row in rows if row["event"] == "step"]


def test_two_processes_have_the_losses_of_one_process(corpus):
    train = ("train", corpus, "--steps", "200", *SETTINGS, "--json")
    both = torchrun(*train, "--run", "two")
    alone = chargen(*train, "--run", "one")
    out, err = both.communicate(timeout=100)
    assert (alone.returncode, both.returncode) == (0, 0), err
    alone_losses, both_losses = losses(alone.stdout), losses(out)
    assert len(alone_losses) == len(both_losses) == 200
    assert max(abs(a - b) for a, b in zip(alone_losses, both_losses, strict=True)) < 1e-5
    # Only the first process prints messages and writes files.
    assert err.count("write with it: chargen repl two") == 1
    left, right = (
        load_file(f"checkpoints/{run}/training.safetensors") for run in ("one", "two")
    )  # fmt: skip
    assert left.keys() == right.keys()
    for name in left:
        if name.startswith("state."):  # (L, B, H): each of the 7 rows is at its index
            np.testing.assert_allclose(left[name], right[name], atol=1e-3)
            for row in range(7):
                distances = np.abs(left[name][:, row : row + 1] - right[name]).max((0, 2))
                assert distances.argmin() == row
    scores = [
        json.loads(text.splitlines()[-1])["nats_per_token"] for text in (alone.stdout, out)
    ]  # fmt: skip
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_killed_process_ends_the_run_and_one_or_two_processes_can_resume_it(corpus):
    train = ("train", corpus, "--steps", "100000", *SETTINGS, "--run", "run", "--json")
    both = torchrun(*train)
    assert both.stdout is not None
    for line in both.stdout:  # until a state was saved after some steps
        row = json.loads(line)
        if row["event"] == "saved" and row["step"] > 0:
            break
    ranks = [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdecimal() and _parent(path) == both.pid
    ]
    last = next(pid for pid in ranks if _environ(pid).get("RANK") == "1")
    os.kill(last, signal.SIGKILL)
    _, err = both.communicate(timeout=100)
    assert both.returncode != 0
    assert err.count("another process of this run is gone") == 1
    assert "internal error" not in err
    shutil.copytree("checkpoints/run", "checkpoints/copy")
    step = json.loads(_header("checkpoints/run/training.safetensors"))["position"]["step"]
    more = torchrun("resume", "run", "--steps", "10", "--json")
    alone = chargen("resume", "copy", "--steps", "10", "--json")
    out, err = more.communicate(timeout=100)
    assert (more.returncode, alone.returncode) == (0, 0), err
    both_losses, alone_losses = losses(out), losses(alone.stdout)
    assert len(alone_losses) == len(both_losses) == 10
    assert max(abs(a - b) for a, b in zip(alone_losses, both_losses, strict=True)) < 1e-5
    assert json.loads(alone.stdout.splitlines()[-1])["step"] == step + 10


STOPPED = """
import atexit, sys
from pathlib import Path
import chargen

@atexit.register  # registered first, so it runs last: after the runs have cleaned up
def threads():
    names = {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}
    sys.stdout.write(f"threads {sorted(name for name in names if 'gloo' in name)}\\n")

def run(name, stop):
    steps = [0]
    def counted():
        steps[0] += 1
        return steps[0] == stop
    settings = dict(hidden_size=16, batch_size=5, bptt=8, steps=24, dropout=0.3, threads=1)
    return [event for event in chargen.train("text.txt", out=name, should_stop=counted, **settings)]

run("straight", 0)
assert run("stopped", 9)[-1].reason == "interrupted"
for event in chargen.resume("stopped"):
    pass
"""


def test_two_processes_that_stop_and_resume_take_the_same_steps(corpus):
    Path("stopped.py").write_text(STOPPED)
    done = subprocess.run(
        [*TORCHRUN, "stopped.py"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    straight, stopped = (
        load_file(f"{run}/training.safetensors") for run in ("straight", "stopped")
    )
    assert straight.keys() == stopped.keys()
    for name in straight:
        np.testing.assert_array_equal(straight[name], stopped[name], err_msg=name)
    # A thread of the process group that is still alive can crash a process at its end.
    assert done.stdout.split("\n") == ["threads []", "threads []", ""]


CLOCKS = """
import json, os, sys
from pathlib import Path
import chargen
from chargen import train_api
from chargen.training import trainer
from chargen.training.clock import RunClock

rank = int(os.environ["RANK"])
now, limits, scored = [0.0], [], trainer.evaluate_calibrated

def time():
    now[0] += (0.01, 1.0)[rank]  # one process sees a hundred times as much time pass
    return now[0]

def noting(network, tokens, lengths, limit, **more):
    limits.append(limit)
    return scored(network, tokens, lengths, limit, **more)

train_api.RunClock = lambda: RunClock(time, lambda: now[0], looks=False)
trainer.evaluate_calibrated = noting
settings = dict(hidden_size=16, batch_size=5, bptt=8, evaluations=20, threads=1, seed=1)
events = list(chargen.train(
    "text.txt", run="r", minutes=0.1, valid_fraction=0.3, evaluation_tokens=6000, **settings
))
Path(f"{rank}.json").write_text(json.dumps([limits, events[-1].step, events[-1].score.to_json()]))
"""


def test_two_processes_with_different_clocks_do_what_the_first_one_says(corpus):
    Path("clocks.py").write_text(CLOCKS)
    done = subprocess.run(
        [*TORCHRUN, "clocks.py"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(Path(f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    limits, steps, _ = first
    assert limits == [6_000] * len(limits)
    assert len(limits) >= 4
    state = json.loads(_header("checkpoints/r/training.safetensors"))["position"]
    assert state["step"] == steps <= state["steps"]


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0


def _environ(pid: int) -> dict[str, str]:
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
    except OSError:
        return {}
    return dict(variable.partition("=")[::2] for variable in raw.split("\0"))


def _header(path: str) -> str:
    data = Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"]["chargen-training"]


def test_several_processes_cannot_read_a_pipe_or_fine_tune(corpus, monkeypatch):
    import chargen as library

    for name, value in zip(
        ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        ("0", "2", "0", "2", "localhost", "1"), strict=True,
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="2 processes cannot all read a pipe"):
        next(library.train("-", run="x"))
    with pytest.raises(UsageError, match="fine-tuning runs in one process"):
        next(library.finetune("base", corpus))


ENVIRONMENT = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "here", "MASTER_PORT": "1",
}  # fmt: skip


def test_a_process_reads_its_rank_from_the_environment():
    process = this_process(ENVIRONMENT)
    assert process == Process(rank=3, count=4, local_rank=1, local_count=2)
    assert not process.is_first
    for wrong in ({"RANK": "4"}, {"RANK": "x"}, {"MASTER_ADDR": ""}, {"LOCAL_RANK": "-1"}):
        assert this_process({**ENVIRONMENT, **wrong}) == Process()
    assert this_process({}).is_first


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [5, 7, 32])
def test_every_row_is_read_by_one_process(count, rows):
    shares = [Ranks(Process(rank=rank, count=count)).local_rows(rows) for rank in range(count)]
    shared_out = [row for share in shares for row in range(rows)[share]]
    assert shared_out == list(range(rows))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1
    with pytest.raises(UsageError, match=r"--batch-size 4: fewer batch rows than the 5 processes"):
        Ranks(Process(rank=0, count=5)).local_rows(4)


def test_a_single_process_communicates_with_nobody():
    assert ALONE.all_reduce(1.5, 2) == [1.5, 2]
    assert ALONE.broadcast(3) == [3]
    assert ALONE.broadcast_object(lambda: {"a": 1}) == {"a": 1}
    assert ALONE.rank0_first(lambda: 4) == 4
    ALONE.raise_if_shared(RuntimeError("anything"))


def test_a_lost_process_is_an_error_of_one_line_and_other_errors_pass_through():
    with pytest.raises(ChargenError, match="another process of this run is gone"), peer_errors():
        raise RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="shape"), peer_errors():
        raise RuntimeError("shape mismatch")
    assert not is_peer_error(ValueError("a number"))
    both = Ranks(Process(rank=1, count=2))
    with pytest.raises(ChargenError, match="process 1: not enough memory"):
        both.raise_if_shared(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(ChargenError, match="is gone"):
        both.raise_if_shared(RuntimeError("Connection reset by peer"))
    with pytest.raises(RuntimeError, match="shape"):
        both.raise_if_shared(RuntimeError("shape mismatch"))
