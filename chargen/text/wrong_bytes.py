"""Bytes that are no text in their encoding, and surrogate pairs that were written as UTF-8.

Codecs of Python ask an error handler, which has a name and belongs to the whole process. Ours reads
pairs, and otherwise does what the thread that decodes has asked for.
"""

from __future__ import annotations

import codecs
import re
import threading

HANDLER = "chargen.text.wrong_bytes"
"""The name of the error handler, for codecs."""
REPLACEMENTS = {"replace": "\ufffd", "skip": ""}
"""What stands for wrong bytes."""
_PAIR = re.compile(rb"\xed([\xa0-\xaf])([\x80-\xbf])\xed([\xb0-\xbf])([\x80-\xbf])")
"""A surrogate pair, each half in three bytes: CESU-8 (Unicode Technical Report 26)."""
_PAIR_BYTES = 6
_BEGUN_PAIR = re.compile(rb"\xed(?:[\xa0-\xaf](?:[\x80-\xbf](?:\xed[\xb0-\xbf]?)?)?)?\Z")
"""The beginning of a pair at the end of a block."""


class _Wrong(threading.local):
    """What the handler does in this thread, and what it met."""

    errors = "strict"
    first: UnicodeDecodeError | None = None
    count = 0


_WRONG = _Wrong()


def _handle(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    if error.encoding == "utf-8" and (pair := _PAIR.match(error.object, error.start)):
        a, b, c, d = (group[0] for group in pair.groups())
        high, low = (a & 0x0F) << 6 | b & 0x3F, (c & 0x0F) << 6 | d & 0x3F
        return chr(0x10000 + (high << 10) + low), pair.end()
    if _WRONG.errors == "strict":
        raise error
    if _WRONG.first is None:
        _WRONG.first = error
    _WRONG.count += error.end - error.start
    return REPLACEMENTS[_WRONG.errors], error.end


codecs.register_error(HANDLER, _handle)


def incremental_decoder(encoding: str) -> codecs.IncrementalDecoder:
    """A decoder of a stream that asks the handler."""
    return codecs.getincrementaldecoder(encoding)(HANDLER)


def decode_block(
    decoder: codecs.IncrementalDecoder, data: bytes, errors: str, *, final: bool
) -> tuple[str, int, UnicodeDecodeError | None]:
    """The text of the next block, the number of wrong bytes, and the first of them.

    Args:
        decoder: from `incremental_decoder`.
        data: the block.
        errors: a row of `ENCODING_ERRORS`.
        final: whether the content ends with it.

    Raises:
        UnicodeError: bytes are wrong, and `errors` is `strict`.
    """
    _WRONG.errors, _WRONG.first, _WRONG.count = errors, None, 0
    return decoder.decode(data, final), _WRONG.count, _WRONG.first


def begun_pair(data: bytes) -> int:
    """Where the beginning of a surrogate pair stands at the end of a block; else its length."""
    found = _BEGUN_PAIR.search(data, max(0, len(data) - _PAIR_BYTES + 1))
    return found.start() if found else len(data)
