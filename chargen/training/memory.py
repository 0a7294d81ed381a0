"""When memory runs out: how that is known, and how it is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chargen.errors import ChargenError


def is_out_of_memory(error: Exception) -> bool:
    """Torch reports it on CPU as a plain RuntimeError, known by its text alone."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "memory" in text or "invalid buffer size" in text


@contextmanager
def enough_memory() -> Iterator[None]:
    """The several ways in which memory runs out become one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise ChargenError(
                "not enough memory for this model; choose a smaller --hidden-size, --batch-size "
                "or --bptt"
            ) from error
        raise
