"""Keys pressed while text is written; what is not for the stream is kept for the prompt."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.keys import Keys as KeyNames

if TYPE_CHECKING:
    from prompt_toolkit.input import Input
    from prompt_toolkit.key_binding import KeyPress

STOP = "stop"
_STOPS = {KeyNames.ControlC, KeyNames.ControlD, KeyNames.Escape}
_FOR_STREAM = set("+-=[] ")
_IGNORED = {KeyNames.CPRResponse, KeyNames.Ignore}


class Keys:
    """Reads a terminal without waiting for a line.

    Args:
        source: prompt_toolkit's input, which also makes the prompt.
    """

    def __init__(self, source: Input) -> None:
        self._source = source
        self._ahead: list[KeyPress] = []

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While entered, keys are neither echoed nor turned into signals."""
        self._ahead = []
        with self._source.raw_mode():
            try:
                yield
            finally:
                store_typeahead(self._source, self._ahead)

    def wait(self, seconds: float) -> list[str]:
        """Keys for the stream that came within a time: characters, and `STOP`."""
        if os.name == "nt":
            time.sleep(seconds)
        elif not select.select([self._source.fileno()], [], [], seconds)[0]:
            return []
        found = []
        for press in [*self._source.read_keys(), *self._source.flush_keys()]:
            if press.key in _STOPS:
                found.append(STOP)
            elif press.key in _FOR_STREAM and not self._ahead:
                found.append(str(press.key))
            elif press.key not in _IGNORED:
                self._ahead.append(press)  # somebody types the next line already
        return found
