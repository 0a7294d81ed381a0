"""Documents of other programs as plain text: pages, books, letters, subtitles, notebooks, mail.

`CONVERTERS` is the table. A converter gets the bytes of a file and returns its texts and, in words,
what it left out. The packages that it needs are the extra `documents`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chargen.errors import CorpusError
from chargen.text.compressed import MISSING_EXTRA
from chargen.text.convert.converted import Converted


@dataclass(frozen=True, kw_only=True)
class Converter:
    """A row of `CONVERTERS`."""

    kind: str
    """What people call such a file."""
    load: Callable[[], Callable[[bytes, str, str | None], Converted]]
    """Imports the function: from the bytes, the name for messages, and the encoding that a person
    named (None: what the file says)."""


def _html() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.pages import convert_html

    return convert_html


def _epub() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.pages import convert_epub

    return convert_epub


def _docx() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.office import convert_docx

    return convert_docx


def _odt() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.office import convert_odt

    return convert_odt


def _rtf() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.office import convert_rtf

    return convert_rtf


def _pdf() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.office import convert_pdf

    return convert_pdf


def _subtitles() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.records import convert_subtitles

    return convert_subtitles


def _notebook() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.records import convert_notebook

    return convert_notebook


def _letter() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.mail import convert_eml

    return convert_eml


def _mailbox() -> Callable[[bytes, str, str | None], Converted]:
    from chargen.text.convert.mail import convert_mbox

    return convert_mbox


_HTML = Converter(kind="HTML page", load=_html)
_SUBTITLES = Converter(kind="subtitle file", load=_subtitles)
CONVERTERS: dict[str, Converter] = {
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _HTML,
    ".epub": Converter(kind="EPUB book", load=_epub),
    ".docx": Converter(kind="Word document", load=_docx),
    ".odt": Converter(kind="OpenDocument text", load=_odt),
    ".rtf": Converter(kind="RTF document", load=_rtf),
    ".pdf": Converter(kind="PDF document", load=_pdf),
    ".srt": _SUBTITLES,
    ".vtt": _SUBTITLES,
    ".ipynb": Converter(kind="Jupyter notebook", load=_notebook),
    ".eml": Converter(kind="letter", load=_letter),
    ".mbox": Converter(kind="mailbox", load=_mailbox),
}
"""What each ending stands for."""


def convert(data: bytes, name: str, suffix: str, encoding: str | None = None) -> Converted:
    """The texts of a document.

    Args:
        data: its bytes.
        name: how messages call it.
        suffix: a key of `CONVERTERS`; any other for an old Office file.
        encoding: the encoding that a person named; None takes what the file says.

    Raises:
        CorpusError: it is damaged, is not what its name says, or has no text; or a package is
            missing.
    """
    if not data:
        raise CorpusError(f"{name}: the file is empty")
    if data.startswith(_OLD_OFFICE_MARK):
        raise CorpusError(
            f"{name}: an old Office file (.doc, .xls or .ppt); open it in an office program and "
            "save it as .docx, .odt or .txt"
        )
    row = CONVERTERS[suffix]
    try:
        converted = row.load()(data, name, encoding)
    except ModuleNotFoundError as error:
        raise CorpusError(f"{name}: a {row.kind}; {MISSING_EXTRA}") from error
    if not any(text.strip() for text in converted.texts):
        raise CorpusError(f"{name}: no text in this {row.kind}; {converted.advice}")
    return converted


_OLD_OFFICE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
