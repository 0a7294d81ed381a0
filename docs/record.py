"""Records a session of `chargen repl` and draws it as one animated SVG.

    python docs/record.py bard docs/repl.svg --prompt "ROMEO:" --seed 1 --temperature 0.5

The REPL runs in a pseudo-terminal. The script turns the live heatmap on, types the prompt, and
keeps every byte that comes back together with its time. A screen emulator (pyte) then replays these
bytes; every `--interval` seconds the screen becomes a frame. The drawing depends on the recorded
bytes and their times alone: `--keep FILE` writes them down, and `--replay FILE` draws the same
bytes again into the same SVG.

The SVG refers to nothing outside. Rows that stay equal from one frame to the next are drawn once.
CSS shows each row during its frames. Where the reader's system asks for reduced motion, and in
programs that know no CSS animation, the last frame stands still.

Needs the test group of pyproject.toml (pexpect and pyte), and a POSIX system.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import select
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import pexpect
import pyte

FONT_SIZE = 14
CELL_WIDTH, CELL_HEIGHT = 8.4, 17
"""Size of one character cell, in pixels."""
MARGIN = 14
BACKGROUND, FOREGROUND = "16181d", "d4d4d4"
FINAL_FRAME_SECONDS = 5.0
PATIENCE_SECONDS = 60
PROMPT_READY = b"\x1b[?2004h"
"""What prompt_toolkit sends when it begins to read a line."""
ANSI_COLOURS = {
    "black": "2e3436", "red": "ef2929", "green": "8ae234", "brown": "fce94f",
    "blue": "729fcf", "magenta": "ad7fa8", "cyan": "34e2e2", "white": "eeeeec",
    "brightblack": "888a85", "brightred": "ef2929", "brightgreen": "8ae234",
    "brightbrown": "fce94f", "brightblue": "729fcf", "brightmagenta": "ad7fa8",
    "brightcyan": "34e2e2", "brightwhite": "ffffff",
}  # fmt: skip


class Output(NamedTuple):
    """Bytes that the REPL wrote."""

    seconds: float
    """Time since the recording began."""
    data: bytes


class Cell(NamedTuple):
    """One character of the screen with its colours, six hexadecimal digits each."""

    text: str
    foreground: str
    background: str
    bold: bool
    underlined: bool


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Frame:
    """The screen from one moment on."""

    seconds: float
    rows: tuple[Row, ...]
    cursor: tuple[int, int]
    """Column and row."""


class Recording:
    """A REPL in a pseudo-terminal, whose output is kept."""

    def __init__(self, arguments: Sequence[str], columns: int, rows: int) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment.pop("NO_COLOR", None)
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "chargen", "repl", *arguments],
            dimensions=(rows, columns),
            env=environment,
        )
        self._child.delaybeforesend = None
        self._began = time.monotonic()
        self.outputs: list[Output] = []

    def wait_for_prompt(self, after: int = 0) -> None:
        """Take in what comes until the REPL reads the next line.

        Args:
            after: number of outputs that do not count.

        Raises:
            TimeoutError: nothing came for a minute.
        """
        while PROMPT_READY not in b"".join(output.data for output in self.outputs[after:]):
            if not self._read(PATIENCE_SECONDS):
                raise TimeoutError("the REPL says nothing: is there such a model?")
        self.listen(0.3)

    def listen(self, seconds: float) -> None:
        """Take in what comes within a time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def type(self, text: str, seconds_a_key: float) -> None:
        """Press keys at a person's pace."""
        for key in text:
            self._child.send(key)
            self.listen(seconds_a_key)

    def enter(self, text: str, seconds_a_key: float = 0.0) -> None:
        """Type a line, press Enter, and wait until all of its answer is there."""
        self.type(text, seconds_a_key)
        before = len(self.outputs)
        self._child.send("\r")
        self.wait_for_prompt(before)

    def restart_clock(self) -> None:
        """Let the time begin here, with the screen as it is now."""
        self.outputs = [Output(0.0, output.data) for output in self.outputs]
        self._began = time.monotonic()

    def close(self) -> None:
        """Leave the REPL."""
        self._child.close(force=True)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._child.fileno()], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._child.fileno(), 1 << 16)
        except OSError as error:
            raise EOFError("the REPL ended: is there such a model?") from error
        self.outputs.append(Output(time.monotonic() - self._began, data))
        return True


def record(options: argparse.Namespace) -> list[Output]:
    """Run the session that the options describe."""
    arguments = [options.model, "--seed", str(options.seed), "--length", str(options.length)]
    recording = Recording(arguments, options.columns, options.rows)
    try:
        recording.wait_for_prompt()
        recording.enter(f"/set temperature {options.temperature:g}")
        recording.enter(f"/set speed {options.speed:g}")
        recording.enter("/set background dark")
        recording.type("\x0c", seconds_a_key=0.5)  # Ctrl-L clears the screen
        recording.restart_clock()
        recording.listen(0.5)
        recording.enter("/heat on", seconds_a_key=0.06)
        recording.listen(0.5)
        recording.enter(options.prompt, seconds_a_key=0.09)
    finally:
        recording.close()
    return recording.outputs


def replay(outputs: Iterable[Output], columns: int, rows: int, interval: float) -> Iterator[Frame]:
    """The screen at intervals; a frame for each screen that differs from the one before it.

    The REPL hides the cursor while it draws its panel, so a screen without a cursor is a picture
    that is only half drawn: it is no frame.
    """
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    due, shown = 0.0, None
    current: Frame | None = None
    for output in [*outputs, Output(float("inf"), b"")]:
        if current is not None and output.seconds > due:
            if (current.rows, current.cursor) != shown:
                yield Frame(due, current.rows, current.cursor)
                shown = current.rows, current.cursor
            if output.seconds < float("inf"):
                due = interval * math.ceil(output.seconds / interval)
        stream.feed(output.data)
        if not screen.cursor.hidden:
            cursor = min(screen.cursor.x, columns - 1), screen.cursor.y
            current = Frame(output.seconds, _rows_of(screen), cursor)


def _rows_of(screen: pyte.Screen) -> tuple[Row, ...]:
    return tuple(
        tuple(_cell_of(screen.buffer[line][column]) for column in range(screen.columns))
        for line in range(screen.lines)
    )


def _cell_of(char: pyte.screens.Char) -> Cell:
    foreground = _hex(char.fg, FOREGROUND)
    background = _hex(char.bg, BACKGROUND)
    if char.reverse:
        foreground, background = background, foreground
    return Cell(char.data, foreground, background, char.bold, char.underscore)


def _hex(colour: str, default: str) -> str:
    return default if colour == "default" else ANSI_COLOURS.get(colour, colour)


def draw(frames: Sequence[Frame]) -> str:
    """The animated SVG of at least one frame."""
    columns, rows = len(frames[0].rows[0]), len(frames[0].rows)
    width = columns * CELL_WIDTH + 2 * MARGIN
    height = rows * CELL_HEIGHT + 2 * MARGIN
    begin = frames[0].seconds
    duration = frames[-1].seconds - begin + FINAL_FRAME_SECONDS
    style = [
        f"text{{font:{FONT_SIZE}px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        f"white-space:pre;fill:#{FOREGROUND}}}",
        "path{fill:none;shape-rendering:crispEdges}",
        f".f{{visibility:hidden;animation:{duration:.2f}s step-end infinite}}",
        ".z{visibility:visible}",
    ]
    body = []
    for number, ((first, after), layer) in enumerate(_layers(frames).items()):
        is_last = after == len(frames)
        if first == 0 and is_last:
            body.append(f"<g>{layer.draw()}</g>")
            continue
        shown = 100 * (frames[first].seconds - begin) / duration
        keys = [] if first == 0 else ["0%{visibility:hidden}"]
        keys.append(f"{shown:.2f}%{{visibility:visible}}")
        if is_last:
            keys.append("to{visibility:visible}")
        else:
            hidden = 100 * (frames[after].seconds - begin) / duration
            keys.append(f"{hidden:.2f}%,to{{visibility:hidden}}")
        style.append(f"@keyframes k{number}{{{''.join(keys)}}}")
        classes = "f z" if is_last else "f"
        body.append(f'<g class="{classes}" style="animation-name:k{number}">{layer.draw()}</g>')
    style.append("@media (prefers-reduced-motion: reduce){.f{animation:none}}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">'
        "<title>chargen's REPL writes a text, with a live heatmap of its memory below</title>"
        f"<style>{''.join(style)}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#{BACKGROUND}"/>'
        f'<g transform="translate({MARGIN} {MARGIN})">{"".join(body)}</g></svg>\n'
    )


@dataclass
class Layer:
    """What is visible during the same frames."""

    strokes: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """By colour: lines of coloured half cells, as column, half row and length."""
    elements: list[str] = field(default_factory=list)
    """Texts and the cursor."""

    def add_row(self, row: Row, line: int) -> None:
        """Half blocks and backgrounds as lines, all else as text."""
        halves = zip(*(_half_colours(cell) for cell in row), strict=True)
        for half, colours in enumerate(halves):
            for first, after in _stretches(colours):
                if colours[first] != BACKGROUND:
                    stroke = first, 2 * line + half, after - first
                    self.strokes.setdefault(colours[first], []).append(stroke)
        self.elements += _draw_texts(row, line)

    def add_cursor(self, column: int, line: int) -> None:
        """A block over a cell."""
        self.elements.append(
            f'<rect x="{column * CELL_WIDTH:.5g}" y="{line * CELL_HEIGHT}" '
            f'width="{CELL_WIDTH}" height="{CELL_HEIGHT}" fill="#{FOREGROUND}" opacity=".6"/>'
        )

    def draw(self) -> str:
        """All of it as SVG elements; the lines are drawn in units of half cells."""
        if not self.strokes:
            return "".join(self.elements)
        paths = [
            f'<path stroke="#{_short(colour)}" d="{_path(strokes)}"/>'
            for colour, strokes in self.strokes.items()
        ]
        scale = f"scale({CELL_WIDTH} {CELL_HEIGHT / 2}) translate(0 .5)"
        return f'<g transform="{scale}">{"".join(paths)}</g>{"".join(self.elements)}'


def _layers(frames: Sequence[Frame]) -> dict[tuple[int, int], Layer]:
    """What is drawn, by the frames that show it: from the first to the one before the second."""
    layers: defaultdict[tuple[int, int], Layer] = defaultdict(Layer)
    for line in range(len(frames[0].rows)):
        contents = [frame.rows[line] for frame in frames]
        for first, after in _stretches(contents):
            if any(cell.text != " " or cell.background != BACKGROUND for cell in contents[first]):
                layers[first, after].add_row(contents[first], line)
    cursors = [frame.cursor for frame in frames]
    for first, after in _stretches(cursors):
        layers[first, after].add_cursor(*cursors[first])
    return dict(sorted(layers.items()))


def _path(strokes: Sequence[tuple[int, int, int]]) -> str:
    """The data of a path; each move absolute or relative, as is shorter."""
    moves, x, y = [], 0, 0
    for column, half_row, length in strokes:
        absolute = f"M{column} {half_row}"
        relative = f"m{column - x} {half_row - y}".replace(" -", "-")
        moves.append(f"{min(absolute, relative, key=len)}h{length}")
        x, y = column + length, half_row
    return "".join(moves)


def _stretches(values: Sequence[object]) -> Iterator[tuple[int, int]]:
    """Where equal values follow each other: (first, one after the last)."""
    first = 0
    for index in range(1, len(values) + 1):
        if index == len(values) or values[index] != values[first]:
            yield first, index
            first = index


def _half_colours(cell: Cell) -> tuple[str, str]:
    """Colours of a cell's upper and lower half."""
    return {
        "▀": (cell.foreground, cell.background),
        "▄": (cell.background, cell.foreground),
        "█": (cell.foreground, cell.foreground),
    }.get(cell.text, (cell.background, cell.background))


def _draw_texts(row: Row, line: int) -> Iterator[str]:
    """A text element for each run of characters of one style."""
    styles = [None if cell.text in "▀▄█ " and not cell.underlined else cell[1:] for cell in row]
    joined = list(styles)
    for index in range(1, len(row) - 1):
        # A single space between two words of one style belongs to both.
        if row[index].text == " " and joined[index - 1] == styles[index + 1]:
            joined[index] = styles[index + 1]
    for first, after in _stretches(joined):
        if joined[first] is None:
            continue
        cells = row[first:after]
        text = "".join(cell.text for cell in cells)
        look = "" if cells[0].foreground == FOREGROUND else f' style="fill:#{cells[0].foreground}"'
        look += ' font-weight="bold"' if cells[0].bold else ""
        look += ' text-decoration="underline"' if cells[0].underlined else ""
        length = f' textLength="{len(cells) * CELL_WIDTH:.5g}"' if len(cells) > 1 else ""
        x, y = first * CELL_WIDTH, line * CELL_HEIGHT + 0.77 * CELL_HEIGHT
        yield f'<text x="{x:.5g}" y="{y:.5g}"{length}{look}>{escape(text)}</text>'


def _short(colour: str) -> str:
    """`112233` as `123`, where that is the same colour."""
    return colour[::2] if colour[::2] == colour[1::2] else colour


def main() -> None:
    """Record or replay, and draw."""
    parser = argparse.ArgumentParser(description="Draw a session of chargen repl as an SVG.")
    parser.add_argument("model", help="a run's name or a model file")
    parser.add_argument("svg", type=Path, help="file to write")
    parser.add_argument("--prompt", default="ROMEO:")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--length", type=int, default=200, help="characters to write")
    parser.add_argument("--speed", type=float, default=30, help="characters a second")
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--rows", type=int, default=27)
    parser.add_argument("--interval", type=float, default=0.33, help="seconds between frames")
    parser.add_argument("--keep", type=Path, help="write the recorded bytes to this file")
    parser.add_argument("--replay", type=Path, help="draw the bytes of this file instead")
    options = parser.parse_args()
    if options.replay:
        lines = options.replay.read_text(encoding="utf-8").splitlines()
        pairs = [json.loads(line) for line in lines]
        outputs = [Output(seconds, data.encode("latin-1")) for seconds, data in pairs]
    else:
        outputs = record(options)
    if options.keep:
        lines = [json.dumps([seconds, data.decode("latin-1")]) for seconds, data in outputs]
        options.keep.write_text("\n".join(lines) + "\n", encoding="utf-8")
    frames = list(replay(outputs, options.columns, options.rows, options.interval))
    svg = draw(frames)
    options.svg.write_text(svg, encoding="utf-8", newline="\n")
    sys.stdout.write(f"{options.svg}: {len(frames)} frames, {len(svg.encode()):,} bytes\n")


if __name__ == "__main__":
    main()
