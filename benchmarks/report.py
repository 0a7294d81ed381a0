"""What every benchmark here shares: the machine's own limits, and where tables are written."""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np

RESULTS = Path(__file__).parent / "results"


def seconds(function: Callable[[], object], *, repeat: int, rounds: int = 7) -> list[float]:
    """Seconds a call takes, one figure a round."""
    function()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(repeat):
            function()
        found.append((time.perf_counter() - began) / repeat)
    return found


def interleaved(functions: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each function, taken in turn, so that a busy moment of the machine hits all."""
    found: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(rounds):
        for number, function in enumerate(functions):
            began = time.perf_counter()
            function()
            found[number].append(time.perf_counter() - began)
    return found


ComparedRun = Callable[[], Callable[[], object]]
"""Makes what is measured; goes to another process, so a `functools.partial` of a module's own."""


def between_processes(contestants: Sequence[ComparedRun], rounds: int) -> list[list[float]]:
    """As `interleaved`, each in a process of its own, with that process's memory and settings."""
    context = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for contestant in contestants:
        near, far = context.Pipe()
        process = context.Process(target=_contest, args=(far, contestant), daemon=True)
        process.start()
        near.recv()  # ready
        ends.append(near)
        processes.append(process)
    found: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        for end, times in zip(ends, found, strict=True):
            end.send(True)
            times.append(end.recv())
    for end, process in zip(ends, processes, strict=True):
        end.send(False)
        process.join()
    return found


def _contest(end: Connection, contestant: ComparedRun) -> None:
    function = contestant()
    function()
    end.send(None)
    while end.recv():
        function()  # the caches were another's
        began = time.perf_counter()
        function()
        end.send(time.perf_counter() - began)


def machine() -> str:
    """Processor, cores, and the rates everything else is measured against."""
    random = np.random.default_rng(0)
    a = random.standard_normal((1024, 1024)).astype(np.float32)
    gemm = 2 * 1024**3 / median(seconds(lambda: a @ a, repeat=5)) / 1e9
    large = np.ones(64 << 20, np.float32)
    memory = 2 * large.nbytes / median(seconds(large.copy, repeat=1)) / 1e9
    matrix, vector = a[:, :512].copy().repeat(2, 0), a[0, :512].copy()
    gemv = matrix.nbytes / median(seconds(lambda: matrix @ vector, repeat=500)) / 1e9
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [one for one in info.read_text().splitlines() if one.startswith("model name")]
        name = lines[0].partition(": ")[2] if lines else name
    return (
        f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {np.__version__}; GEMM fp32 {gemm:.0f} GFLOP/s, gemv 2048x512 {gemv:.0f} GB/s, "
        f"copying memory {memory:.0f} GB/s"
    )


def write(
    name: str, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *notes: str
) -> None:
    """Print a table and write it to results/NAME.md."""
    lines = [f"# {title}", "", f"{datetime.now(UTC):%Y-%m-%d}. {machine()}.", ""]
    lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *notes] if notes else []
    text = "\n".join(lines) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
