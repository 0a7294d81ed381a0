"""One form of letters: Unicode normalisation, and what `--clean` tidies.

é can be typed as one code point or as two. A model that learns both learns two letters. So a corpus
is brought to one form, prompts and scored texts to the form of the model. Cleaning changes what a
person asked to have changed, and counts it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from chargen.errors import UsageError, unknown_name
from chargen.text.nearest import relative

FORMS = ("nfc", "nfkc", "none")
"""Forms of Unicode (https://www.unicode.org/reports/tr15/); `none` leaves the letters as they
are."""
DEFAULT_RARE = 10
"""Characters that occur less often are rare, if no other number is given."""
_MAX_HELD_CHARACTERS = 4 << 20
"""A longer line is cleaned in parts."""
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"'(){}\[\]]+", re.IGNORECASE)
_TRAILING = re.compile(r"(?<![^\S\n])[^\S\n]++(?=\n|\Z)")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n){2,}")
_QUOTES = {
    ord(curly): straight
    for straight, curlies in (("'", "‘’‚‛′"), ('"', "“”„‟″"))
    for curly in curlies
}
_QUOTE = re.compile("[‘’‚‛′“”„‟″]")


def normalized(text: str, form: str) -> str:
    """The text in a form of `FORMS`; ASCII is in every form.

    >>> normalized("e" + chr(0x301), "nfc") == chr(0xE9)
    True
    """
    if form == "none" or text.isascii():
        return text
    name: Literal["NFC", "NFKC"] = "NFC" if form == "nfc" else "NFKC"
    return text if unicodedata.is_normalized(name, text) else unicodedata.normalize(name, text)


def _urls(text: str) -> tuple[str, int]:
    return _URL.subn("", text)


def _trailing_blanks(text: str) -> tuple[str, int]:
    return _TRAILING.subn("", text)


def _blank_lines(text: str) -> tuple[str, int]:
    return _BLANK_LINES.subn("\n\n", text)


def _quotes(text: str) -> tuple[str, int]:
    if text.isascii():
        return text, 0
    count = len(_QUOTE.findall(text))
    return (text.translate(_QUOTES) if count else text), count


def _mojibake(text: str) -> tuple[str, int]:
    if text.isascii():
        return text, 0
    import ftfy  # a slow import: only who asks for it needs it

    lines = text.split("\n")
    mended = [line if line.isascii() else ftfy.fix_encoding(line) for line in lines]
    return "\n".join(mended), sum(map(str.__ne__, lines, mended))


@dataclass(frozen=True, kw_only=True)
class _Cleaner:
    """A row of `CLEANERS`."""

    help: str
    clean: Callable[[str], tuple[str, int]] | None
    """Gives the changed text and how many changes; None for `rare`, which needs counts first."""
    counted: str
    """What is counted, after the number."""


CLEANERS: dict[str, _Cleaner] = {
    # In the order in which they work: mended letters may be quotes, and a URL may end a line.
    "mojibake": _Cleaner(
        help="letters that were decoded wrongly (cafÃ© becomes café)",
        clean=_mojibake,
        counted="lines with wrongly decoded letters mended",
    ),
    "urls": _Cleaner(help="addresses of web pages", clean=_urls, counted="URLs removed"),
    "quotes": _Cleaner(
        help="curly quotation marks, made straight", clean=_quotes, counted="quotes straightened"
    ),
    "trailing-blanks": _Cleaner(
        help="blanks at ends of lines",
        clean=_trailing_blanks,
        counted="lines without their trailing blanks",
    ),
    "blank-lines": _Cleaner(
        help="several empty lines in a row, made one",
        clean=_blank_lines,
        counted="runs of empty lines shortened",
    ),
    "rare": _Cleaner(
        help="characters that occur fewer than N times (rare:N), replaced by their relatives",
        clean=None,
        counted="rare characters replaced",
    ),
}
"""What `--clean` can tidy."""


@dataclass(frozen=True, kw_only=True)
class Letters:
    """What is done to the letters of a text.

    Raises:
        UsageError: on construction, for a name that is unknown.
    """

    normalize: str = "none"
    """One of `FORMS`."""
    clean: tuple[str, ...] = ()
    """Rows of `CLEANERS`; `rare` may be `rare:N`, `all` is all but `rare`."""

    def __post_init__(self) -> None:
        """Checks the names."""
        if self.normalize not in FORMS:
            raise UsageError(unknown_name("normalize", self.normalize, FORMS))
        names = [*CLEANERS, "all"]
        for name in self.clean:
            kind, divider, number = name.partition(":")
            if kind not in names or (divider and kind != "rare"):
                raise UsageError(unknown_name("clean", name, names))
            if divider and not (number.isdecimal() and int(number) > 0):
                raise UsageError(f"clean {name}: give a number above 0, such as rare:10")

    @property
    def changes(self) -> bool:
        """Whether any text can be changed."""
        return self.normalize != "none" or bool(self.clean)

    @property
    def rare_below(self) -> int:
        """How often a character must occur to stay; 0 keeps all."""
        for name in self.clean:
            kind, _, number = name.partition(":")
            if kind == "rare":
                return int(number or DEFAULT_RARE)
        return 0

    @property
    def cleaners(self) -> tuple[str, ...]:
        """The rows of `CLEANERS` that work on their own, in their order."""
        named = set(self.clean)
        return tuple(
            name
            for name, row in CLEANERS.items()
            if row.clean and (name in named or "all" in named)
        )

    def key(self) -> dict[str, Any]:
        """What the text depends on, but for what is the default."""
        value: dict[str, Any] = {}
        if self.normalize != "none":
            value["normalize"] = self.normalize
        if self.clean:
            rare = [f"rare:{self.rare_below}"] if self.rare_below else []
            value["clean"] = [*self.cleaners, *rare]
        return value


class LetterForm:
    """Brings a text that comes in pieces to its form; counts what it changes.

    Args:
        letters: what to do.
        rare: each rare character, and what replaces it.
    """

    def __init__(self, letters: Letters, rare: Mapping[str, str] | None = None) -> None:
        self._letters = letters
        self._cleaners = letters.cleaners
        self._rare = str.maketrans(dict(rare or {}))
        self._rare_characters = re.compile(f"[{re.escape(''.join(rare))}]") if rare else None
        self.counts: Counter[str] = Counter()

    @property
    def changes(self) -> bool:
        """Whether any text can be changed."""
        return self._letters.changes

    def read(self, pieces: Iterable[str]) -> Iterator[str]:
        """The pieces of one document in their form.

        Each step divides the text anew: what one of them removes may join what another sees.
        """
        for name in self._cleaners:
            pieces = _changed(pieces, partial(self._cleaned, name), _before_last_line)
        form = self._letters.normalize
        if form != "none":
            pieces = _changed(pieces, partial(normalized, form=form), _after_last_blank)
        return map(self._without_rare, pieces)

    def _cleaned(self, name: str, text: str) -> str:
        clean = CLEANERS[name].clean
        assert clean is not None
        text, count = clean(text)
        self.counts[name] += count
        return text

    def _without_rare(self, text: str) -> str:
        if self._rare_characters is None:
            return text
        self.counts["rare"] += len(self._rare_characters.findall(text))
        return text.translate(self._rare)

    def notes(self) -> list[str]:
        """A line for each kind of change that was asked for."""
        asked = [*self._cleaners, *(["rare"] if self._letters.rare_below else [])]
        return [f"clean {name}: {self.counts[name]:,} {CLEANERS[name].counted}" for name in asked]


def _changed(
    pieces: Iterable[str], change: Callable[[str], str], cut_of: Callable[[str], int]
) -> Iterator[str]:
    """Changes a text that comes in pieces as if it were whole.

    Args:
        pieces: the text.
        change: the change of a part.
        cut_of: where a text can be divided so that the parts can be changed alone.
    """
    held = ""
    for piece in pieces:
        text = held + piece
        cut = cut_of(text)
        if cut == 0 and len(text) > _MAX_HELD_CHARACTERS:
            cut = next(filter(partial(_begins_anew, text), range(len(text) - 1, 0, -1)), 0)
        held = text[cut:]
        if cut:
            yield change(text[:cut])
    if held:
        yield change(held)


def _after_last_blank(text: str) -> int:
    # What comes next may change the last letter, but never a blank.
    return max(text.rfind(" "), text.rfind("\n")) + 1


def _before_last_line(text: str) -> int:
    # Blanks and empty lines may go on in the next piece, so the cut is before the last words.
    return text.rfind("\n", 0, len(text.rstrip())) + 1


def _begins_anew(text: str, position: int) -> bool:
    """Whether a character joins none before it: no mark, and no later part of a Hangul block."""
    letter = text[position]
    is_part = "\u1160" <= letter <= "\u11ff" or letter in "\uff9e\uff9f"
    return not (is_part or unicodedata.category(letter).startswith("M"))


def rare_replacements(counts: Mapping[str, int], below: int) -> dict[str, str]:
    """What replaces each character that occurs fewer than `below` times.

    Its nearest relative among the others; a character without one stays as it is, so that no word
    becomes another word.
    """
    frequent = {character for character, count in counts.items() if count >= below}
    found = {
        character: relative(character, frequent)
        for character, count in counts.items()
        if count < below and frequent
    }
    return {character: related for character, related in found.items() if related is not None}
