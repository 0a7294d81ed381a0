"""How does text reach the screen: at which speed, steered by which keys, with which picture below?

The engine writes ahead, and some tokens wait before they are shown, because only later tokens tell
whether a token belongs to a copy or to a stop text. So a copy is underlined from its first
character on, and text on the screen is never taken back. When the stream stops, the waiting tokens
are dropped: text and state end at the last token shown.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

from chargen.inference.composer import Writing
from chargen.insight.views import ViewOptions
from chargen.repl.live import HEAT_ROWS
from chargen.repl.screen import Screen, fitting
from chargen.repl.session import Session
from chargen.repl.settings import UNLIMITED_SPEED, change_sample, change_speed, change_temperature
from chargen.terminal.charts import spark_line
from chargen.terminal.heatmap import column_label, render
from chargen.terminal.panel import Panel
from chargen.terminal.safetext import SafeStream, SafeText
from chargen.text.overlap import MIN_COPY_SYMBOLS, CopyWatch
from chargen.text.tokenizer import StreamDecoder, utf8

SUSPEND = "suspend"
"""What a keyboard returns for Ctrl-Z."""
_FRAME_SECONDS = 1 / 60
_WRITE_SECONDS = 0.03
"""The engine writes for this long at most before the keys are read again."""
_PICTURE_SECONDS = 0.1
"""The picture is drawn again after this time."""
_HINT_SECONDS = 0.3
"""The line that names the keys appears after this time, so a short text goes without it."""
_MAX_BURST_SECONDS = 1 / 4
"""After a pause or a slow step, the stream shows at most the text of this time at once."""
_REWRITTEN_PART = 2
"""Of a copy that is too long, the last half is written again."""
_COPY_CONTEXT_TOKENS = 4 * MIN_COPY_SYMBOLS
"""Tokens before the stream that the search for copies reads again."""
_HEAT_TOKENS = 200
"""Tokens before the stream that the live heatmap begins with."""
_SPEED_FACTOR = 1.5
_TEMPERATURE_STEP = 0.1
_MIN_PANEL_ROWS, _MIN_HEAT_ROWS = 3, 5
"""With fewer rows, the picture, or the heatmap in it, is left out."""


class KeySource(Protocol):
    """What a stream needs of a keyboard; `Keys` in keys.py is one."""

    def wait(self, seconds: float) -> list[str]:
        """Waits for keys, at most so long, and returns those pressed."""

    def suspend(self) -> None:
        """Stops the job until the shell lets it go on."""


@dataclass(slots=True)
class _Pending:
    """A token that is written and not shown yet."""

    node: int
    copied: bool = False
    """Whether it belongs to a copy from the training text."""


class Stream:
    """One continuation on its way to the screen.

    Args:
        session: the session; its branch moves along with the text shown.
        screen: where the text goes.
        keys: the keys that steer it; None where there is no keyboard, and then it never waits.
        note: receives a line for the person before the text begins.
    """

    def __init__(
        self,
        session: Session,
        screen: Screen,
        keys: KeySource | None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._session, self._screen, self._keys = session, screen, keys
        self._writing: Writing = session.begin()
        # Without a terminal copies are not underlined: they matter only when they are limited.
        watched = screen.interactive or session.settings.max_copy > 0
        self._copies: CopyWatch | None = session.copies(note) if watched else None
        self._pending: deque[_Pending] = deque()
        self._shown = self._writing.first
        """The last node that was shown."""
        self._decoder, self._safe = StreamDecoder(), SafeStream()
        self._paused = self._stopped = self._underlined = False
        self._due = 0.0
        """Characters that the speed allows to show now."""
        self._last_frame = time.monotonic()
        self._panel = Panel(screen.out, screen.size) if screen.interactive and keys else None
        has_picture = session.heat_on or bool(session.watched)
        self._last_picture = (
            0.0 if has_picture else time.monotonic() + _HINT_SECONDS - _PICTURE_SECONDS
        )
        stops = session.settings.sample.stop
        self._lag = max((len(utf8(stop)) for stop in stops), default=0)
        """Tokens that wait at least, while the writing goes on."""
        if self._copies is not None:
            self._restart_copies(self._shown)
            self._lag = max(self._lag, MIN_COPY_SYMBOLS, session.settings.max_copy)

    def run(self) -> str:
        """Writes until the end, or until a key stops it.

        Returns:
            Why it ended: `length`, `stop`, `end` (of the document) or `stopped`.

        Raises:
            ChargenError: the model's numbers overflowed; the text shown stays.
        """
        if self._panel is not None and self._session.heat_on:
            self._fill_heat()
        try:
            with getattr(self._keys, "reading", nullcontext)():
                while not self._stopped and (self._writing.finish is None or self._pending):
                    self._frame()
        except KeyboardInterrupt:
            self._stopped = True
        finally:
            self._finish()
        return "stopped" if self._stopped else self._writing.finish or "stopped"

    def _frame(self) -> None:
        """Writes, shows what is due, draws the picture, and does what the keys say."""
        began = time.monotonic()
        speed = self._session.settings.speed
        unpaced = self._keys is None or speed == UNLIMITED_SPEED
        self._due += 0 if self._paused else (began - self._last_frame) * speed
        self._due = min(self._due, max(1.0, speed * _MAX_BURST_SECONDS))
        self._last_frame = began
        if not self._paused:
            room = math.inf if unpaced else self._due
            self._write(began + _WRITE_SECONDS, room)
            self._show(room)
        if self._panel is not None and began - self._last_picture >= _PICTURE_SECONDS:
            self._last_picture = began
            columns, rows = self._panel.room()
            self._panel.show(self._picture(columns, rows) if rows >= _MIN_PANEL_ROWS else [])
        self._screen.out.flush()
        if self._keys is not None:
            busy = unpaced and not self._paused
            rest = 0.0 if busy else max(0.0, _FRAME_SECONDS - (time.monotonic() - began))
            for key in self._keys.wait(rest):
                self._press(key)

    def _write(self, deadline: float, room: float) -> None:
        """Writes enough tokens to show `room` characters, or until the deadline."""
        writing = self._writing
        new: list[int] = []
        needed_tokens = self._lag + max(1.0, room)
        while writing.finish is None and len(self._pending) + len(new) < needed_tokens:
            node = writing.advance()
            if writing.finish not in ("stop", "form"):
                new.append(node)
            if len(new) % 8 == 0 and time.monotonic() > deadline:
                break
        if writing.finish == "stop":  # the text now ends before the stop text
            end = writing.node
            new = [node for node in new if node <= end]
            while self._pending and self._pending[-1].node > end:
                self._pending.pop()
        if self._copies is None or not new:
            self._pending.extend(map(_Pending, new))
            return
        tree = self._session.tree
        lengths = self._copies.feed([tree.token(node) for node in new])
        for node, length in zip(new, lengths, strict=True):
            self._pending.append(_Pending(node))
            for pending in list(self._pending)[-length:] if length else ():
                pending.copied = True
            limit = self._session.settings.max_copy
            if limit and length > limit and self._write_differently(length):
                break

    def _write_differently(self, length: int) -> bool:
        """Takes back a part of a copy and forbids the token that continued it there.

        Args:
            length: tokens of the copy.

        Returns:
            False when no other token is possible there; then nothing is changed.
        """
        back = min(len(self._pending), max(1, length // _REWRITTEN_PART))
        tree = self._session.tree
        wrong = self._pending[-back].node
        node = tree.parent(wrong)
        if not self._writing.rewind(node, avoid=tree.token(wrong)):
            return False
        for _ in range(back):
            self._pending.pop()
        for pending in self._pending:
            pending.copied = pending.copied and length - back >= MIN_COPY_SYMBOLS
        self._drop_after(node)
        return True

    def _drop_after(self, node: int) -> None:
        """Makes heatmap and search for copies end at a node; the writing was rewound to it."""
        self._session.heat.drop_after(node)
        if self._copies is not None:
            self._restart_copies(node)

    def _restart_copies(self, node: int) -> None:
        assert self._copies is not None
        tree = self._session.tree
        recent = tree.path(node, _COPY_CONTEXT_TOKENS)
        self._copies.restart([tree.token(node) for node in recent])

    def _show(self, room: float) -> None:
        """Shows pending tokens: at most `room` characters, and none that may still change."""
        session = self._session
        certain = len(self._pending) - (self._lag if self._writing.finish is None else 0)
        parts = []
        interactive, text_of, pending = self._screen.interactive, self._text, self._pending
        while certain > 0 and room >= 1:
            token = pending.popleft()
            certain -= 1
            self._shown = token.node
            text = text_of(token.node)
            room -= len(text)
            if token.copied != self._underlined and interactive:
                parts.append("\x1b[4m" if token.copied else "\x1b[24m")
                self._underlined = token.copied
            parts.append(text)
        if parts:
            session.tree.branches[session.tree.branch] = self._shown
            self._due = 0.0 if room == math.inf else room
            self._screen.out.write("".join(parts))

    def _text(self, node: int) -> str:
        """Returns what the screen shows for a node's token; call it once for each, in order."""
        tokenizer = self._session.model.tokenizer
        token = self._session.tree.token(node)
        if token == tokenizer.eos_id:
            return self._safe.feed("\n")
        text = self._safe.feed(self._decoder.feed(tokenizer.token_bytes(token)))
        if self._session.settings.whitespace:
            return shown_whitespace(text, ascii=self._screen.palette.ascii)
        return text

    def _press(self, key: str) -> None:
        settings = self._session.settings
        if key == " ":
            self._paused = not self._paused
        elif key in "+=":
            change_speed(settings, _SPEED_FACTOR)
        elif key == "-":
            change_speed(settings, 1 / _SPEED_FACTOR)
        elif key in "[]":
            change_temperature(settings, _TEMPERATURE_STEP if key == "]" else -_TEMPERATURE_STEP)
            self._writing.rewind(self._shown)
            self._writing.change(change_sample(settings.sample, seed=self._session.seed))
            self._pending.clear()
            self._drop_after(self._shown)
        elif key == SUSPEND:
            self._suspend()
        else:
            self._stopped = True

    def _suspend(self) -> None:
        """Gives the whole screen to the shell, stops, and goes on with the picture drawn anew."""
        assert self._keys is not None
        if self._panel is not None:
            self._panel.close()
        self._screen.out.write("\x1b[24m\n" if self._underlined else "\n")
        self._screen.out.flush()
        self._underlined = False
        self._keys.suspend()
        self._last_frame = time.monotonic()  # what was not written meanwhile is not owed
        self._last_picture = 0.0

    def _fill_heat(self) -> None:
        """Gives the live heatmap the text before the stream."""
        session = self._session
        nodes = session.tree.path(self._shown, _HEAT_TOKENS)
        session.heat.clear()
        if nodes:
            session.heat.fill(session.trace(_HEAT_TOKENS, self._shown)[0], nodes)

    def _picture(self, columns: int, rows: int) -> list[str]:
        """Returns the lines below the text: watched units, heatmap, and the line of keys."""
        session, palette = self._session, self._screen.palette
        lines: list[str] = []
        nodes = session.tree.path(self._shown, columns)
        for unit in session.watched[: max(0, rows - 1)]:
            name = unit.spelled(session.model.config)
            values = session.unit_values(unit, nodes)
            lines.append(spark_line(name, values, columns, ascii=palette.ascii))
        rows -= len(lines)
        if session.heat_on and rows >= _MIN_HEAT_ROWS:
            labels = session.labels(nodes)
            options = ViewOptions(labels=labels, tokenizer=session.model.tokenizer)
            height = min(HEAT_ROWS, rows - 3)
            units = 2 * height if palette.paints and not palette.ascii else height
            grid = session.heat.grid(self._shown, columns, units, options)
            if grid is not None:
                lines += render(grid, palette, columns)[:rows]
        return [*lines, self._key_line(columns)]

    def _key_line(self, columns: int) -> str:
        settings = self._session.settings
        speed = "max" if settings.speed == UNLIMITED_SPEED else f"{settings.speed:.0f}/s"
        parts = (
            f"t {settings.sample.temperature:g} [ ]",
            f"{speed} + -",
            "paused" if self._paused else "space pauses",
            "Ctrl-C stops",
        )
        return fitting(parts, columns, "  ")

    def _finish(self) -> None:
        """Ends text, state and heatmap at the last token shown, and closes the panel."""
        session = self._session
        self._writing.finish = self._writing.finish or "stopped"
        session.tree.branches[session.tree.branch] = self._shown
        session.heat.drop_after(self._shown)
        if self._panel is not None:
            self._panel.close()
        rest = self._safe.feed(self._decoder.finish())
        self._screen.out.write(rest + ("\x1b[24m" if self._underlined else "") + "\n")
        self._screen.out.flush()


def shown_whitespace(text: SafeText, *, ascii: bool) -> SafeText:
    """Returns a text with marks for its blanks; a line end is a mark and a line end."""
    marks = {blank: column_label(blank, ascii=ascii)[0] for blank in (" ", "\n", "\t")}
    marks["\n"] = SafeText(marks["\n"] + "\n")
    return SafeText("".join(marks.get(char, char) for char in text))
