"""What a converter returns, and how counts become words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from chargen.errors import CorpusError


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The texts of a document of another program."""

    texts: Sequence[str]
    """One for most; a mailbox has one for each letter. Each ends with a line end."""
    left_out: str = ""
    """What is not among the texts, in words: `3 pictures, 2 scripts`."""
    advice: str = "give another file"
    """What to do if there is no text in it."""


def count_words(counts: Mapping[str, int]) -> str:
    """Counts as words, without those that are zero.

    >>> count_words({"picture": 2, "script": 1, "table": 0})
    '2 pictures, 1 script'
    """
    return ", ".join(
        f"{count:,} {name if count == 1 else _plural(name)}"
        for name, count in counts.items()
        if count
    )


def _plural(name: str) -> str:
    return f"{name[:-1]}ies" if name.endswith("ry") else f"{name}s"


def join_blocks(blocks: Sequence[str], *, divider: str = "\n\n") -> str:
    """Paragraphs that are not empty, divided; ends with a line end unless there is nothing."""
    text = divider.join(block.strip("\n") for block in blocks if block.strip())
    return f"{text}\n" if text else ""


def parse_xml(data: bytes, name: str, member: str) -> ElementTree.Element:
    """The root of a file of XML.

    Raises:
        CorpusError: it is damaged, or declares entities, which can be made to grow without limit.
    """
    if b"<!ENTITY" in data:
        raise CorpusError(f"{name}: its {member} declares entities, which no such document needs")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise CorpusError(f"{name}: its {member} is damaged ({error})") from error
