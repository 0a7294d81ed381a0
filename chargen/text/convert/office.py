"""Documents of office programs: .docx by python-docx, .odt by its XML, .rtf, .pdf by pypdf.

The elements of .odt are those of OpenDocument 1.3, part 3
(https://docs.oasis-open.org/office/OpenDocument/v1.3/).
"""

from __future__ import annotations

import io
import logging
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from chargen.errors import CorpusError
from chargen.text.compressed import MAX_WHOLE_BYTES, ZipFiles, damaged, is_zip
from chargen.text.convert.converted import Converted, count_words, join_blocks, parse_xml
from chargen.text.reader import read_all
from chargen.text.reading import Reading

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_LEFT_OUT_ODT = {
    f"{_DRAW}frame": "picture",
    f"{_TEXT}note": "footnote",
    f"{_OFFICE}annotation": "comment",
    f"{_TEXT}tracked-changes": "tracked change",
    f"{_TEXT}table-of-content": "table of contents",
}
_HYPHENATED = re.compile(r"(\w)[-\u00ad]\n(?=[a-z\u00df-\u00ff])")
_PAGE_NUMBER = re.compile(r"\s*(?:\W?\s*)\d{1,4}(?:\s*\W?)\s*")
_SENTENCE_ENDS = (".", "!", "?", ":", ";", "”", '"', "»", "’", ")", "…", "。", "！", "？")
_SHORT_LINE = 0.7
"""A line this much shorter than most ends a paragraph, if it also ends a sentence."""


def convert_docx(data: bytes, name: str, encoding: str | None) -> Converted:
    """The paragraphs and tables of a Word document, in their order.

    Raises:
        CorpusError: it is no Word document, or is damaged.
    """
    import docx
    from docx.opc.exceptions import PackageNotFoundError
    from docx.table import Table

    if not is_zip(data[:4]):
        raise CorpusError(
            f"{name}: not a Word document (it is no zip archive); is its ending right?"
        )
    _check_zip(data, name)
    try:
        document = docx.Document(io.BytesIO(data))
        blocks: list[str] = []
        for block in document.iter_inner_content():
            if isinstance(block, Table):
                blocks += _rows_of(block)
            else:
                blocks.append(block.text)
        counts = Counter({"picture": len(document.inline_shapes)})
        headers = {section.header.part.partname for section in document.sections}
        counts["header"] = sum(1 for _ in headers if _has_text(document))
    except (PackageNotFoundError, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise CorpusError(f"{name}: this Word document is damaged ({error})") from error
    except Exception as error:  # lxml and python-docx raise errors of their own
        if isinstance(error, CorpusError | MemoryError):
            raise
        reason = str(error).split("\n")[0]
        raise CorpusError(f"{name}: this Word document is damaged ({reason})") from error
    return Converted(
        texts=[join_blocks(blocks, divider="\n")],
        left_out=count_words(counts),
        advice="its pages are pictures; OCR it first",
    )


def _rows_of(table: Any) -> Iterator[str]:
    for row in table.rows:
        yield "\t".join(cell.text.replace("\n", " ") for cell in row.cells)


def _has_text(document: Any) -> bool:
    return any(
        paragraph.text.strip()
        for section in document.sections
        for paragraph in section.header.paragraphs
    )


def convert_odt(data: bytes, name: str, encoding: str | None) -> Converted:
    """The paragraphs, lists and tables of an OpenDocument text.

    Raises:
        CorpusError: it is no OpenDocument text, or is damaged or encrypted.
    """
    if not is_zip(data[:4]):
        raise CorpusError(
            f"{name}: not an OpenDocument text (it is no zip archive); is its ending right?"
        )
    files = ZipFiles(io.BytesIO(data), name, MAX_WHOLE_BYTES)
    if "content.xml" not in files.names:
        raise CorpusError(f"{name}: not an OpenDocument text (there is no content.xml in it)")
    manifest = "META-INF/manifest.xml"
    if manifest in files.names and b"encryption-data" in files.read(manifest):
        raise CorpusError(f"{name}: encrypted; save it without a password first")
    root = parse_xml(files.read("content.xml"), name, "content.xml")
    counts: Counter[str] = Counter()
    body = root.find(f".//{_OFFICE}text")
    blocks = [] if body is None else list(_odt_blocks(body, counts))
    return Converted(
        texts=[join_blocks(blocks, divider="\n")],
        left_out=count_words(counts),
        advice="it has no paragraphs",
    )


def _odt_blocks(element: ElementTree.Element, counts: Counter[str]) -> Iterator[str]:
    # A stack instead of recursion: a damaged file may be nested as deeply as it likes.
    waiting = [element]
    while waiting:
        here = waiting.pop()
        if here.tag in _LEFT_OUT_ODT:
            counts[_LEFT_OUT_ODT[here.tag]] += 1
        elif here.tag in (f"{_TEXT}p", f"{_TEXT}h"):
            yield "".join(_odt_text(here, counts))
        elif here.tag == f"{_TABLE}table-row":
            cells = (
                " ".join("".join(_odt_text(p, counts)) for p in cell.iter(f"{_TEXT}p"))
                for cell in here
            )
            yield "\t".join(cells)
        else:
            waiting.extend(reversed(here))


def _odt_text(paragraph: ElementTree.Element, counts: Counter[str]) -> Iterator[str]:
    """The text of a paragraph; blanks beyond the first, tabs and line ends are elements."""
    waiting: list[ElementTree.Element | str] = [*reversed(paragraph)]
    yield paragraph.text or ""
    while waiting:
        here = waiting.pop()
        if isinstance(here, str):
            yield here
            continue
        waiting.append(here.tail or "")
        if here.tag in _LEFT_OUT_ODT:
            counts[_LEFT_OUT_ODT[here.tag]] += 1
        elif here.tag == f"{_TEXT}s":
            count = here.get(f"{_TEXT}c", "1")
            yield " " * min(int(count) if count.isdecimal() else 1, 1000)
        elif here.tag == f"{_TEXT}tab":
            yield "\t"
        elif here.tag == f"{_TEXT}line-break":
            yield "\n"
        else:
            waiting.extend(reversed(here))
            yield here.text or ""


def convert_rtf(data: bytes, name: str, encoding: str | None) -> Converted:
    """The text of an RTF document.

    Raises:
        CorpusError: it is no RTF document.
    """
    from striprtf import striprtf

    to_text: Any = striprtf.rtf_to_text  # it has no types

    if not data.lstrip()[:5] == b"{\\rtf":
        raise CorpusError(f"{name}: not an RTF document; is its ending right?")
    if data.rstrip(b"\0\r\n \t")[-1:] != b"}":
        raise CorpusError(f"{name}: this RTF document is cut off; copy or download it again")
    counts = Counter({"picture": data.count(b"\\pict")})
    source = data.decode("latin-1")
    try:
        text = str(to_text(source, encoding=encoding or "cp1252", errors="replace"))
    except (ValueError, IndexError, KeyError, LookupError, RecursionError, OverflowError) as error:
        raise CorpusError(f"{name}: this RTF document is damaged ({error})") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Converted(
        texts=[join_blocks([text])],
        left_out=count_words(counts),
        advice="its pages are pictures; OCR it first",
    )


def convert_pdf(data: bytes, name: str, encoding: str | None) -> Converted:
    """The text of a PDF: the lines of a paragraph are joined, page numbers left out.

    Raises:
        CorpusError: it is no PDF, or is damaged or encrypted.
    """
    import pypdf
    from pypdf.errors import DependencyError, PyPdfError

    if b"%PDF-" not in data[:1024]:
        raise CorpusError(f"{name}: not a PDF; is its ending right?")
    # It warns of small faults that it repairs.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise CorpusError(f"{name}: encrypted; save it without a password first")
        pages = [page.extract_text() for page in reader.pages]
    except DependencyError as error:
        raise CorpusError(f"{name}: encrypted; save it without a password first") from error
    except (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CorpusError(f"{name}: this PDF is damaged or cut off ({error})") from error
    except Exception as error:
        if isinstance(error, CorpusError | MemoryError):
            raise
        raise CorpusError(f"{name}: this PDF is damaged or cut off ({error})") from error
    counts: Counter[str] = Counter()
    texts = []
    for page in pages:
        lines = page.split("\n")
        while lines and (not lines[-1].strip() or _PAGE_NUMBER.fullmatch(lines[-1])):
            counts["page number"] += bool(lines.pop().strip())
        texts.append(_joined_lines(lines))
    counts["page without text"] = sum(1 for page in pages if not page.strip())
    return Converted(
        texts=[join_blocks(texts, divider="\n")],
        left_out=count_words(counts),
        advice="its pages are pictures; OCR it first",
    )


def _joined_lines(lines: list[str]) -> str:
    """The lines of a page as paragraphs: a short line that ends a sentence ends a paragraph."""
    lengths = sorted(len(line) for line in lines if line.strip())
    usual = lengths[len(lengths) * 3 // 4] if lengths else 0
    text = ""
    for line in lines:
        text += line.strip()
        short = len(line) < _SHORT_LINE * usual
        ends = not line.strip() or (short and line.rstrip().endswith(_SENTENCE_ENDS))
        text += "\n" if ends or short else "\r"
    # "\r" marks line ends inside of paragraphs, which become blanks.
    text = _HYPHENATED.sub(r"\1", text.replace("-\r", "-\n"))
    return text.replace("-\n", "-").replace("\r", " ").strip()


def _check_zip(data: bytes, name: str) -> None:
    """Refuses a bomb, and XML that declares entities, before a library unpacks it."""
    files = ZipFiles(io.BytesIO(data), name, MAX_WHOLE_BYTES)
    for member in files.names:
        if member.lower().endswith((".xml", ".rels")):
            with files.open(member) as stream:
                head = stream.read(2048)
            if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
                raise damaged(name, "zip", ValueError(f"{member} declares entities"))


def decoded(data: bytes, name: str, encoding: str | None) -> str:
    """The text of a document that is plain text with marks, such as subtitles."""
    text = read_all(data, name, Reading(encoding=encoding))
    assert isinstance(text, str)
    return text
