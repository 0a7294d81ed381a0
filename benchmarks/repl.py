"""What the REPL costs: the stream, a frame of the heatmap, the start, and a very long text.

    python benchmarks/repl.py

The stream looks for copies, makes text safe and keeps the tree of texts. It is compared with
`generate()` of the same model; both take turns, and their medians are compared. The text goes to
the null device at full speed, and keys are looked at as in a session. The start is that of the
command in a pseudo-terminal, until its prompt is there.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pexpect
import report
from random_model import CHARACTERS, random_model

from chargen.api import Model
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.inference.tree import TextTree
from chargen.insight.views import ViewOptions, token_labels
from chargen.model.checkpoint import ModelFile, save_model
from chargen.repl.screen import Screen
from chargen.repl.session import Session
from chargen.repl.settings import change_sample, set_value
from chargen.repl.stream import Stream
from chargen.terminal.context import Terminal
from chargen.terminal.heatmap import render
from chargen.terminal.palette import Palette
from chargen.text.overlap import CopyWatch, build_index

SHAPES = ((1, 448), (2, 512))
"""(Layers, units) of the LSTMs."""
STREAM_TOKENS = 4000
COPIED_TEXT_TOKENS = 1_000_000
"""Tokens of the text in which copies are looked for."""
FRAME_TOKENS, FRAME_UNITS, FRAME_COLUMNS = 120, 64, 124
LONG_TEXT_TOKENS = 1_000_000
ROUNDS, FRAME_ROUNDS = 7, 50


class NoKeys:
    """A keyboard on which nobody types."""

    def wait(self, seconds: float) -> list[str]:
        """Returns no keys at once, so the stream never waits."""
        return []


def stream_speeds(file: ModelFile, *, copies: bool, heat: bool) -> tuple[float, float]:
    """Tokens a second of `generate()` and of the stream.

    Args:
        file: the model.
        copies: looks for copies of a random text.
        heat: draws the live heatmap.
    """
    model = Model(file)
    session = Session(model, seed=1)
    set_value(session.settings, "speed", "max")
    session.settings.sample = change_sample(session.settings.sample, length=STREAM_TOKENS)
    session.settings.copies = copies
    session.heat_on = heat
    if copies:
        # A model with random weights has no training text; the session is given this one.
        text = np.random.default_rng(1).integers(0, file.config.vocab_size, COPIED_TEXT_TOKENS)
        session._index = build_index(text.astype(np.uint8), model.tokenizer)
        session._copies = CopyWatch(session._index)
    config = SampleConfig(length=STREAM_TOKENS, seed=1)
    prompt = np.empty(0, np.int64)
    with open(os.devnull, "w", encoding="utf-8") as out:
        screen = Screen(Terminal(out=out, err=out, color="always"), interactive=True)
        screen.palette = Palette(depth=1 << 24)

        def write_with_engine() -> None:
            for _ in generate(model.stepper, model.tokenizer, prompt, config):
                pass

        def write_with_stream() -> None:
            session.reseed(1)
            session.tree.move(0)
            Stream(session, screen, NoKeys()).run()

        engine, stream = report.interleaved([write_with_engine, write_with_stream], ROUNDS)
    return STREAM_TOKENS / median(engine), STREAM_TOKENS / median(stream)


def frame_milliseconds(file: ModelFile, depth: int) -> float:
    """Milliseconds to choose, colour and spell a heatmap of 120 x 32 cells (64 units).

    Args:
        file: the model.
        depth: colours of the terminal.
    """
    session = Session(Model(file), seed=1)
    session.append("".join(CHARACTERS[number % 60] for number in range(300)))
    nodes = session.tree.path(session.tree.tip, FRAME_TOKENS)
    session.heat.fill(session.trace(FRAME_TOKENS)[0], nodes)
    tokenizer = session.model.tokenizer
    labels = token_labels(tokenizer, [session.tree.token(node) for node in nodes])
    options = ViewOptions(labels=labels, tokenizer=tokenizer)
    palette = Palette(depth=depth)

    def draw() -> None:
        grid = session.heat.grid(nodes[-1], FRAME_TOKENS, FRAME_UNITS, options)
        assert grid is not None
        render(grid, palette, FRAME_COLUMNS)

    return median(report.seconds(draw, rounds=FRAME_ROUNDS)) * 1000


def start_seconds(path: Path) -> float:
    """Seconds from the command to its prompt."""

    def start() -> float:
        began = time.perf_counter()
        child = pexpect.spawn(report.CHARGEN, ["repl", str(path)], dimensions=(24, 80), timeout=30,
                              env={**os.environ, "TERM": "xterm-256color"})  # fmt: skip
        child.expect("main:0")  # the toolbar's branch and position
        seconds = time.perf_counter() - began
        child.sendeof()
        child.expect(pexpect.EOF)
        child.close()
        return seconds

    start()
    return median(start() for _ in range(ROUNDS))


def long_text_memory(file: ModelFile, tokens: int) -> tuple[float, int]:
    """Megabytes by which memory grows with so many tokens in one tree, and the states kept."""
    model = Model(file)
    tree = TextTree(model.stepper)
    state = model.stepper.zero_state()
    before, node = peak_megabytes(), 0
    for number in range(tokens):
        node = tree.append(node, number % 60, state.copy(), logprob=-1.0)
    return peak_megabytes() - before, tree.states_kept


def peak_megabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measures, prints and writes the table."""
    rows = []
    for layers, size in SHAPES:
        file = random_model(layers, size)
        for copies, heat, name in (
            (False, False, "text alone"),
            (True, False, "copies looked for"),
            (True, True, "copies, and the live heatmap"),
        ):
            engine, stream = stream_speeds(file, copies=copies, heat=heat)
            rows.append(
                [f"stream at speed max, {layers}x{size}, {name}", f"{stream:,.0f} tokens/s",
                 f"generate(): {engine:,.0f} ({stream / engine:.2f})", "0.90"]
            )  # fmt: skip
    file = random_model(2, 512)
    truecolor, indexed = frame_milliseconds(file, 1 << 24), frame_milliseconds(file, 256)
    rows.append(["heatmap frame, 120 x 32 cells, truecolor", f"{truecolor:.1f} ms",
                 f"256 colours: {indexed:.1f} ms", "10 ms"])  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_model(path, file)
        rows.append(["from the command to the prompt, 2x512", f"{start_seconds(path):.2f} s",
                     "", "0.6 s"])  # fmt: skip
    growth, states = long_text_memory(file, LONG_TEXT_TOKENS)
    rows.append([f"memory after {LONG_TEXT_TOKENS:,} tokens in one tree, 2x512",
                 f"{growth:.0f} MB more", f"{states:,} states kept", "bounded"])  # fmt: skip
    report.write("repl", "The REPL", ["what", "measured", "beside it", "goal"], rows)


if __name__ == "__main__":
    main()
