"""Ways out of an error, as whoever reads the message can take them.

The same text is read by `train`, which has --tokenizer, by `eval`, which has not, and by a program
that calls the library, which gives keywords. So a message asks here: an option is advised only
where it exists, and as it is spelled there. Commands that are printed are quoted for a shell.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class _Place:
    """Where messages are read."""

    kind: str
    """`library`, `command` or `repl`."""
    only: frozenset[str] | None = None
    """The options that exist; None: all."""
    without: frozenset[str] = frozenset()
    """Options that exist but would be refused."""

    def has(self, option: str) -> bool:
        return option not in self.without and (self.only is None or option in self.only)


_LIBRARY = _Place("library")
_PLACE: ContextVar[_Place] = ContextVar("chargen_place", default=_LIBRARY)


@contextmanager
def read_by(kind: str, options: Iterable[str] | None = None) -> Iterator[None]:
    """Says who reads the messages of the block.

    Args:
        kind: `library` (keywords), `command` (options) or `repl` (settings).
        options: the options that exist, spelled as on the command line; None: all.
    """
    token = _PLACE.set(_Place(kind, None if options is None else frozenset(options)))
    try:
        yield
    finally:
        _PLACE.reset(token)


def has_options(options: Iterable[str]) -> None:
    """Says which options the running command has, once its name is known; see `read_by`."""
    place = _PLACE.get()
    if place.kind == "command":  # a program that only looks at the commands reads as before
        _PLACE.set(replace(place, only=frozenset(options)))


@contextmanager
def limited(*, only: Iterable[str] | None = None, without: Iterable[str] = ()) -> Iterator[None]:
    """Leaves out options that the function in the block has not, or would refuse.

    Args:
        only: the options that it has; None: no limit.
        without: those that it refuses.
    """
    place = _PLACE.get()
    if only is not None:
        place = replace(place, only=frozenset(filter(place.has, only)))
    token = _PLACE.set(replace(place, without=place.without | frozenset(without)))
    try:
        yield
    finally:
        _PLACE.reset(token)


def option(name: str, value: str | float | None = None) -> str | None:
    """An option as it is given here; None where there is no such option.

    Args:
        name: as it is spelled on the command line.
        value: None for an option that is on or off, and for no other.

    >>> option("--encoding", "cp1252"), option("--minutes", 2.0), option("--overwrite")
    ("encoding='cp1252'", 'minutes=2', 'overwrite=True')
    """
    place = _PLACE.get()
    if not place.has(name):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    keyword = name.removeprefix("--").replace("-", "_")
    if place.kind == "library":
        return f"{keyword}={True if value is None else repr(value)}"
    if place.kind == "repl":
        return f"/set {keyword.replace('_', '-')} {value}"
    return name if value is None else f"{name} {shlex.quote(str(value))}"


def any_of(*names: str) -> str | None:
    """The names of those options that exist here, as a list with "or"; None if there are none.

    >>> any_of("--hidden-size", "--batch-size", "--bptt")
    'hidden_size, batch_size or bptt'
    """
    place = _PLACE.get()
    here = [name for name in names if place.has(name)]
    if place.kind == "library":
        here = [name.removeprefix("--").replace("-", "_") for name in here]
    return " or ".join(filter(None, (", ".join(here[:-1]), here[-1]))) if here else None


def ways(*phrases: str | tuple[str, str | None] | None) -> str:
    """The end of a message: those ways out that exist.

    Args:
        phrases: each a way; or a verb and what follows it, None if that does not exist here.

    >>> ways("put it back", ("add", option("--overwrite")), ("use", None))
    '; put it back, or add overwrite=True'
    """
    here = []
    for phrase in phrases:
        if isinstance(phrase, tuple):
            verb, rest = phrase
            phrase = None if rest is None else f"{verb} {rest}"
        if phrase is not None:
            here.append(phrase)
    return f"; {', or '.join(here)}" if here else ""


def spelled(*words: str) -> str:
    """A command as it can be pasted into a shell.

    Args:
        words: `chargen`, the command, and its arguments (no options). A name that begins with a
            dash comes after `--`, or it would be taken for an option.

    >>> spelled("chargen", "repl", "my run"), spelled("chargen", "repl", "-x")
    ("chargen repl 'my run'", 'chargen repl -- -x')
    """
    dashed = any(word.startswith("-") for word in words[2:])
    words = (*words[:2], "--", *words[2:]) if dashed else words
    if os.name == "nt":
        return subprocess.list2cmdline(words)
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """A word for a shell; characters that a terminal does not show are written by their bytes."""
    if word.isprintable():
        return shlex.quote(word)
    plain = range(0x20, 0x7F)
    spelling = (
        chr(byte) if byte in plain and byte not in b"\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f"$'{''.join(spelling)}'"
