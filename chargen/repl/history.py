"""The lines that a person typed in earlier sessions: private, bounded, in the state folder.

Each line of the file is one text as JSON. A long paste is no line that a person wants to find with
the arrow keys; it is left out, and so is what is older than the last thousand lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import History

from chargen.errors import ChargenError
from chargen.files import atomic_writer, cache_folder, open_state_folder

MAX_LINES = 1000
MAX_CHARACTERS = 2000
"""A longer text is left out."""
_MAX_BYTES = 1 << 20
"""A larger file is shortened to `MAX_LINES` before it grows."""
_FILE = "history"
_OLD_FILE = "repl_history"
"""Where the history was before, in the cache: every paste, and readable for everybody."""


class LineHistory(History):
    """The history that prompt_toolkit shows; kept in memory only where there is no state folder."""

    def __init__(self) -> None:
        super().__init__()
        self._path: Path | None = None
        with suppress(ChargenError, OSError):
            path = open_state_folder() / _FILE
            _take_over(cache_folder() / _OLD_FILE, path)
            os.close(_open(path))
            self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """Returns the lines of earlier sessions, the newest first."""
        return [] if self._path is None else reversed(_read_lines(self._path))

    def store_string(self, string: str) -> None:
        """Adds a line to the file; a long one is left out."""
        if self._path is None or len(string) > MAX_CHARACTERS:
            return
        with suppress(ChargenError, OSError):
            if self._path.exists() and self._path.stat().st_size > _MAX_BYTES:
                _write_lines(self._path, _read_lines(self._path))
            with os.fdopen(_open(self._path), "ab") as file:
                file.write(_encode(string))


def _open(path: Path) -> int:
    """Opens the file to add to it; makes it readable for its user alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with suppress(OSError):  # a file system without modes
        path.chmod(0o600)
    return descriptor


def _encode(line: str) -> bytes:
    return json.dumps(line).encode("ascii") + b"\n"


def _read_lines(path: Path) -> list[str]:
    """The last lines of the file, the oldest first; damaged and long ones are left out."""
    lines = []
    for raw in _tail(path).splitlines():
        with suppress(ValueError):
            line = json.loads(raw)
            if isinstance(line, str) and len(line) <= MAX_CHARACTERS:
                lines.append(line)
    return lines[-MAX_LINES:]


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    """Replaces the file by the last lines that fill at most half of what it may hold."""
    encoded, size = [], 0
    for line in reversed(lines[-MAX_LINES:]):
        encoded.append(_encode(line))
        size += len(encoded[-1])
        if size > _MAX_BYTES // 2:
            break
    with atomic_writer(path, private=True) as handle:
        handle.writelines(reversed(encoded))


def _tail(path: Path) -> bytes:
    """The end of a file, which is not read whole when it is large."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4 * _MAX_BYTES))
            return file.read(4 * _MAX_BYTES)
    except OSError:
        return b""


def _take_over(old: Path, path: Path) -> None:
    """Takes the lines of the old file into the new one, and removes the old file.

    Its form is prompt_toolkit's: each text has a comment before it and `+` before its lines.
    """
    if not old.is_file():
        return
    texts: list[list[str]] = [[]]
    for line in _tail(old).decode("utf-8", "replace").split("\n"):
        if line.startswith("+"):
            texts[-1].append(line[1:])
        elif texts[-1]:
            texts.append([])
    joined = ["\n".join(text) for text in texts if text]
    newer = _read_lines(path)
    known = set(newer)
    older = [line for line in joined if len(line) <= MAX_CHARACTERS and line not in known]
    _write_lines(path, [*older, *newer])
    old.unlink()
