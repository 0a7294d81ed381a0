"""What the REPL costs: the stream at full speed, a frame of the heatmap, the start, a long day.

    python benchmarks/repl.py

The stream (copies looked for, text made safe, the tree kept) against generate() of the same model
in the same run, in turns; the medians are compared. The text goes to the null device, as fast as
it comes; keys are looked at as in a session. The start is that of the command in a
pseudo-terminal, until its prompt stands.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pexpect
import report

from chargen.api import Model
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.inference.tree import TextTree
from chargen.insight.views import ViewOptions, token_labels
from chargen.model.checkpoint import ModelFile, save_model
from chargen.model.config import ModelConfig
from chargen.repl.screen import Screen
from chargen.repl.session import Session
from chargen.repl.settings import change_sample, set_value
from chargen.repl.stream import Stream
from chargen.terminal.context import Terminal
from chargen.terminal.heatmap import render
from chargen.terminal.palette import Palette
from chargen.text.char import CharTokenizer
from chargen.text.overlap import CopyWatch, build_index

_TOKENS = 4000
_ROUNDS = 7
_CHARGEN = shutil.which("chargen", path=str(Path(sys.executable).parent)) or "chargen"
_CHARACTERS = "\n" + "".join(map(chr, range(32, 96)))


class NoKeys:
    """A keyboard that nobody touches."""

    def wait(self, seconds: float) -> list[str]:
        """Nothing."""
        return []


def make(layers: int, size: int) -> ModelFile:
    """A model of random weights."""
    tokenizer = CharTokenizer(_CHARACTERS)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=size, num_layers=layers, embedding_size=64
    )
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(0, 0.04, shape).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    return ModelFile(config=config, tokenizer=tokenizer.to_state(), weights=weights)


def median(function: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def streaming(file: ModelFile, *, copies: bool, heat: bool) -> tuple[float, float]:
    """Tokens a second of generate() and of the stream."""
    model = Model(file)
    session = Session(model, seed=1)
    set_value(session.settings, "speed", "max")
    session.settings.sample = change_sample(session.settings.sample, length=_TOKENS)
    session.settings.copies = copies
    session.heat_on = heat
    if copies:
        text = np.random.default_rng(1).integers(0, file.config.vocab_size, 1_000_000)
        session._index = build_index(text.astype(np.uint8), model.tokenizer)
        session._copies = CopyWatch(session._index)
    config = SampleConfig(length=_TOKENS, seed=1)
    empty = np.empty(0, np.int64)
    engine, stream = [], []
    with open(os.devnull, "w", encoding="utf-8") as out:
        screen = Screen(Terminal(out=out, err=out, color="always"), interactive=True)
        screen.palette = Palette(depth=1 << 24)
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            for _ in generate(model.stepper, model.tokenizer, empty, config):
                pass
            engine.append(time.perf_counter() - began)
            session.reseed(1)
            session.tree.move(0)
            began = time.perf_counter()
            Stream(session, screen, NoKeys()).run()
            stream.append(time.perf_counter() - began)
    return _TOKENS / statistics.median(engine), _TOKENS / statistics.median(stream)


def frame_time(file: ModelFile) -> tuple[float, float]:
    """Milliseconds for 120 x 32 cells (64 units): choosing, colouring, spelling; in 256 colours."""
    session = Session(Model(file), seed=1)
    text = "".join(_CHARACTERS[one % 60] for one in range(300))
    session.append(text)
    nodes = session.tree.path(session.tree.tip, 120)
    session.heat.fill(session.trace(120)[0], nodes)
    labels = token_labels(session.model.tokenizer, [session.tree.token(one) for one in nodes])
    options = ViewOptions(labels=labels, tokenizer=session.model.tokenizer)
    times = []
    for depth in (1 << 24, 256):
        palette = Palette(depth=depth)

        def frame(palette: Palette = palette) -> None:
            grid = session.heat.grid(nodes[-1], 120, 64, options)
            assert grid is not None
            render(grid, palette, 124)

        frame()
        times.append(median(frame, 50) * 1000)
    return times[0], times[1]


def start_time(path: Path) -> float:
    """Seconds until the prompt stands."""

    def start() -> float:
        began = time.perf_counter()
        child = pexpect.spawn(_CHARGEN, ["repl", str(path)], dimensions=(24, 80), timeout=30,
                              env={**os.environ, "TERM": "xterm-256color"})  # fmt: skip
        child.expect("main:0")  # of the toolbar
        seconds = time.perf_counter() - began
        child.sendeof()
        child.expect(pexpect.EOF)
        child.close()
        return seconds

    start()
    return statistics.median(start() for _ in range(_ROUNDS))


def long_day(file: ModelFile, tokens: int) -> tuple[float, float, int]:
    """Megabytes before and after so many tokens in one tree, and states kept."""
    model = Model(file)
    tree = TextTree(model.stepper)
    state = model.stepper.zero_state()

    def megabytes() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before, node = megabytes(), 0
    for number in range(tokens):
        node = tree.append(node, number % 60, state.copy(), logprob=-1.0)
    return before, megabytes(), tree.states_kept


def main() -> None:
    """Print and keep the table."""
    rows = []
    for layers, size in ((1, 448), (2, 512)):
        file = make(layers, size)
        for copies, heat, what in (
            (False, False, "text alone"),
            (True, False, "copies looked for"),
            (True, True, "copies, and the live heatmap"),
        ):
            engine, stream = streaming(file, copies=copies, heat=heat)
            rows.append(
                [f"stream at speed max, {layers}x{size}, {what}", f"{stream:,.0f} tokens/s",
                 f"generate(): {engine:,.0f} ({stream / engine:.2f})", "0.90"]
            )  # fmt: skip
    big = make(2, 512)
    true, indexed = frame_time(big)
    rows.append(["heatmap frame, 120 x 32 cells, truecolor", f"{true:.1f} ms",
                 f"256 colours: {indexed:.1f} ms", "10 ms"])  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_model(path, big)
        rows.append(["from the command to the prompt, 2x512", f"{start_time(path):.2f} s",
                     "", "0.6 s"])  # fmt: skip
    before, after, kept = long_day(big, 1_000_000)
    rows.append(["memory after 1,000,000 tokens in one tree, 2x512",
                 f"{after - before:.0f} MB more", f"{kept:,} states kept", "bounded"])  # fmt: skip
    report.write("repl", "The REPL", ["what", "measured", "beside it", "goal"], rows)


if __name__ == "__main__":
    main()
