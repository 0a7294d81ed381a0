"""Properties of a text that a unit may track: a table of functions, and a person's own labels.

Each property is a number for each character; it depends on the text up to that character. This file
knows no model. Shape letters: N characters, T tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chargen.errors import CorpusError, reason_of
from chargen.text.reader import read_all
from chargen.text.reading import Reading

Values = npt.NDArray[np.float32]
_OPENING, _CLOSING = "([{⟨«", ")]}⟩»"
_SENTENCE = frozenset(".!?。！？")
_TAB_COLUMNS = 4
_LABEL_NAME = re.compile(r"[^\W_][\w.+-]{0,39}")
_MAX_LABEL_NAMES = 64
_MAX_DIGITS = 15
"""Digits of a START or END in a file of labels."""


@dataclass(frozen=True)
class Property:
    """A row of `PROPERTIES`."""

    help: str
    measure: Callable[[str], Values]
    """From a text to its values (N,)."""
    counts: bool = False
    """Whether it is a number, to be correlated; otherwise it is 0 or 1."""


def _for_each(text: str, measure: Callable[[str], float]) -> Values:
    return np.fromiter(map(measure, text), np.float32, len(text))


def _matches(text: str, pattern: re.Pattern[str]) -> Values:
    values = np.zeros(len(text), np.float32)
    for match in pattern.finditer(text):
        values[match.start() : match.end()] = 1
    return values


# Open quotation marks end with the paragraph: a missing mark must not invert all that follows.
_QUOTED = re.compile(
    r'"(?:[^"\n]|\n(?!\n))*+(?=")|“(?:[^”\n]|\n(?!\n))*+(?=”)|«(?:[^»\n]|\n(?!\n))*+(?=»)'
)
_STRING = re.compile(
    r'"""(?:.|\n)*?(?=""")|\'\'\'(?:.|\n)*?(?=\'\'\')'
    r"|(?<!\w)'(?:\\.|[^'\\\n])*(?=')|\"(?:\\.|[^\"\\\n])*(?=\")"
)
_COMMENT = re.compile(r"(?:(?<=\s)|^)(?:#|//)[^\n]*|/\*(?:.|\n)*?\*/", re.MULTILINE)
_WORD_BEGINS = re.compile(r"(?<!\w)\w")


def _between_marks(
    text: str, pattern: re.Pattern[str], closing: Callable[[str], int] = lambda match: 1
) -> Values:
    """1 within matches, which end before a closing mark; the search goes on after that mark.

    Args:
        text: the text.
        pattern: matches from the opening mark up to the closing one.
        closing: from a match to the characters of its closing mark.
    """
    values, start = np.zeros(len(text), np.float32), 0
    while (match := pattern.search(text, start)) is not None:
        values[match.start() : match.end()] = 1
        start = match.end() + closing(match.group())
    return values


def _string_mark(string: str) -> int:
    return 3 if string[:3] in ('"""', "'''") else 1


def _depth(text: str) -> Values:
    values, depth, before = np.zeros(len(text), np.float32), 0, ""
    for position, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth = max(0, depth - 1)
        elif character == before == "\n":
            depth = 0
        before = character
        values[position] = depth
    return values


def _since(text: str, ends: Callable[[str], bool]) -> Values:
    """Characters since the last one for which `ends` is true; zero at that one."""
    values, count = np.zeros(len(text), np.float32), 0
    for position, character in enumerate(text):
        count = 0 if ends(character) else count + 1
        values[position] = count
    return values


def _indentation(text: str) -> Values:
    values, width, leading = np.zeros(len(text), np.float32), 0, True
    for position, character in enumerate(text):
        if character == "\n":
            width, leading = 0, True
        elif leading and character in " \t":
            width += _TAB_COLUMNS if character == "\t" else 1
        else:
            leading = False
        values[position] = width
    return values


PROPERTIES: dict[str, Property] = {
    "in-quotes": Property(
        "between double quotation marks", lambda text: _between_marks(text, _QUOTED)
    ),
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
        "letters of the word so far",
        lambda text: _since(text, lambda character: not character.isalnum()),
        counts=True,
    ),
    "word-start": Property("the first letter of a word", lambda text: _matches(text, _WORD_BEGINS)),
    "upper-case": Property("a capital", lambda text: _for_each(text, str.isupper)),
    "digit": Property("a digit", lambda text: _for_each(text, str.isdigit)),
    "white-space": Property("a space, tab or line end", lambda text: _for_each(text, str.isspace)),
    "in-string": Property(
        "within a string of code", lambda text: _between_marks(text, _STRING, _string_mark)
    ),
    "in-comment": Property("within a comment of code", lambda text: _matches(text, _COMMENT)),
}  # fmt: skip
"""The properties that are looked for, in the order in which they are listed."""


def measure_properties(labels: tuple[str, ...]) -> dict[str, Values]:
    """Every property for every token: its value after the token's last character.

    Args:
        labels: the texts of T tokens; an empty one has the values of the token before.

    Returns:
        (T,) by name.
    """
    text = "".join(labels)
    if not text:
        return {name: np.zeros(len(labels), np.float32) for name in PROPERTIES}
    lasts = _last_characters(labels)
    return {name: row.measure(text)[lasts] for name, row in PROPERTIES.items()}


def _last_characters(labels: tuple[str, ...]) -> npt.NDArray[np.intp]:
    """The position in the text of each token's last character, (T,)."""
    return np.asarray(np.maximum(np.cumsum([len(label) for label in labels]) - 1, 0))


def read_labels(
    path: Path, labels: tuple[str, ...], encoding: str | None = None
) -> dict[str, Values]:
    """Reads a person's own labels: lines of START, END, NAME, separated by tabs.

    START and END count characters of the text from 0; END is not part of the range. Lines that
    begin with # are comments.

    Args:
        path: the file.
        labels: the texts of T tokens.
        encoding: of the file; None means UTF-8, or what a byte order mark says.

    Returns:
        (T,) by name: 1 within the ranges of that name, 0 elsewhere.

    Raises:
        CorpusError: the file cannot be read, or a line is not of that kind.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise CorpusError(f"--labels {path}: cannot be read ({reason_of(error)})") from error
    text = read_all(data, f"--labels {path}", Reading(encoding=encoding))
    assert isinstance(text, str)
    lines = text.split("\n")
    size = sum(map(len, labels))
    by_name: dict[str, Values] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        start, end, name = (*line.split("\t"), "", "")[:3]
        decimal = all(text.isdecimal() and len(text) <= _MAX_DIGITS for text in (start, end))
        if line.count("\t") != 2 or not decimal or not int(start) < int(end):
            raise CorpusError(f"--labels {path}, line {number}: write START, END, NAME with tabs")
        if not _LABEL_NAME.fullmatch(name):
            raise CorpusError(
                f"--labels {path}, line {number}: '{name}' is no name: letters, digits, -, _"
            )
        if int(end) > size:
            raise CorpusError(
                f"--labels {path}, line {number}: END {end} is past the {size:,} characters read"
            )
        values = by_name.setdefault(name, np.zeros(size, np.float32))
        values[int(start) : int(end)] = 1
    if not by_name:
        raise CorpusError(f"--labels {path}: has no labels")
    if len(by_name) > _MAX_LABEL_NAMES:
        raise CorpusError(f"--labels {path}: {len(by_name)} names are more than {_MAX_LABEL_NAMES}")
    lasts = _last_characters(labels)
    return {name: values[lasts] for name, values in by_name.items()}
