"""The REPL as a person sees it: a pseudo-terminal, its screen, and keys.

Whole screens are kept in screens/*.txt. After an intended change, write them again with
CHARGEN_WRITE_SCREENS=1 and read the diff.

A program may draw a screen in several pieces, at any speed. So a test waits with `until` for
everything that it asserts about a screen, or waits for the next prompt.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from pathlib import Path

import pytest

from chargen.model.checkpoint import save_model
from chargen.repl.commands.table import COMMANDS
from tests.conftest import make_cycle_model

pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals need a POSIX system")
pyte = pytest.importorskip("pyte")

SCREENS = Path(__file__).parent / "screens"
ROWS = 30
NEW_PROMPT = b"\x1b[?2004h"
"""What prompt_toolkit sends when it begins to read a line."""
PATIENCE = 60
"""Seconds without any output after which a test fails."""


class Seat:
    """A person at a terminal."""

    def __init__(self, *arguments: str, columns: int = 80, **environ: str) -> None:
        environment = {
            **os.environ,
            "EDITOR": "true",  # leaves the file as it is
            "VISUAL": "",
            "TERM": "xterm-256color",
            "COLORTERM": "",
            "CHARGEN_CACHE": "c",
            **environ,
        }
        self.child = pexpect.spawn(
            sys.executable, ["-m", "chargen", "repl", "cycle.safetensors", "--seed", "1",
                             "-l", "20", *arguments],
            dimensions=(ROWS, columns), env=environment, timeout=PATIENCE,
        )  # fmt: skip
        self.child.delaybeforesend = None  # a test waits for the screen itself
        self.screen = pyte.Screen(columns, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.data = b""
        self.prompts = 0

    def read(self) -> bool:
        """Take in the next output; False at the end."""
        if not select.select([self.child.fileno()], [], [], PATIENCE)[0]:
            raise AssertionError("nothing more came:\n" + "\n".join(self.lines()))
        try:
            data = os.read(self.child.fileno(), 65536)
        except OSError:
            return False
        self.data += data
        self.stream.feed(data)
        return bool(data)

    def lines(self) -> list[str]:
        """The screen, without the empty lines at its end."""
        shown = [line.rstrip() for line in self.screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    def first_line(self) -> str:
        """The first line; empty while the screen is blank."""
        return self.screen.display[0].rstrip()

    def until(self, condition) -> None:
        """Wait until the condition holds."""
        while not condition():
            assert self.read(), "it ended:\n" + "\n".join(self.lines())

    def prompt(self) -> list[str]:
        """Wait for the next prompt; the whole screen."""
        self.prompts += 1
        self.until(lambda: self.data.count(NEW_PROMPT) >= self.prompts)
        self.until(self.has_prompt)
        return self.lines()

    def has_prompt(self, typed: str = "") -> bool:
        """Whether the prompt is drawn completely, with the toolbar and a line typed so far.

        prompt_toolkit hides the cursor while it draws, and shows it at the end.
        """
        lines = self.lines()
        row = self.screen.cursor.y
        return (
            not self.screen.cursor.hidden
            and row < len(lines) - 1
            and lines[row].endswith(typed)
            and re.search(r"(main|other):\d+", lines[-1]) is not None
        )

    def type_slowly(self, text: str, menu: str) -> None:
        """Type the beginning of a line, and wait for the menu of completions for it."""
        self.child.send(text)
        self.until(
            lambda: (
                self.has_prompt(text) and any(line.split()[:1] == [menu] for line in self.lines())
            )
        )

    def type(self, text: str) -> list[str]:
        """Type a line; the screen at the next prompt."""
        self.child.send(text + "\r")
        return self.prompt()

    def leave(self) -> int:
        """Press Ctrl-D; the exit code."""
        self.child.send("\x04")
        return self.end()

    def end(self) -> int:
        """Read to the end of the program; the exit code."""
        while self.read():
            pass
        self.child.close()
        return self.child.exitstatus


@pytest.fixture(autouse=True)
def model(monkeypatch):
    save_model(Path("cycle.safetensors"), make_cycle_model())
    for name in list(os.environ):
        if name.startswith("COVERAGE_"):  # as in tests/cli/test_terminal.py
            monkeypatch.delenv(name)


def begun(columns: int = 80, **environ: str) -> Seat:
    seat = Seat(columns=columns, **environ)
    seat.prompt()
    seat.type("/set temperature 0")
    seat.type("/set speed max")
    return seat


LINES = [
    "abc", "", "/text", "/text 5", "/undo 3", "/fork other", "xy", "/goto main", "/branches",
    "/diff other", "/goto 8", "/seed 3", "/more", "/regen", "/words 3", "/choose 2",
    "/label", "/memory", "/heat index", "/heat cell activity", "/unit L1:4", "/gates",
    "/predict",
    "/surprise", "/why",
    "/why 3", "/why 3 magic", "/units", "/unit nothing",
    "/watch L1:4", "/pin L1:4=0.5", "/ablate L1:5", "/pin off", "/source", "/ab",
    "/ab cycle.safetensors", "/learn", "/set", "/set top-p 0.5", "/set top-p 7", "/show",
    "/save s.json", "/load s.json", "/sessions", "/models", "/export a.svg", "/export a.txt",
    "/export a.md", "/copy", "/edit", "/between xyz", "/chat a b", "/chat off",
    "/help pin", "/bogus", "/clear", "é", "/watch off", "/history", "/help", "//x",
]  # fmt: skip


def test_every_command_has_its_screen():
    used = {line.split()[0].removeprefix("/") for line in LINES if line.startswith("/")}
    # /step takes the whole screen: it has a test of its own.
    assert set(COMMANDS) - used <= {"quit", "step"}


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("colour", [True, False])
def test_whole_screens(columns, colour):
    seat = begun(columns, **({} if colour else {"NO_COLOR": "1"}))
    shown = []
    for line in LINES:
        seat.screen.reset()
        screen = seat.type(line)
        shown.append(f"===== {line}\n" + "\n".join(screen) + "\n")
    assert seat.leave() == 0
    name = f"{columns}-{'colour' if colour else 'plain'}.txt"
    text = "".join(shown)
    if os.environ.get("CHARGEN_WRITE_SCREENS"):
        (SCREENS / name).write_text(text, encoding="utf-8")
    assert text == (SCREENS / name).read_text(encoding="utf-8")
    codes = re.findall(rb"\x1b\[([\d;]*)m", seat.data)
    coloured = [code for code in codes if b"38;5" in code or b"48;5" in code]
    assert bool(coloured) == colour


def test_a_step_taken_apart_is_walked_through_by_keys():
    seat = begun(100)
    seat.type("abc")
    seat.child.send("/step\r")
    seat.until(lambda: any("f = σ(Wf·x" in line for line in seat.lines()))
    seat.until(lambda: any(line.startswith("q leaves; left, right") for line in seat.lines()))
    lines = seat.lines()
    assert any("forget gate" in line and "f = σ(Wf·x" in line for line in lines)
    position = int(lines[0].split()[1])
    seat.child.send("\x1b[D")  # left
    seat.until(lambda: seat.first_line().startswith(f"step {position - 1} of {position}"))
    seat.until(lambda: any("the next token of the text had" in line for line in seat.lines()))
    seat.child.send("\x1b[H")  # home
    seat.until(lambda: seat.first_line().startswith("step 1 of"))
    seat.child.send("\x1b[C")
    seat.until(lambda: seat.first_line().startswith("step 2 of"))
    seat.screen.resize(16, 100)  # few rows: the equations stay, the strips go
    seat.child.setwinsize(16, 100)
    seat.until(
        lambda: (
            any("forget gate" in line for line in seat.lines()[3:4])
            and any("candidate" in line for line in seat.lines()[4:5])
        )
    )
    seat.screen.resize(ROWS, 100)
    seat.child.setwinsize(ROWS, 100)
    seat.child.send("q")
    after = seat.prompt()
    assert any("step 2 of" in line for line in after), "the last step shown stays on the screen"
    assert seat.leave() == 0


def test_ctrl_c_stops_at_a_token_and_keeps_the_text():
    seat = begun()
    seat.type("/set length 1000000")
    seat.type("/set speed 200")
    seat.child.send("abc\r")
    seat.until(lambda: any("abcdefghij" in line for line in seat.lines()))
    seat.child.send("\x03")
    seat.prompt()
    screen = seat.type("/text")
    assert any("abcdefghij" in line for line in screen)
    count = int(re.search(r"main:(\d+)", screen[-1])[1])
    assert len("abcdefghij") <= count < 1_000_000
    seat.type("/set length 20")
    assert f"main:{count + 20} " in seat.type("")[-1]
    assert seat.leave() == 0


def test_ctrl_c_at_the_prompt_clears_the_line_and_ctrl_d_leaves():
    seat = begun()
    seat.child.send("half a line")
    seat.until(lambda: any("half a line" in line for line in seat.lines()))
    seat.child.send("\x03")
    lines = seat.prompt()
    assert not any("half a line" in line for line in lines)
    assert "main:0" in lines[-1]
    assert seat.leave() == 0


def test_keys_work_in_mid_stream():
    seat = begun()
    seat.type("/set length 1000000")
    seat.type("/set speed 100")
    seat.type("/watch L1:4")
    seat.child.send("abc\r")
    seat.until(lambda: any("100/s" in line for line in seat.lines()))
    seat.child.send("+")
    seat.until(lambda: any("150/s" in line for line in seat.lines()))
    seat.child.send("]")
    seat.until(lambda: any("t 0.1" in line for line in seat.lines()))
    seat.child.send(" ")
    seat.until(lambda: any("paused" in line for line in seat.lines()))
    seat.child.send(" -")
    seat.until(lambda: any("100/s  + -  space pauses" in line.replace("/s +", "/s  +")
                           for line in seat.lines()))  # fmt: skip
    seat.child.send("/goto 3\r")  # typed ahead: it is for the prompt
    seat.child.send("\x1b")
    seat.prompt()
    lines = seat.prompt()
    assert any("[main, 3 tokens] abc" in line for line in lines)
    assert seat.leave() == 0


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}])
def test_a_live_heatmap_survives_another_size(environ):
    seat = begun(80, **environ)
    seat.type("/set length 1000000")
    seat.type("/set speed 300")
    seat.type("/heat on")
    seat.child.send("abc\r")
    seat.until(lambda: any("hidden state" in line for line in seat.lines()))
    for columns in (50, 120):
        seat.screen.resize(ROWS, columns)
        seat.child.setwinsize(ROWS, columns)
        fits = re.compile(r"^t 0 \[ \]  300/s")
        seat.until(
            lambda columns=columns, fits=fits: (
                bool(seat.lines())
                and fits.match(seat.lines()[-1]) is not None
                and max(map(len, seat.lines()[-8:])) > columns - 12
            )
        )
    seat.child.send("\x03")
    lines = seat.prompt()
    assert any("hidden state" in line for line in lines)
    assert seat.screen.margins is None or seat.screen.margins.bottom == ROWS - 1
    assert seat.leave() == 0


def test_a_paste_of_many_lines_is_one_text():
    seat = begun()
    seat.child.send("\x1b[200~abc\ndef\nghi\n\x1b[201~\r")
    seat.prompt()
    screen = seat.type("/text")
    assert "main:32" in screen[-1]
    row = screen.index("abc", screen.index("› /text"))
    assert screen[row : row + 4] == ["abc", "def", "ghi", " abcdefghijklmnopqrs"]
    assert seat.leave() == 0


def test_several_lines_by_quotes_and_by_alt_enter():
    seat = begun()
    seat.child.send('"""ab\rcd"""\r')
    screen = seat.prompt()
    assert "main:25" in screen[-1]
    seat.child.send("x\x1b\ry\r")
    screen = seat.prompt()
    assert "main:48" in screen[-1]
    screen = seat.type("/text 23")
    row = screen.index("› /text 23")
    assert screen[row + 1 : row + 3] == ["x", "yz"]
    assert seat.leave() == 0


def test_the_editor_is_opened():
    script = Path("editor.sh")
    script.write_text("#!/bin/sh\nprintf 'one\\ntwo' > \"$1\"\n")
    script.chmod(0o755)
    seat = begun(EDITOR=str(script.absolute()), VISUAL="")
    seat.child.send("\x07")
    seat.prompt()  # the prompt is drawn again
    seat.until(lambda: any("two" in line for line in seat.lines()))
    seat.child.send("\r")
    assert "main:27" in seat.prompt()[-1]
    assert seat.leave() == 0


def test_commands_are_completed():
    seat = begun()
    seat.type_slowly("/sur", menu="surprise")
    seat.child.send("\t")
    seat.until(lambda: any("/surprise" in line for line in seat.lines()))
    seat.child.send("\x03")
    seat.prompt()
    seat.type_slowly("/set temp", menu="temperature")
    seat.child.send("\t")
    seat.until(lambda: any("/set temperature" in line for line in seat.lines()))
    seat.child.send(" 0.5\r")
    assert any("temperature 0.5" in line for line in seat.prompt())
    assert seat.leave() == 0


def test_choosing_with_arrows():
    seat = begun()
    seat.type("/set length 1")
    seat.type("a")
    seat.child.send("/choose\r")
    seat.until(lambda: any("› c" in line for line in seat.lines()))
    seat.child.send("\x1b[B")
    seat.until(lambda: any("› d" in line for line in seat.lines()))
    seat.child.send("\r")
    seat.until(lambda: any("› e" in line for line in seat.lines()))
    seat.child.send("q")
    seat.until(lambda: any("› r" in line for line in seat.lines()))
    seat.child.send("\x7f")
    seat.until(lambda: any("› e" in line for line in seat.lines()))
    seat.child.send("\x1b")
    lines = seat.prompt()
    assert "main:3" in lines[-1]
    assert any(line == "abd" for line in lines)
    assert seat.leave() == 0


def test_an_interrupt_ends_a_stream_and_restores_the_screen():
    seat = begun()
    seat.type("/set length 1000000")
    seat.type("/heat on")
    seat.child.send("abc\r")
    seat.until(lambda: any("hidden state" in line for line in seat.lines()))
    seat.child.kill(signal.SIGINT)
    seat.prompt()
    assert seat.leave() == 0
    assert seat.data.rfind(b"\x1b[?25h") > seat.data.rfind(b"\x1b[?25l")
    assert seat.data.rfind(b"\x1b[r") > seat.data.rfind(b"\x1b[1;")


def test_keys_that_stand_for_no_text_choose_nothing():
    seat = begun()
    seat.type("/set length 1")
    seat.type("a")
    seat.child.send("/choose\r")
    seat.until(lambda: any("› c" in line for line in seat.lines()))
    seat.child.send("\x1b[1~\x1b[15~\x1b[3~\x1b[6~")
    seat.until(lambda: not any("› c" in line for line in seat.lines()))  # page down moves
    seat.child.send("\x1b")
    assert "main:2" in seat.prompt()[-1]
    assert seat.leave() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("where", ["prompt", "stream", "choose"])
def test_a_signal_that_ends_the_program_restores_the_terminal(where, number):
    import termios

    seat = Seat()
    seat.prompt()
    seat.type("/set length 1000000")
    seat.type("/heat on")
    if where == "stream":
        seat.child.send("abc\r")
        seat.until(lambda: any("hidden state" in line for line in seat.lines()))
    if where == "choose":
        seat.child.send("/choose\r")
        seat.until(lambda: any("Enter takes" in line for line in seat.lines()))
    terminal = os.dup(seat.child.fileno())
    seat.child.kill(number)
    code = seat.end()
    assert code == 143
    line_modes = termios.ECHO | termios.ICANON | termios.ISIG  # all are on in a new terminal
    assert termios.tcgetattr(terminal)[3] & line_modes == line_modes
    os.close(terminal)
    assert seat.data.rfind(b"\x1b[?25h") > seat.data.rfind(b"\x1b[?25l")
    assert seat.data.rfind(b"\x1b[r") > seat.data.rfind(b"\x1b[1;")


def test_without_a_terminal_lines_go_in_and_text_comes_out():
    import subprocess

    lines = '/set temperature 0\nabc\n\n/bogus\n"""x\ny"""\n/text\n'
    result = subprocess.run(
        [sys.executable, "-m", "chargen", "repl", "cycle.safetensors", "-l", "4"],
        input=lines, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout == (
        "temperature 0\nabcdefg\nabcdefghijk\nabcdefghijkx\nyz\n a\nabcdefghijkx\nyz\n a\n"
    )
    assert result.stderr.startswith("unknown command /bogus")
    assert "\x1b" not in result.stdout + result.stderr


def test_a_dumb_terminal_gets_no_escapes():
    child = pexpect.spawn(
        sys.executable, ["-m", "chargen", "repl", "cycle.safetensors", "-l", "4", "--seed", "1"],
        env={**os.environ, "TERM": "dumb"}, timeout=PATIENCE, echo=False,
    )  # fmt: skip
    child.send("/set temperature 0\nabc\n")
    child.expect("abcdefg")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert b"\x1b" not in child.before


def test_typed_characters_that_reorder_text_are_shown_as_such():
    """Also before Enter: what a person pastes may come from anywhere."""
    seat = Seat()
    seat.prompt()
    seat.child.send("ab\u202ecd")
    seat.until(lambda: seat.has_prompt("ab\ufffdcd"))
    seat.child.send("\x7f" * 5)
    seat.until(lambda: seat.has_prompt("›"))
    assert b"\xe2\x80\xae" not in seat.data
    assert seat.leave() == 0
