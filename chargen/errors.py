"""The exceptions a person can meet, and the exit codes they end in.

    ChargenError                1  something failed; the message is one line
    ├── UsageError              2  an option, a name or a setting is wrong
    ├── CorpusError             3  a text cannot be read or is of no use
    ├── ModelFileError          3  a model file cannot be read or is not one
    └── NetworkError            1  a named corpus needs a network that is not there

Every message is one line that names the thing, the value and the way out. Mistakes of
chargen itself are `assert`s and keep their traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says to the shell."""

    DONE = 0
    FAILURE = 1
    USAGE = 2
    UNUSABLE = 3
    FOUND = 4
    """`chargen surprise --max-bits` found what it was to look for."""
    INTERRUPTED = 130
    TERMINATED = 143


class ChargenError(Exception):
    """Base of everything chargen raises on purpose."""

    exit_code = ExitCode.FAILURE


class UsageError(ChargenError):
    """An option, a name or a setting is wrong; several problems are joined by '; '."""

    exit_code = ExitCode.USAGE


class CorpusError(ChargenError):
    """A text cannot be read, or is of no use for what was asked."""

    exit_code = ExitCode.UNUSABLE


class ModelFileError(ChargenError):
    """A model file cannot be read, or is not a model file of ours."""

    exit_code = ExitCode.UNUSABLE


class NetworkError(ChargenError):
    """A corpus has to be fetched and the network does not answer."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that is not in a table, with the nearest that is.

    >>> unknown_name("cell", "lsmt", ["lstm", "gru"])
    "unknown cell 'lsmt': did you mean 'lstm'? (there are: gru, lstm)"
    """
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    listing = f"there are: {', '.join(names)}"
    return (
        f"unknown {kind} '{name}': {hint}({listing})"
        if hint
        else (f"unknown {kind} '{name}': {listing}")
    )
