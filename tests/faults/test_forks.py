"""A process that was forked after a training does not hang, and leaves its parent's run alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")

PROGRAM = """
import os, signal, sys
import chargen

tiny = dict(hidden_size=32, batch_size=8, bptt=16, threads=2)

def child(work):
    process = os.fork()
    if process == 0:
        signal.alarm(100)  # a hanging child ends with a signal, not with 0
        try:
            work()
            os._exit(0)
        except chargen.ChargenError as error:
            print(error, flush=True)
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

list(chargen.train("text.txt", run="a", steps=4, **tiny))
model = chargen.load("a")
text = "the sea and the wind " * 60
expected = model.score(text, way="torch"), [s.text for s in model.generate("the", length=9, seed=1)]

def use():
    score = model.score(text, way="torch")
    assert [s.text for s in model.generate("the", length=9, seed=1)] == expected[1]
    # One thread adds in another order than two.
    assert abs(score.nats_per_token - expected[0].nats_per_token) < 1e-5

def train():
    list(chargen.train("text.txt", run="b", steps=4, **tiny))

assert child(use) == 0, "a child can score and write"
assert child(train) == 7, "it cannot train, and says so"

events = chargen.train("text.txt", run="c", steps=9, **tiny)
next(events); next(events)
assert child(lambda: next(events)) == 7

def leave():
    global events
    del events
    sys.exit(0)

process = os.fork()
if process == 0:
    signal.alarm(100)
    leave()
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
from chargen.files import is_locked
from pathlib import Path
assert is_locked(Path("checkpoints/c")), "the child's end does not release the parent's lock"
rest = sum(isinstance(event, chargen.StepDone) for event in events)
print("steps", rest)
"""


def test_a_forked_process_computes_on_one_thread_or_refuses():
    Path("text.txt").write_text("the sea and the wind\n" * 200, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "forked from one that had trained" in lines[0]
    assert "get_context('spawn')" in lines[0]
    assert "belongs to the process that this one was forked from" in lines[1]
    assert lines[-1].startswith("steps ")
