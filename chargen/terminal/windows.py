"""Consoles of Windows: they obey escape codes only after a program asks for that.

The steps follow "Console Virtual Terminal Sequences" of Microsoft's documentation. A console that
does not know the mode (before Windows 10) refuses it, and then gets plain lines.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

_PROCESSED_OUTPUT = 0x0001
_VIRTUAL_TERMINAL_PROCESSING = 0x0004


def obeys_escape_codes(stream: Any) -> bool:
    """Whether the terminal of a stream obeys escape codes; on Windows, asks it to.

    A terminal of another system always does, unless its TERM says otherwise.
    """
    if os.name != "nt":
        return True
    try:
        # Only Windows has these modules, so they are looked up when they are needed.
        handle = importlib.import_module("msvcrt").get_osfhandle(stream.fileno())
        ctypes: Any = importlib.import_module("ctypes")
        kernel = ctypes.WinDLL("kernel32")
        mode = ctypes.c_ulong()
        handle = ctypes.c_void_p(handle)  # 64 bits, which a plain integer would not keep
        if not kernel.GetConsoleMode(handle, ctypes.byref(mode)):
            return False  # no console
        asked = mode.value | _PROCESSED_OUTPUT | _VIRTUAL_TERMINAL_PROCESSING
        return asked == mode.value or bool(kernel.SetConsoleMode(handle, asked))
    except (ImportError, AttributeError, OSError, ValueError):
        return False
