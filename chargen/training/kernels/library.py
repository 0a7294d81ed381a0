"""The compiled `recurrence.c` as ctypes sees it; None, and why, where it cannot be had."""

from __future__ import annotations

import ctypes
from functools import cache

from chargen.training.kernels.build import BuildError, build_recurrences, cpu_limits

NUMBERS = ("cell", "bf16", "threads", "steps", "batch", "size", "vocab")
_POINTERS = (
    *("tokens", "table", "packed", "bias", "gates", "products", "hidden", "cells", "operands"),
    *("d_hidden", "d_state", "d_cell", "d_gates", "d_inputs", "d_table", "d_bias"),
)
_problems: list[str] = []
"""Why the library cannot be had: at most one line."""


class Window(ctypes.Structure):
    """`struct window` of recurrence.c."""

    _fields_ = [  # ctypes wants a plain list
        *((name, ctypes.c_int64) for name in NUMBERS),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled recurrences, built on first use; None where that fails (see `problem`)."""
    _problems.clear()
    try:
        loaded = _load()
    except BuildError as error:
        _problems.append(str(error))
        return None
    integer, pointer, flag = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
    loaded.packed_elements.restype = integer
    loaded.packed_elements.argtypes = [integer, integer, flag]
    loaded.pack.argtypes = [integer, integer, pointer, integer, integer, pointer, flag, flag]
    loaded.product.argtypes = [integer, integer, integer, *[pointer] * 4, flag, flag]
    loaded.to_operand.argtypes = [integer, integer, pointer, pointer, flag, flag]
    for function in (loaded.forward, loaded.backward):
        function.argtypes = [ctypes.POINTER(Window)]
        function.restype = flag
    return loaded


def _load() -> ctypes.CDLL:
    path = build_recurrences()
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(
            f"it cannot be loaded ({error}); set CHARGEN_CACHE to a folder where programs may run"
        ) from error


def problem() -> str | None:
    """Why there is no library, and a way out, in a line; None when there is one."""
    return None if library() is not None else "; ".join(_problems)


def has_bf16() -> bool:
    """Whether the compiled recurrences can multiply in bfloat16 on this CPU."""
    loaded = library()
    return loaded is not None and bool(loaded.has_bf16()) and cpu_limits().bf16


def is_parallel() -> bool:
    """Whether the compiled recurrences use several threads: torch must bring its libgomp."""
    loaded = library()
    return loaded is not None and bool(loaded.is_parallel())
