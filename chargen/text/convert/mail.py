"""Mail: a letter (.eml) or a mailbox (.mbox), by Python's standard library."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from email import policy
from email.errors import MessageError
from email.message import EmailMessage
from email.parser import BytesParser

from chargen.errors import CorpusError
from chargen.text.convert.converted import Converted, count_words, join_blocks

_DIVIDER = re.compile(rb"(?:\A|\n)From [^\n]*\d{4}[^\n]*\n")
"""The line before each letter of a mailbox (RFC 4155); it ends with the year."""
_QUOTED_DIVIDER = re.compile(rb"(?m)^>(>*From )")
_HEADER = re.compile(rb"\A(?:From [^\n]*\n)?[A-Za-z][A-Za-z0-9-]*:[^\n]*\n")


def convert_eml(data: bytes, name: str, encoding: str | None) -> Converted:
    """The body of a letter.

    Raises:
        CorpusError: it is no letter.
    """
    if not _HEADER.match(data.replace(b"\r\n", b"\n")):
        raise CorpusError(f"{name}: not a letter (it does not begin with headers)")
    counts: Counter[str] = Counter()
    return Converted(
        texts=[_body(data, name, encoding, counts)],
        left_out=count_words(counts),
        advice="it consists of attachments",
    )


def convert_mbox(data: bytes, name: str, encoding: str | None) -> Converted:
    """The body of each letter of a mailbox.

    Raises:
        CorpusError: it is no mailbox.
    """
    data = data.replace(b"\r\n", b"\n")
    if not data.startswith(b"From "):
        raise CorpusError(f"{name}: not a mailbox (it does not begin with a line From ...)")
    counts: Counter[str] = Counter()
    texts = [_body(letter, name, encoding, counts) for letter in _letters(data)]
    counts["letter without text"] = sum(1 for text in texts if not text)
    return Converted(
        texts=[text for text in texts if text],
        left_out=count_words(counts),
        advice="its letters consist of attachments",
    )


def _letters(data: bytes) -> Iterator[bytes]:
    for letter in _DIVIDER.split(data):
        if letter.strip():
            yield _QUOTED_DIVIDER.sub(rb"\1", letter)


def _body(data: bytes, name: str, encoding: str | None, counts: Counter[str]) -> str:
    """The text of a letter; what is not text is counted."""
    try:
        letter = BytesParser(_class=EmailMessage, policy=policy.default).parsebytes(data)
        counts["header"] += len(letter.keys())
        chosen = letter.get_body(("plain", "html"))
        for part in letter.walk():
            if part is not chosen and not part.is_multipart():
                kind = part.get_content_type()
                is_other_form = kind == "text/html" and part.get_filename() is None
                counts["HTML form" if is_other_form else "attachment"] += 1
        if chosen is None:
            return ""
        raw = chosen.get_payload(decode=True)
        content = raw if isinstance(raw, bytes) else b""
        if chosen.get_content_type() == "text/html":
            from chargen.text.convert.pages import page_text

            return page_text(content, name, encoding or chosen.get_content_charset(), Counter())
        return join_blocks([_decoded(content, encoding or chosen.get_content_charset())])
    except (MessageError, ValueError, LookupError, AttributeError, TypeError, IndexError) as error:
        # The parser of the standard library has faults of its own with damaged headers.
        raise CorpusError(f"{name}: a damaged letter in it ({error})") from error


def _decoded(content: bytes, encoding: str | None) -> str:
    """The text in the charset that the letter says; letters are often wrong about it."""
    for name in (encoding, "utf-8"):
        try:
            return content.decode(name or "utf-8").replace("\r\n", "\n")
        except (LookupError, UnicodeDecodeError):
            continue
    return content.decode("cp1252", "replace").replace("\r\n", "\n")
