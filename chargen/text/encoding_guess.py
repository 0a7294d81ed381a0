"""What a content that is not UTF-8 may be, for the advice at the end of a message.

chargen never reads by a guess: a wrong one would show only in what a model writes. But whoever is
told that a file is not UTF-8 needs the name of an encoding that reads it, or to hear that it is no
text at all.
"""

from __future__ import annotations

import codecs
from contextlib import suppress

_SIGNATURES = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive, as .docx, .odt and .epub are"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"\x1f\x8b", "packed by gzip"),
    (b"BZh", "packed by bzip2"),
    (b"\xfd7zXZ\x00", "packed by xz"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x89PNG\r\n\x1a\n", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"II*\x00", "an image"),
    (b"MM\x00*", "an image"),
    (b"RIFF", "a recording or an image"),
    (b"OggS", "a recording"),
    (b"fLaC", "a recording"),
    (b"ID3", "a recording"),
    (b"SQLite format 3\x00", "a database"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "a parquet table; name it .parquet"),
)
_SAMPLE_BYTES = 1 << 16
"""Bytes of the lines that show the encoding."""
_WIDE = ("utf-16-le", "utf-16-be")
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", "cp1258", "iso8859_2", "cp437", "mac_roman")
_ASIAN = ("gb18030", "big5", "cp932", "euc_jis_2004", "cp949")
_OTHER_ALPHABETS = (
    *("cp1251", "cp1253", "cp1255", "cp1256", "iso8859_5", "iso8859_7"),
    *("koi8_r", "koi8_u", "cp866", "cp874"),
)
"""What texts of persons are in; charset-normalizer also knows code pages that nobody writes."""
_MAX_LATIN_SHARE = 1 / 2
"""In Latin letters, accents are few among the letters of a line; elsewhere, most are above 127."""
_KNOWN_NAMES = {
    "cp932": "shift_jis", "cp949": "euc_kr", "euc_jis_2004": "euc_jp", "koi8_r": "koi8-r",
}  # fmt: skip
"""Better-known names of encodings that read the same text."""


def binary_kind(head: bytes) -> str | None:
    """What a content is by its first bytes, if it is no text; None for what may be text.

    >>> binary_kind(b"%PDF-1.7"), binary_kind(b"To be")
    ('a PDF', None)
    """
    kinds = (kind for signature, kind in _SIGNATURES if head.startswith(signature))
    return next(kinds, None)


def guess_encoding(data: bytes) -> str | None:
    """The name of an encoding that reads these bytes to the end and gives a plausible text.

    Args:
        data: the beginning of a content, or the part that is not UTF-8.

    Returns:
        A codec of Python; None if no guess is good enough.
    """
    if b"\0" in data:
        return _guess_wide(data)
    from charset_normalizer import from_bytes  # only a failed reading needs it

    sample = _lines_that_show_it(data)
    if _is_damaged_utf8(sample):
        return None
    letters = sum(byte > 127 or chr(byte).isalpha() for byte in sample)
    is_latin = sum(byte > 127 for byte in sample) < _MAX_LATIN_SHARE * letters
    candidates = [*_LATIN, *_ASIAN, *(() if is_latin else _OTHER_ALPHABETS)]
    matches = from_bytes(sample, cp_isolation=candidates)
    names = [match.encoding for match in matches]
    # Western texts are the most common; their code pages differ in characters that they lack.
    same = names and _decoded(sample, "cp1252") == _decoded(sample, names[0])
    if "cp1252" in names or same or not names:
        names.insert(0, "cp1252")
    for name in names:
        known = _KNOWN_NAMES.get(name, name)
        for candidate in dict.fromkeys((known, name)):
            if candidate not in ("ascii", "utf_8") and _is_text(_decoded(data, candidate)):
                return candidate
    return None


def _guess_wide(data: bytes) -> str | None:
    """UTF-16 without a mark: the byte order that gives blanks and line ends."""
    counts = {}
    for name in _WIDE:
        text = _decoded(data, name)
        if _is_text(text):
            assert text is not None
            counts[name] = text.count(" ") + text.count("\n")
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] else None


def _is_damaged_utf8(data: bytes) -> bool:
    """Whether most characters above 127 are UTF-8: another encoding would spoil them."""
    text = data.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    return sum(letter > "\x7f" for letter in text) - wrong > wrong


def _lines_that_show_it(data: bytes) -> bytes:
    """The lines with bytes above 127; the others are the same in most encodings."""
    lines = b"".join(line for line in data.splitlines(keepends=True) if not line.isascii())
    return lines[:_SAMPLE_BYTES]


def _decoded(data: bytes, encoding: str) -> str | None:
    """The text, without a character that the end divides; None if it is of another encoding."""
    with suppress(UnicodeError, LookupError):
        return codecs.getincrementaldecoder(encoding)().decode(data)
    return None


def _is_text(text: str | None) -> bool:
    """Whether a decoded content has nothing but characters that a text has."""
    return text is not None and all(
        letter.isprintable() or letter.isspace() or letter in "\u00ad\u200b\u200c\u200d\ufeff"
        for letter in set(text)
    )
