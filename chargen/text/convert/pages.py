"""HTML pages by Beautiful Soup, and EPUB books, which are zip archives of such pages.

The order and parts of a book are those of EPUB 3.3 (https://www.w3.org/TR/epub-33/): container.xml
names the package file, and the spine of the package orders the chapters.
"""

from __future__ import annotations

import io
import posixpath
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.etree import ElementTree

from chargen.errors import CorpusError
from chargen.text.compressed import MAX_WHOLE_BYTES, ZipFiles, is_zip
from chargen.text.convert.converted import Converted, count_words, join_blocks, parse_xml

if TYPE_CHECKING:
    from bs4.element import PageElement, Tag

_LEFT_OUT = {
    "script": "script",
    "style": "style sheet",
    "nav": "menu",
    "svg": "picture",
    "img": "picture",
    "picture": "picture",
    "iframe": "frame",
    "video": "video",
    "audio": "recording",
    "form": "form",
    "template": "template",
    "noscript": "notice for browsers without scripts",
    "head": "",
    "object": "object",
    "canvas": "picture",
    "math": "formula",
}
"""Elements whose content is no text to learn, and what people call them; "" is not counted."""
_PARAGRAPHS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd"),
        *("details", "dialog", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html", "main", "ol"),
        *("p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "ul"),
    )
)
_LINES = frozenset({"li", "tr", "br", "option", "dt", "dd"})
_CELLS = frozenset({"td", "th"})
_KEPT_BLANK = "\x1f"
"""A blank of a preformatted text, until the blanks at the ends of other lines are gone."""
_SPACES = re.compile(r"[ \t\n\r\f]+")


def convert_html(data: bytes, name: str, encoding: str | None) -> Converted:
    """The text of a page: a paragraph for each block, a line for each item or row."""
    counts: Counter[str] = Counter()
    text = page_text(data, name, encoding, counts)
    return Converted(
        texts=[text],
        left_out=count_words(counts),
        advice="it consists of scripts or pictures; save the page as text from a browser",
    )


def page_text(data: bytes, name: str, encoding: str | None, counts: Counter[str]) -> str:
    """The text of a page; adds what is left out to `counts`."""
    import bs4

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pages that look like XML or like a file's name
        soup = bs4.BeautifulSoup(data, "html.parser", from_encoding=encoding)
    blocks: list[str] = [""]
    try:
        for part in _parts(soup, counts, preformatted=False):
            if part is None:
                blocks.append("")
            else:
                blocks[-1] += part
    except RecursionError as error:
        raise CorpusError(f"{name}: a page that is nested too deeply") from error
    tidied = [_tidy(block).replace(_KEPT_BLANK, " ") for block in blocks]
    return join_blocks(tidied)


def _tidy(block: str) -> str:
    return "\n".join(line.strip(" ") for line in block.replace(" \n", "\n").split("\n"))


def _parts(element: Tag, counts: Counter[str], *, preformatted: bool) -> Iterator[str | None]:
    """The text of an element; None where a paragraph ends."""
    from bs4.element import NavigableString, Tag

    children: Iterator[PageElement] = iter(element.children)
    for child in children:
        if isinstance(child, Tag):
            tag = child.name
            if tag in _LEFT_OUT:
                if _LEFT_OUT[tag]:
                    counts[_LEFT_OUT[tag]] += 1
                continue
            if tag in _PARAGRAPHS:
                yield None
            yield from _parts(child, counts, preformatted=preformatted or tag == "pre")
            if tag in _PARAGRAPHS:
                yield None
            elif tag in _LINES:
                yield "\n"
            elif tag in _CELLS:
                yield "\t" if child.find_next_sibling(list(_CELLS)) else ""
        elif type(child) is NavigableString:  # not a comment, a declaration, CDATA, ...
            text = str(child)
            yield text.replace(" ", _KEPT_BLANK) if preformatted else _SPACES.sub(" ", text)


def convert_epub(data: bytes, name: str, encoding: str | None) -> Converted:
    """The text of all chapters of a book in reading order.

    Raises:
        CorpusError: it is no EPUB book, or is protected against copying.
    """
    if not is_zip(data[:4]):
        raise CorpusError(f"{name}: not an EPUB book (it is no zip archive); is its ending right?")
    files = ZipFiles(io.BytesIO(data), name, MAX_WHOLE_BYTES)
    names = set(files.names)
    container = _parse(files, "META-INF/container.xml", name)
    rootfile = container.find(".//{*}rootfile")
    package_name = "" if rootfile is None else rootfile.get("full-path", "")
    package = _parse(files, package_name, name)
    if "META-INF/encryption.xml" in names:
        scheme = files.read("META-INF/encryption.xml")
        if b".xhtml" in scheme or b".html" in scheme or b".htm" in scheme:
            raise CorpusError(f"{name}: this book is protected against copying; use one without")
    items = {item.get("id"): item for item in package.iterfind(".//{*}manifest/{*}item")}
    counts: Counter[str] = Counter()
    texts = []
    for reference in package.iterfind(".//{*}spine/{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is None or reference.get("linear") == "no":
            counts["part beside the text"] += 1
            continue
        if "nav" in (item.get("properties") or "").split():
            counts["table of contents"] += 1
            continue
        path = posixpath.normpath(
            posixpath.join(posixpath.dirname(package_name), unquote(item.get("href", "")))
        )
        if path not in names:
            counts["missing chapter"] += 1
            continue
        texts.append(page_text(files.read(path), name, encoding, counts))
    return Converted(
        texts=[join_blocks(texts)],
        left_out=count_words(counts),
        advice="its pages are pictures; OCR it first",
    )


def _parse(files: ZipFiles, path: str, name: str) -> ElementTree.Element:
    if path not in files.names:
        raise CorpusError(f"{name}: not an EPUB book (there is no {path or 'package'} in it)")
    return parse_xml(files.read(path), name, path)
