"""The exceptions that chargen raises on purpose, and the exit codes of the process.

    ChargenError                1  something failed
    ├── UsageError              2  an option, a name or a setting is wrong
    ├── CorpusError             3  a text cannot be read or used
    ├── ModelFileError          3  a model file cannot be read or used
    └── NetworkError            1  a corpus must be downloaded and the network does not answer

Every message is one line. It names the thing, the value and the way out. Faults of chargen
itself are `assert`s and keep their traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the process."""

    DONE = 0
    FAILURE = 1
    USAGE = 2
    UNUSABLE = 3
    FOUND = 4
    """`chargen surprise --max-bits` found a text above its limit."""
    INTERRUPTED = 130
    TERMINATED = 143


class ChargenError(Exception):
    """The base of all exceptions that chargen raises on purpose."""

    exit_code = ExitCode.FAILURE


class UsageError(ChargenError):
    """An option, a name or a setting is wrong; several problems are joined by '; '."""

    exit_code = ExitCode.USAGE


class CorpusError(ChargenError):
    """A text cannot be read, or a command cannot use it."""

    exit_code = ExitCode.UNUSABLE


class ModelFileError(ChargenError):
    """A model file cannot be read, or chargen did not write it."""

    exit_code = ExitCode.UNUSABLE


class NetworkError(ChargenError):
    """A corpus must be downloaded and the network does not answer."""


class UnseenWarning(UserWarning):
    """A text has characters that the model never saw: others are read instead of them."""


def reason_of(error: BaseException) -> str:
    """The words of the operating system for an error, without the path; else the error's own.

    >>> reason_of(FileNotFoundError(2, "No such file or directory", "a.txt"))
    'No such file or directory'
    """
    return str(getattr(error, "strerror", None) or error)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line about a name that is not in a table, with the most similar name of the table.

    Args:
        kind: what the names stand for, such as "cell".
        name: the unknown name.
        known: the names of the table.

    >>> unknown_name("cell", "lsmt", ["lstm", "gru"])
    "unknown cell 'lsmt': did you mean 'lstm'? (there are: gru, lstm)"
    """
    import difflib

    names = sorted(known)
    if not names:
        return f"unknown {kind} '{name}': there are none yet"
    listing = f"there are: {', '.join(names)}"
    similar = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    if similar:
        return f"unknown {kind} '{name}': did you mean '{similar[0]}'? ({listing})"
    return f"unknown {kind} '{name}': {listing}"
