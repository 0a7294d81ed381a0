"""Properties of a text that a unit may track: a table of functions, and a person's own labels.

Each gives a number a character, true of the text up to it and with it. Shape letters: N
characters, T tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chargen.errors import CorpusError

Values = npt.NDArray[np.float32]
_OPENING, _CLOSING = "([{⟨«", ")]}⟩»"
_SENTENCE = frozenset(".!?。！？")
_TAB = 4
_NAME = re.compile(r"[^\W_][\w.+-]{0,39}")
_MOST_LABELS = 64


@dataclass(frozen=True)
class Property:
    """A row of `PROPERTIES`."""

    help: str
    measure: Callable[[str], Values]
    """A text to its values (N,)."""
    counts: bool = False
    """Whether it is a number, to be correlated; otherwise it is so or not."""


def _over(text: str, step: Callable[[str], float]) -> Values:
    return np.fromiter(map(step, text), np.float32, len(text))


def _mask(text: str, pattern: re.Pattern[str]) -> Values:
    found = np.zeros(len(text), np.float32)
    for one in pattern.finditer(text):
        found[one.start() : one.end()] = 1
    return found


# What was opened and not closed ends with the paragraph: one quote too few must not turn the rest.
_QUOTED = re.compile(
    r'"(?:[^"\n]|\n(?!\n))*+(?=")|“(?:[^”\n]|\n(?!\n))*+(?=”)|«(?:[^»\n]|\n(?!\n))*+(?=»)'
)
_STRING = re.compile(
    r'"""(?:.|\n)*?(?=""")|\'\'\'(?:.|\n)*?(?=\'\'\')'
    r"|(?<!\w)'(?:\\.|[^'\\\n])*(?=')|\"(?:\\.|[^\"\\\n])*(?=\")"
)
_COMMENT = re.compile(r"(?:(?<=\s)|^)(?:#|//)[^\n]*|/\*(?:.|\n)*?\*/", re.MULTILINE)
_WORD_BEGINS = re.compile(r"(?<!\w)\w")


def _quoted(text: str) -> Values:
    found = np.zeros(len(text), np.float32)
    place = 0
    while (one := _QUOTED.search(text, place)) is not None:
        found[one.start() : one.end()] = 1
        place = one.end() + 1  # past the closing mark, which opens nothing
    return found


def _strings(text: str) -> Values:
    found = np.zeros(len(text), np.float32)
    place = 0
    while (one := _STRING.search(text, place)) is not None:
        found[one.start() : one.end()] = 1
        width = 3 if one.group()[:3] in ('"""', "'''") else 1
        place = one.end() + width
    return found


def _depth(text: str) -> Values:
    found, depth, before = np.zeros(len(text), np.float32), 0, ""
    for place, one in enumerate(text):
        if one in _OPENING:
            depth += 1
        elif one in _CLOSING:
            depth = max(0, depth - 1)
        elif one == before == "\n":
            depth = 0
        before = one
        found[place] = depth
    return found


def _since(text: str, ends: Callable[[str], bool]) -> Values:
    """Characters since one of a kind; zero at it."""
    found, count = np.zeros(len(text), np.float32), 0
    for place, one in enumerate(text):
        count = 0 if ends(one) else count + 1
        found[place] = count
    return found


def _indentation(text: str) -> Values:
    found, width, leading = np.zeros(len(text), np.float32), 0, True
    for place, one in enumerate(text):
        if one == "\n":
            width, leading = 0, True
        elif leading and one in " \t":
            width += _TAB if one == "\t" else 1
        else:
            leading = False
        found[place] = width
    return found


PROPERTIES: dict[str, Property] = {
    "in-quotes": Property("between double quotation marks", _quoted),
    "in-brackets": Property(
        "within brackets of any kind", lambda text: np.minimum(_depth(text), 1)
    ),
    "bracket-depth": Property("how many brackets are open", _depth, counts=True),
    "line-position": Property(
        "characters since the line began", lambda text: _since(text, "\n".__eq__), counts=True
    ),
    "indentation": Property("how far the line is indented", _indentation, counts=True),
    "sentence-length": Property(
        "characters since the last sentence", lambda text: _since(text, _SENTENCE.__contains__),
        counts=True,
    ),
    "word-length": Property(
        "letters of the word so far", lambda text: _since(text, lambda one: not one.isalnum()),
        counts=True,
    ),
    "word-start": Property("the first letter of a word", lambda text: _mask(text, _WORD_BEGINS)),
    "upper-case": Property("a capital", lambda text: _over(text, str.isupper)),
    "digit": Property("a digit", lambda text: _over(text, str.isdigit)),
    "white-space": Property("a space, tab or line end", lambda text: _over(text, str.isspace)),
    "in-string": Property("within a string of code", _strings),
    "in-comment": Property("within a comment of code", lambda text: _mask(text, _COMMENT)),
}  # fmt: skip
"""What is looked for, in the order in which it is told."""


def measure_properties(labels: tuple[str, ...]) -> dict[str, Values]:
    """Every property for every token: what is true after its last character.

    Args:
        labels: the texts of T tokens; one that completes no character repeats the one before.

    Returns:
        (T,) by name.
    """
    text = "".join(labels)
    lasts = np.cumsum([len(one) for one in labels]) - 1
    return {
        name: one.measure(text)[np.maximum(lasts, 0)] if text else np.zeros(len(labels), np.float32)
        for name, one in PROPERTIES.items()
    }


def read_labels(path: Path, labels: tuple[str, ...]) -> dict[str, Values]:
    """A person's own labels: lines of START, END, NAME, separated by tabs.

    START and END count characters of the text from 0; END is not part of the range. Lines that
    begin with # are left out.

    Args:
        path: the file.
        labels: the texts of T tokens.

    Returns:
        (T,) by name: 1 within the ranges of that name, 0 elsewhere.

    Raises:
        CorpusError: the file cannot be read, or a line is not of that kind.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise CorpusError(f"--labels {path}: cannot be read ({reason})") from error
    size = sum(map(len, labels))
    lasts = np.maximum(np.cumsum([len(one) for one in labels]) - 1, 0)
    found: dict[str, Values] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        start, end, name = (*line.split("\t"), "", "")[:3]
        fine = start.isdecimal() and end.isdecimal() and len(start) < 16 and len(end) < 16
        if line.count("\t") != 2 or not fine or not int(start) < int(end):
            raise CorpusError(f"--labels {path}, line {number}: write START, END, NAME with tabs")
        if not _NAME.fullmatch(name):
            raise CorpusError(
                f"--labels {path}, line {number}: '{name}' is no name: letters, digits, -, _"
            )
        if int(end) > size:
            raise CorpusError(
                f"--labels {path}, line {number}: END {end} is past the {size:,} characters read"
            )
        values = found.setdefault(name, np.zeros(size, np.float32))
        values[int(start) : int(end)] = 1
    if not found:
        raise CorpusError(f"--labels {path}: has no labels")
    if len(found) > _MOST_LABELS:
        raise CorpusError(f"--labels {path}: {len(found)} names are more than {_MOST_LABELS}")
    return {name: values[lasts] for name, values in found.items()}
