"""The GPU's benchmark runs where only torch, with what it brings, numpy and safetensors are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "gpu.py"
BARE = """
import runpy, sys
names = ["click", "rich", "prompt_toolkit", "platformdirs", "sentencepiece", "datasets", "psutil"]
for name in names:
    sys.modules[name] = None
import report
report.RESULTS = report.Path("results")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", BARE, str(BENCHMARK), *arguments],
        env={"CHARGEN_CACHE": os.environ["CHARGEN_CACHE"], "PYTHONPATH": str(BENCHMARK.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_it_needs_nothing_else(tmp_path):
    sizes = ("--steps", "1", "--rounds", "1", "--shapes", "[[1, 8]]")
    done = run("--device", "cpu", *sizes)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "results" / "gpu-cpu.md").read_text()
    rows = [line for line in table.splitlines() if " 1x8 " in line]
    assert {row.split()[1] for row in rows} == {"lstm", "gru", "rnn"}


def test_a_text_needs_nothing_else_either(tmp_path, prose):
    text = tmp_path / "novel.txt"
    text.write_text(prose[:20_000], encoding="utf-8")
    done = run(str(text), "--seconds", "1", "--device", "cpu", "--shapes", "[]")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "results" / "gpu-cpu.md").read_text()
    (line,) = [line for line in table.splitlines() if line.startswith("novel.txt, ")]
    assert "nats a token" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="no GPU")
def test_without_a_gpu_it_is_one_line():
    done = run()
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "--device cuda: this machine has none that torch can use; try cpu"
    )
