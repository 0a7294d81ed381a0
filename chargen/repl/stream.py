"""Text flows to the screen at a person's pace, with keys that steer it and a picture below.

The engine writes ahead of what is shown: by as much as a copy or a stop text needs to be known for
what it is. So underlining never comes late, and what must be taken back was never shown. What is
ahead when the stream is stopped is dropped: text and state end at the last token shown.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from chargen.inference.composer import Writing
from chargen.insight.views import ViewOptions
from chargen.repl.live import HEAT_ROWS
from chargen.repl.screen import Screen, fitting
from chargen.repl.session import Session
from chargen.repl.settings import FASTEST, faster, warmer
from chargen.terminal.charts import spark_line
from chargen.terminal.heatmap import column_label, render
from chargen.terminal.panel import Panel
from chargen.terminal.safetext import SafeStream, SafeText
from chargen.text.overlap import SHORTEST, CopyWatch
from chargen.text.tokenizer import StreamDecoder

_FRAME = 1 / 60
_SLICE = 0.03
"""Seconds of writing between two looks at the keys."""
_PICTURE = 0.1
"""Seconds between two pictures."""
_QUIET = 0.3
"""Seconds before the line of keys appears: short texts do without."""
_TIGHTER = 2
"""When too much was copied, half of it is written anew."""


class KeySource(Protocol):
    """What `Keys` does, for a stream that nobody steers as well."""

    def wait(self, seconds: float) -> list[str]:
        """Keys that came within a time."""


@dataclass(slots=True)
class _Piece:
    """A token that is written and waits to be shown."""

    node: int
    copied: bool = False


class Stream:
    """One continuation on its way to the screen.

    Args:
        session: whose tip it moves.
        screen: where it goes.
        keys: what steers it; None where nobody can, and then it has no pace.
        note: is told what the person should know before it begins.
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
        # Without a person to see the underlining, copies matter only where they are limited.
        watched = screen.interactive or session.settings.max_copy > 0
        self._copies: CopyWatch | None = session.copies(note) if watched else None
        self._ahead: deque[_Piece] = deque()
        self._shown = self._writing.first
        self._decoder, self._safe = StreamDecoder(), SafeStream()
        self._paused = self._stopped = self._underlined = False
        self._due, self._last = 0.0, time.monotonic()
        self._panel = Panel(screen.out, screen.size) if screen.interactive and keys else None
        shows = session.heat_on or bool(session.watched)
        self._pictured = 0.0 if shows else time.monotonic() + _QUIET - _PICTURE
        longest = max((len(one.encode()) for one in session.settings.sample.stop), default=0)
        self._lag = longest
        if self._copies is not None:
            recent = session.tree.path(self._shown, 4 * SHORTEST)
            self._copies.restart([session.tree.token(one) for one in recent])
            self._lag = max(longest, SHORTEST, session.settings.max_copy)

    def run(self) -> str:
        """Write to the end, or until it is stopped; why it ended.

        Raises:
            ChargenError: the model's numbers overflowed; what was shown stays.
        """
        session = self._session
        if self._panel is not None and session.heat_on:
            self._prefill()
        try:
            with getattr(self._keys, "reading", nullcontext)():
                while not self._stopped and (self._writing.finish is None or self._ahead):
                    self._frame()
        except KeyboardInterrupt:
            self._stopped = True
        finally:
            self._finish()
        return "stopped" if self._stopped else self._writing.finish or "stopped"

    def _frame(self) -> None:
        began = time.monotonic()
        speed = self._session.settings.speed
        free = self._keys is None or speed == FASTEST
        # After a pause or a slow step the text does not rush to catch up.
        self._due += 0 if self._paused else (began - self._last) * speed
        self._due = min(self._due, max(1.0, speed / 4))
        self._last = began
        if not self._paused:
            room = math.inf if free else self._due
            self._write(began + _SLICE, room)
            self._show(room)
        if self._panel is not None and began - self._pictured >= _PICTURE:
            self._pictured = began
            self._picture()
        self._screen.out.flush()
        if self._keys is not None:
            busy = free and not self._paused
            rest = 0.0 if busy else max(0.0, _FRAME - (time.monotonic() - began))
            for key in self._keys.wait(rest):
                self._press(key)

    def _write(self, deadline: float, room: float) -> None:
        """Write ahead: as far as is needed to show what is due, or for a slice of time."""
        writing = self._writing
        new: list[int] = []
        wanted = self._lag + max(1.0, room)
        while writing.finish is None and len(self._ahead) + len(new) < wanted:
            node = writing.advance()
            if writing.finish != "stop":  # then it is an older one
                new.append(node)
            if len(new) % 8 == 0 and time.monotonic() > deadline:
                break
        if writing.finish == "stop":  # what began the stop text was taken back
            kept = writing.node
            new = [one for one in new if one <= kept]
            while self._ahead and self._ahead[-1].node > kept:
                self._ahead.pop()
        tree = self._session.tree
        if self._copies is None or not new:
            self._ahead.extend(map(_Piece, new))
            return
        lengths = self._copies.feed([tree.token(one) for one in new])
        for node, length in zip(new, lengths, strict=True):
            self._ahead.append(_Piece(node))
            for piece in list(self._ahead)[-length:] if length else ():
                piece.copied = True
            limit = self._session.settings.max_copy
            if limit and length > limit and self._write_differently(length):
                break

    def _write_differently(self, length: int) -> bool:
        """Take back half of a copy, and choose another token where it went on."""
        back = min(len(self._ahead), max(1, length // _TIGHTER))
        tree = self._session.tree
        wrong = self._ahead[-back].node
        node = tree.parent(wrong)
        if not self._writing.rewind(node, avoid=tree.token(wrong)):
            return False
        for _ in range(back):
            self._ahead.pop()
        for piece in self._ahead:
            piece.copied = piece.copied and length - back >= SHORTEST
        self._rewound(node)
        return True

    def _rewound(self, node: int) -> None:
        self._session.heat.rewound(node)
        if self._copies is not None:
            tree = self._session.tree
            recent = tree.path(node, 4 * SHORTEST)
            self._copies.restart([tree.token(one) for one in recent])

    def _show(self, room: float) -> None:
        """Show what is due and certain."""
        session = self._session
        certain = len(self._ahead) - (self._lag if self._writing.finish is None else 0)
        parts = []
        interactive, text_of, ahead = self._screen.interactive, self._text, self._ahead
        while certain > 0 and room >= 1:
            piece = ahead.popleft()
            certain -= 1
            self._shown = piece.node
            text = text_of(piece.node)
            room -= len(text)
            if piece.copied != self._underlined and interactive:
                parts.append("\x1b[4m" if piece.copied else "\x1b[24m")
                self._underlined = piece.copied
            parts.append(text)
        if parts:
            session.tree.branches[session.tree.branch] = self._shown
            self._due = 0.0 if room == math.inf else room
            self._screen.out.write("".join(parts))

    def _text(self, node: int) -> str:
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
            faster(settings, 1.5)
        elif key == "-":
            faster(settings, 1 / 1.5)
        elif key in "[]":
            warmer(settings, 0.1 if key == "]" else -0.1)
            self._writing.rewind(self._shown)
            sample = replace(settings.sample, seed=self._session.seed)
            self._writing.change(sample)
            self._ahead.clear()
            self._rewound(self._shown)
        else:
            self._stopped = True

    def _prefill(self) -> None:
        session = self._session
        nodes = session.tree.path(self._shown, 200)
        session.heat.clear()
        if nodes:
            session.heat.fill(session.trace(200, self._shown)[0], nodes)

    def _picture(self) -> None:
        """The picture below, if there is anything to see and room for it."""
        assert self._panel is not None
        columns, rows = self._panel.room()
        self._panel.show(self._lines(columns, rows) if rows > 2 else [])

    def _lines(self, columns: int, rows: int) -> list[str]:
        session, palette = self._session, self._screen.palette
        lines: list[str] = []
        nodes = session.tree.path(self._shown, columns)
        for unit in session.watched[: max(0, rows - 1)]:
            name = unit.spelled(session.model.config)
            values = session.unit_values(unit, nodes)
            lines.append(spark_line(name, values, columns, ascii=palette.ascii))
        rows -= len(lines)
        if session.heat_on and rows >= 5:
            labels = session.labels(nodes)
            options = ViewOptions(labels=labels, tokenizer=session.model.tokenizer)
            height = min(HEAT_ROWS, rows - 3)
            units = 2 * height if palette.paints and not palette.ascii else height
            grid = session.heat.grid(self._shown, columns, units, options)
            if grid is not None:
                lines += render(grid, palette, columns)[:rows]
        return [*lines, self._status(columns)]

    def _status(self, columns: int) -> str:
        settings = self._session.settings
        speed = "max" if settings.speed == FASTEST else f"{settings.speed:.0f}/s"
        parts = (
            f"t {settings.sample.temperature:g} [ ]",
            f"{speed} + -",
            "paused" if self._paused else "space pauses",
            "Ctrl-C stops",
        )
        return fitting(parts, columns, "  ")

    def _finish(self) -> None:
        session = self._session
        self._writing.finish = self._writing.finish or "stopped"
        session.tree.branches[session.tree.branch] = self._shown
        session.heat.rewound(self._shown)
        if self._panel is not None:
            self._panel.close()
        rest = self._safe.feed(self._decoder.finish())
        self._screen.out.write(rest + ("\x1b[24m" if self._underlined else "") + "\n")
        self._screen.out.flush()


def shown_whitespace(text: SafeText, *, ascii: bool) -> SafeText:
    """Text with its white space as marks; lines still end where they end."""
    marks = {one: column_label(one, ascii=ascii)[0] for one in (" ", "\n", "\t")}
    marks["\n"] = SafeText(marks["\n"] + "\n")
    return SafeText("".join(marks.get(one, one) for one in text))
