"""Files that grow while they are read, such as logs and mailboxes.

A corpus is read more than once: for its vocabulary, and to encode it. All passes read a file up to
where it was when the first pass opened it. A file that is shorter then was not only appended to.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, Any

from chargen.errors import CorpusError
from chargen.text.reading import Reading

_BUFFER_BYTES = 1 << 20


def open_as_begun(path: Path, reading: Reading) -> IO[bytes]:
    """Opens a file; what was appended to it since the first opening is not read.

    Args:
        path: the file.
        reading: remembers the size of the first opening.

    Raises:
        CorpusError: the file is shorter than it was.
        OSError: it cannot be opened.
    """
    stream = io.FileIO(path)
    size = os.fstat(stream.fileno()).st_size
    if size == 0 and stream.read(1):  # some systems do not tell the size, such as /proc
        stream.seek(0)
        return io.BufferedReader(stream, _BUFFER_BYTES)
    limit = reading.sizes.setdefault(path, size)
    if size < limit:
        stream.close()
        raise CorpusError(
            f"{path}: became shorter while it was read ({limit:,} bytes, then {size:,}); try again"
        )
    return io.BufferedReader(_Beginning(stream, limit), _BUFFER_BYTES)


class _Beginning(io.RawIOBase):
    """The first bytes of a stream."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        super().__init__()
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer, up to the end of the beginning."""
        data = self._stream.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        """Closes the stream too."""
        self._stream.close()
        super().close()
