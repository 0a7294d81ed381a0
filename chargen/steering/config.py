"""What may be asked of a text: the settings, their checks, and how a person types them.

`ASKED` is the table: options of `chargen sample`, `/set` of the REPL and keywords of the library
follow from it. What each setting does is in the module of its guide; see guides.py.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chargen.errors import UsageError

FINISHES = ("sentence", "line", "paragraph", "document")
MIN_COPY = 31
"""Shorter copies are not noticed; see text/overlap.py."""
_MAX_LINES = 1_000
_MAX_LINE_LENGTH = 10_000
_MAX_WORDS = 10_000
_MAX_BIAS = 100.0


@dataclass(frozen=True, kw_only=True)
class Steering:
    """What is asked of a text, beside how its tokens are drawn; the defaults ask for nothing.

    Raises:
        UsageError: on construction, naming every setting that is wrong.
    """

    match: str = ""
    """A regular expression that the text after the prompt matches as a whole."""
    acrostic: str = ""
    """Letters with which the lines begin, in this order."""
    lines: int = 0
    """How many lines are written; 0: any number."""
    line_length: tuple[int, int] = (0, 0)
    """The fewest and the most characters of a line; (0, 0): any length."""
    syllables: tuple[int, ...] = ()
    """How many syllables each line has (English)."""
    rhyme: str = ""
    """A letter for each line; lines of the same letter rhyme."""
    ban: tuple[str, ...] = ()
    """Words that do not occur, in any case."""
    bias: tuple[tuple[str, float], ...] = ()
    """Words, and what is added to their log-likelihood; a mapping is taken too."""
    must: tuple[str, ...] = ()
    """Words that occur before the end."""
    finish: str = ""
    """Writing goes on past `length` to the next end of this kind, at most twice as far."""
    min_length: int = 0
    """Tokens before which no text ends."""
    max_copy: int = 0
    """The longest copy from the training text, in characters; 0: any."""
    max_loop: int = 0
    """How often the same stretch may come in a row; 0: any number."""
    raw_bytes: bool = False
    """Whether bytes may be written that are no UTF-8."""

    def __post_init__(self) -> None:
        """Checks every setting."""
        if isinstance(self.bias, Mapping):
            object.__setattr__(self, "bias", tuple(self.bias.items()))
        for name in ("ban", "must", "syllables"):
            value = getattr(self, name)
            if isinstance(value, str | int) and not isinstance(value, bool):
                object.__setattr__(self, name, (value,))
            elif isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if isinstance(self.line_length, list):
            object.__setattr__(self, "line_length", tuple(self.line_length))
        problems = [problem for problem in self._problems() if problem]
        if problems:
            raise UsageError("; ".join(problems))

    def _problems(self) -> list[str | None]:
        problems = [_wrong(name, getattr(self, name), row) for name, row in ASKED.items()]
        if any(problems):
            return problems
        counts = {
            "lines": self.lines,
            "acrostic": len(self.acrostic),
            "syllables": len(self.syllables),
            "rhyme": len(self.rhyme),
        }
        asked = {name: count for name, count in counts.items() if count}
        if len(set(asked.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in asked.items())
            problems.append(f"different numbers of lines are asked for: {told}")
        if self.match and any((asked, self.line_length != (0, 0))):
            problems.append(
                "match and a form of lines cannot both be asked for; write the form as a part of "
                "the regular expression"
            )
        both = {word.casefold() for word in self.ban} & {word.casefold() for word in self.must}
        problems += [f"{word!r} is in ban and in must; leave it out of one" for word in both]
        return problems

    @property
    def line_count(self) -> int:
        """How many lines are asked for, by any setting; 0: any number."""
        return self.lines or len(self.acrostic) or len(self.syllables) or len(self.rhyme)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A row of `ASKED`."""

    metavar: str | None
    """What an option takes; None: it is on or off."""
    help: str
    check: Callable[[Any], str | None]
    """What a value must be; None where it is right."""
    parse: Callable[[str], Any]
    """The value that a person typed.

    Raises a ValueError with what it must be.
    """
    show: Callable[[Any], str] = str
    """A value as it is typed; never called for the default."""


def parse(name: str, typed: str) -> Any:
    """A value as a person typed it.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return ASKED[name].parse(typed)
    except ValueError as error:
        raise UsageError(f"{name.replace('_', '-')} {typed!r}: must be {error}") from None


def _wrong(name: str, value: Any, row: Asked) -> str | None:
    problem = row.check(value)
    if problem is None:
        return None
    try:
        shown = row.show(value) if row.show is not str else repr(value)
    except (TypeError, ValueError, IndexError, AttributeError):
        shown = repr(value)
    return f"{name.replace('_', '-')} {shown}: must be {problem}"


def _number(low: int, high: float, also: str = "") -> dict[str, Any]:
    told = f"a whole number{also}, at least {low}"
    if high != float("inf"):
        told += f" and at most {high:,.0f}"

    def check(value: Any) -> str | None:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return None if whole and (value == 0 or low <= value <= high) else told

    def parse_number(typed: str) -> int:
        if not re.fullmatch(r"\d{1,9}", typed.strip()):
            raise ValueError(told)
        return int(typed)

    return {"check": check, "parse": parse_number}


def _is_text(value: Any) -> str | None:
    return None if isinstance(value, str) else "a text"


def _is_letters(value: Any) -> str | None:
    right = isinstance(value, str) and (not value or value.isalpha()) and len(value) <= _MAX_LINES
    return None if right else "letters and nothing else, as LOVE"


def _is_words(value: Any) -> str | None:
    right = isinstance(value, tuple) and len(value) <= _MAX_WORDS
    right = right and all(isinstance(word, str) and word.strip() for word in value)
    return None if right else f"words, each of at least one character, at most {_MAX_WORDS:,}"


def _is_bias(value: Any) -> str | None:
    right = isinstance(value, tuple) and all(
        isinstance(pair, tuple)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and pair[0].strip()
        and isinstance(pair[1], numbers.Real)
        and abs(float(pair[1])) <= _MAX_BIAS
        for pair in value
    )
    return None if right else f"words with numbers from -{_MAX_BIAS:g} to {_MAX_BIAS:g}"


def _is_lengths(value: Any) -> str | None:
    right = isinstance(value, tuple) and len(value) == 2
    right = right and all(isinstance(number, int) for number in value)
    if right and (value == (0, 0) or 1 <= value[0] <= value[1] <= _MAX_LINE_LENGTH):
        return None
    return f"two numbers of characters as 40..60, from 1 to {_MAX_LINE_LENGTH:,}"


def _is_syllables(value: Any) -> str | None:
    right = isinstance(value, tuple) and len(value) <= _MAX_LINES
    right = right and all(isinstance(number, int) and 1 <= number <= 100 for number in value)
    return None if right else "numbers of syllables from 1 to 100, as 5,7,5"


def _is_finish(value: Any) -> str | None:
    return None if value in ("", *FINISHES) else f"one of {', '.join(FINISHES)}"


def _parse_words(typed: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in typed.split(",") if word.strip())
    if not words:
        raise ValueError("words with commas between them, as sea,gold")
    return words


def _parse_bias(typed: str) -> tuple[tuple[str, float], ...]:
    told = "words and numbers as sea:+2,gold:-1"
    pairs = []
    for part in typed.split(","):
        word, _, number = part.strip().rpartition(":")
        if not word:
            raise ValueError(told)
        try:
            pairs.append((word, float(number)))
        except ValueError:
            raise ValueError(told) from None
    return tuple(pairs)


def _parse_lengths(typed: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,6})(?:\.\.(\d{1,6}))?\s*", typed)
    if match is None:
        raise ValueError("one number of characters, or two as 40..60")
    return int(match[1]), int(match[2] or match[1])


def _parse_syllables(typed: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\s*\d{1,3}\s*(,\s*\d{1,3}\s*)*", typed):
        raise ValueError("numbers with commas between them, as 5,7,5")
    return tuple(map(int, typed.split(",")))


def _parse_switch(typed: str) -> bool:
    if typed not in ("on", "off"):
        raise ValueError("on or off")
    return typed == "on"


ASKED: dict[str, Asked] = {
    "match": Asked(
        metavar="REGEX",
        help="The text after the prompt matches this regular expression as a whole",
        check=_is_text,
        parse=str,
    ),
    "acrostic": Asked(
        metavar="LETTERS",
        help="The lines begin with these letters",
        check=_is_letters,
        parse=str,
    ),
    "lines": Asked(
        metavar="N", help="Write so many lines; 0: any number", **_number(1, _MAX_LINES)
    ),
    "line_length": Asked(
        metavar="A..B",
        help="Each line has so many characters, as 40..60",
        check=_is_lengths,
        parse=_parse_lengths,
        show="{0[0]}..{0[1]}".format,
    ),
    "syllables": Asked(
        metavar="N,N,..",
        help="Each line has so many syllables, as 5,7,5 (English)",
        check=_is_syllables,
        parse=_parse_syllables,
        show=lambda value: ",".join(map(str, value)),
    ),
    "rhyme": Asked(
        metavar="LETTERS",
        help="Lines of the same letter rhyme, as AABB",
        check=_is_letters,
        parse=str,
    ),
    "ban": Asked(
        metavar="WORDS",
        help="Words that must not come, in any case, with commas between them",
        check=_is_words,
        parse=_parse_words,
        show=",".join,
    ),
    "bias": Asked(
        metavar="WORD:N,..",
        help="Make words likelier or less likely, as sea:+2,gold:-1",
        check=_is_bias,
        parse=_parse_bias,
        show=lambda value: ",".join(f"{word}:{number:+g}" for word, number in value),
    ),
    "must": Asked(
        metavar="WORDS",
        help="Words that must come before the end, with commas between them",
        check=_is_words,
        parse=_parse_words,
        show=",".join,
    ),
    "finish": Asked(
        metavar="END",
        help="Go on past the length to the end of a sentence, line, paragraph or document",
        check=_is_finish,
        parse=str,
    ),
    "min_length": Asked(
        metavar="N", help="No text ends before so many tokens", **_number(1, float("inf"))
    ),
    "max_copy": Asked(
        metavar="N",
        help="Copy no more than so many characters in a row from the training text; 0: any",
        **_number(MIN_COPY, float("inf"), " or 0"),
    ),
    "max_loop": Asked(
        metavar="N",
        help="Write the same stretch at most so often in a row; 0: any number",
        **_number(1, 1_000),
    ),
    "raw_bytes": Asked(
        metavar=None,
        help="Let byte models write bytes that are no UTF-8",
        check=lambda value: None if isinstance(value, bool) else "True or False",
        parse=_parse_switch,
        show=lambda value: "on" if value else "off",
    ),
}
"""What may be asked, by the field's name."""
