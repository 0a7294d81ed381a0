"""What the benchmarks share: how time is measured, and where tables are written.

`write` prints a table and keeps it in benchmarks/results/. Every table begins with a line about
the machine: its processor, and the rates of the operations that everything else is made of.

This file imports nothing of chargen, so that every script can import it first.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import pty
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np

RESULTS = Path(__file__).parent / "results"
CHARGEN = shutil.which("chargen", path=str(Path(sys.executable).parent)) or "chargen"
"""The command that is installed beside this Python."""
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
"""Gates of a cell: how many times more weights it has than an RNN."""


def seconds(
    function: Callable[[], object], *, repeat: int = 1, rounds: int = 7, warm_up: bool = True
) -> list[float]:
    """Seconds of one call, measured once per round.

    Args:
        function: what is measured.
        repeat: calls per round; the round's figure is their mean.
        rounds: how many figures to take.
        warm_up: calls the function once before the first round.
    """
    if warm_up:
        function()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(repeat):
            function()
        times.append((time.perf_counter() - began) / repeat)
    return times


def interleaved(functions: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each function in each round.

    The functions take turns, so a moment in which the machine is busy affects all of them.
    """
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(rounds):
        for number, function in enumerate(functions):
            began = time.perf_counter()
            function()
            times[number].append(time.perf_counter() - began)
    return times


ComparedRun = Callable[[], Callable[[], object]]
"""Makes the function to measure. It is sent to another process, so it must be a function of a
module, or a `functools.partial` of one."""


def seconds_to_first_byte(arguments: list[str], **environ: str) -> float:
    """Seconds from the start of a process to its first byte on a pseudo-terminal.

    Args:
        arguments: the command.
        environ: environment variables that are set for it.
    """
    began = time.perf_counter()
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execve(arguments[0], arguments, {**os.environ, **environ})
    os.read(descriptor, 1)
    took = time.perf_counter() - began
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:
        pass  # Linux reports the end of a pseudo-terminal as an error
    os.close(descriptor)
    os.waitpid(pid, 0)
    return took


def between_processes(runs: Sequence[ComparedRun], rounds: int) -> list[list[float]]:
    """Seconds of each run in each round; each run has its own process, memory and settings.

    The processes take turns, as in `interleaved`.
    """
    context = multiprocessing.get_context("spawn")
    connections, processes = [], []
    for run in runs:
        ours, theirs = context.Pipe()
        process = context.Process(target=_measure_on_request, args=(theirs, run), daemon=True)
        process.start()
        theirs.close()  # without this copy, `recv` raises EOFError when the process has died
        ours.recv()  # the process is ready
        connections.append(ours)
        processes.append(process)
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for connection, times_of_run in zip(connections, times, strict=True):
            connection.send(True)
            times_of_run.append(connection.recv())
    for connection, process in zip(connections, processes, strict=True):
        connection.send(False)
        process.join()
    return times


def _measure_on_request(connection: Connection, run: ComparedRun) -> None:
    """Measures one call after each True that arrives, until False arrives."""
    function = run()
    function()
    connection.send(None)
    while connection.recv():
        function()  # the caches still hold the data of another process
        began = time.perf_counter()
        function()
        connection.send(time.perf_counter() - began)


def training_flop(
    cell: str, layers: int, size: int, *, embedding: int, vocabulary: int, tokens: int
) -> int:
    """FLOP of the matrix products in a training step that reads so many tokens.

    Counts 6 for each weight and token: 2 in the forward pass and 4 in the backward pass.

    Args:
        cell: lstm, gru or rnn.
        layers: recurrent layers.
        size: units of each layer.
        embedding: numbers that stand for a token.
        vocabulary: tokens that the head chooses from.
        tokens: tokens of the step.
    """
    recurrent = GATES[cell] * size * (embedding + size + (layers - 1) * 2 * size)
    return 6 * (recurrent + vocabulary * size) * tokens


def machine() -> str:
    """Processor, cores, versions, and the rates that everything else is measured against."""
    random = np.random.default_rng(0)
    square = random.standard_normal((1024, 1024)).astype(np.float32)
    gemm = 2 * 1024**3 / median(seconds(lambda: square @ square, repeat=5)) / 1e9
    large = np.ones(64 << 20, np.float32)
    memory = 2 * large.nbytes / median(seconds(large.copy)) / 1e9
    matrix, vector = square[:, :512].copy().repeat(2, 0), square[0, :512].copy()
    gemv = matrix.nbytes / median(seconds(lambda: matrix @ vector, repeat=500)) / 1e9
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(": ")[2] if lines else name
    return (
        f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {np.__version__}; GEMM fp32 {gemm:.0f} GFLOP/s, gemv 2048x512 {gemv:.0f} GB/s, "
        f"copying memory {memory:.0f} GB/s"
    )


def write(
    name: str, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *notes: str
) -> None:
    """Prints a table and writes it to results/NAME.md.

    Args:
        name: of the file, without its ending.
        title: the heading.
        header: names of the columns.
        rows: a text for each column.
        notes: lines below the table; an empty one begins a new paragraph.
    """
    lines = [f"# {title}", "", f"{datetime.now(UTC):%Y-%m-%d}. {machine()}.", ""]
    lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *notes] if notes else []
    text = "\n".join(lines) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
