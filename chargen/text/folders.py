"""The files below a folder: in the order in which people count, without what nobody wrote."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from chargen.errors import CorpusError, reason_of
from chargen.text.reading import Reading

_JUNK_NAMES = frozenset(
    {"desktop.ini", "thumbs.db", "ehthumbs.db", "icon\r", "$recycle.bin", "__macosx"}
)
"""Files and folders that systems put between a person's own, in small letters."""
_JUNK_PATTERNS = ("*~", "#*#", "*.swp", "*.swo", "*.bak", "*.orig", "~$*", "*.tmp", "*.part")
"""Backups, locks and unfinished files of editors, office programs and browsers."""
_DIGITS = re.compile(r"(\d+)")


def natural_key(path: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sorts paths as people count, folder by folder: ch2 before ch10.

    >>> sorted(["ch10.txt", "ch2.txt"], key=natural_key)
    ['ch2.txt', 'ch10.txt']
    """
    parts: list[tuple[int, int, str]] = []
    for name in path.split("/"):
        for part in _DIGITS.split(name):
            is_number = part.isdecimal()
            parts.append((1, int(part), "") if is_number and len(part) < 4000 else (2, 0, part))
        parts.append((0, 0, ""))  # the end of a name comes before everything else
    return tuple(parts), path


def is_junk(name: str) -> bool:
    """Whether no person wrote the file or folder of this name."""
    lower = name.lower()
    return (
        name.startswith(".")
        or lower in _JUNK_NAMES
        or any(fnmatchcase(lower, pattern) for pattern in _JUNK_PATTERNS)
    )


def is_wanted(path: str, reading: Reading) -> bool:
    """Whether a file is read, by `--include` and `--exclude`.

    Args:
        path: from the named folder on, with slashes; a pattern fits its name, the whole path, or a
            folder on the way.
        reading: has the patterns.
    """
    if reading.include and not any(_fits(path, pattern) for pattern in reading.include):
        return False
    return not any(_fits(path, pattern) for pattern in reading.exclude)


def _fits(path: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("./").rstrip("/")
    parts = path.split("/")
    starts = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    return any(fnmatchcase(text, pattern) for text in (*parts, *starts))


@dataclass
class Folder:
    """Walks through a folder; remembers what it could not read."""

    path: Path
    problems: list[str] = field(default_factory=list)
    """A phrase for each folder or link that was left out."""

    def files(self, reading: Reading) -> Iterator[tuple[str, Path]]:
        """Each wanted file with its path from the folder on, in natural order.

        Links are followed; no folder is entered twice, so that a loop of links ends.

        Raises:
            CorpusError: the folder itself cannot be read.
        """
        self.problems.clear()
        found: list[tuple[str, Path]] = []
        links: list[tuple[str, Path]] = []
        entered = {self._identity(self.path)}
        self._walk("", self.path, reading, entered, found, links)
        # Links wait, so that a folder is read where it stands and not where a link leads to it.
        read = {self._identity(path) for _, path in found} if links else set()
        while links:
            shown, path = links.pop(0)
            try:
                identity, is_folder = self._identity(path), path.is_dir()
                if identity in entered | read:
                    what = "/ (a link to a folder" if is_folder else " (a link to a file"
                    self.problems.append(f"{shown}{what} that is read)")
                elif is_folder:
                    entered.add(identity)
                    before = len(found)
                    self._walk(f"{shown}/", path, reading, entered, found, links)
                    read.update(self._identity(path) for _, path in found[before:])
                elif path.is_file() and is_wanted(shown, reading):
                    read.add(identity)
                    found.append((shown, path))
            except FileNotFoundError:
                self.problems.append(f"{shown} (a link to nothing)")
            except OSError as error:  # such as a link to itself
                self.problems.append(f"{shown} ({reason_of(error)})")
        return iter(sorted(found, key=lambda item: natural_key(item[0])))

    def _walk(
        self,
        prefix: str,
        folder: Path,
        reading: Reading,
        entered: set[tuple[int, int]],
        found: list[tuple[str, Path]],
        links: list[tuple[str, Path]],
    ) -> None:
        """Finds the files and links of a folder and of the folders in it."""
        waiting = [(prefix, folder)]
        while waiting:
            prefix, folder = waiting.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                if folder == self.path:
                    raise CorpusError(f"{folder}: cannot be read ({reason_of(error)})") from error
                self.problems.append(f"{prefix} (cannot be read: {reason_of(error)})")
                continue
            for entry in entries:
                shown, path = f"{prefix}{entry.name}", Path(entry.path)
                if is_junk(entry.name):
                    continue
                if entry.is_symlink():
                    links.append((shown, path))
                elif entry.is_dir():
                    identity = self._identity(path)
                    if identity not in entered:  # a link may have led above this folder
                        entered.add(identity)
                        waiting.append((f"{shown}/", path))
                elif entry.is_file() and is_wanted(shown, reading):
                    found.append((shown, path))

    @staticmethod
    def _identity(path: Path) -> tuple[int, int]:
        status = path.stat()
        return status.st_dev, status.st_ino
