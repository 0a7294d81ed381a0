"""The text that a base model reads: a folder of books, made even, in the forms people type.

Books come with straight quotation marks and with a paragraph in each line. Writers also type curly
ones, and programs wrap lines. So every book gets a form of its own, drawn from a seed, and another
one in each pass over the folder: the model learns that these are the same words.
"""

from __future__ import annotations

import random
import re
import string
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

_WESTERN_LETTERS = "ÀÂÄÇÈÉÊËÎÏÑÒÓÔÖÙÛÜŒÆÅØÁÍÚàâäçèéêëîïñòóôöùûüœæåøáíúßÿ"
_SIGNS = "‘’“”–—…£§°½"
ALPHABET = frozenset("\n" + string.printable[:95] + _WESTERN_LETTERS + _SIGNS)
"""The characters that a base may know."""
_MIN_COUNT = 40
"""A rarer character becomes its relative, or is left out."""
_PLAIN = str.maketrans(
    {"ſ": "s", "‘": "'", "’": "'", "“": '"', "”": '"', "―": "—", "\ufeff": "", "\t": " ", "«": '"',
     "»": '"', "\xa0": " ", "‐": "-", "‑": "-"}
)  # fmt: skip
_BOOK_END = "\n\n\n"
_CURLY_SHARE, _WRAPPED_SHARE, _CLOSE_SHARE = 0.4, 0.2, 0.15
"""Of the books: with curly quotes, with wrapped lines, with no empty line between paragraphs."""


def books(folder: Path, left_out: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(Author, text) of every book below a folder of one file an author.

    Args:
        folder: of .txt files.
        left_out: names of files, without the ending, that are not read.
    """
    return [
        (path.stem, book.strip("\n"))
        for path in sorted(folder.glob("*.txt"))
        if path.stem not in left_out
        for book in path.read_text(encoding="utf-8").split(_BOOK_END)
        if book.strip()
    ]


def plain(text: str, alphabet: frozenset[str] = ALPHABET) -> str:
    """The text in the alphabet: other letters lose their accents, other signs are left out."""
    text = unicodedata.normalize("NFC", text).translate(_PLAIN)
    others = {
        ord(character): "".join(
            part for part in unicodedata.normalize("NFKD", character) if part in alphabet
        )
        for character in set(text) - alphabet
    }
    # A line in another script would be a line of blanks.
    lines = [
        line
        for line in text.split("\n")
        if sum(ord(character) > 0x370 and character not in _SIGNS for character in line) * 4
        <= len(line)
    ]
    return re.sub(r" {2,}", " ", "\n".join(lines).translate(others))


def curly(text: str) -> str:
    """Straight quotation marks and apostrophes as typesetters write them."""
    text = re.sub(r"""(^|[\s(\[—–-])"(?=\S)""", r"\1“", text, flags=re.M)
    text = text.replace('"', "”")
    text = re.sub(r"(^|[\s(\[—–“-])'(?=\S)", r"\1‘", text, flags=re.M)
    return text.replace("'", "’").replace("--", "—")


def in_a_form(book: str, chance: random.Random) -> str:
    """A book with the quotation marks and the line ends that are drawn for it."""
    if chance.random() < _CURLY_SHARE:
        book = curly(book)
    form = chance.random()
    if form < _WRAPPED_SHARE:
        width = chance.randint(60, 76)
        return "\n".join(
            textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
            for line in book.split("\n")
        )
    if form < _WRAPPED_SHARE + _CLOSE_SHARE:
        return re.sub("\n{2,}", "\n", book)
    return book


def passes(folder: Path, left_out: Sequence[str], count: int, seed: int) -> Iterator[str]:
    """The books in `count` orders and forms: pieces of the base's text.

    Args:
        folder: as for `books`.
        left_out: as for `books`.
        count: passes over the folder.
        seed: of orders and forms.
    """
    read = [plain(book) for _, book in books(folder, left_out)]
    counts = Counter("".join(read))
    known = frozenset(
        sign for sign in ALPHABET if counts[sign] >= _MIN_COUNT or sign in string.printable
    )
    read = [plain(book, known | frozenset(_SIGNS)) for book in read]
    for number in range(count):
        chance = random.Random(f"{seed}:{number}")
        for book in chance.sample(read, len(read)):
            yield in_a_form(book, chance) + _BOOK_END
