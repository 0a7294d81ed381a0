"""Builds `recurrence.c` with the machine's own compiler, once, into the cache folder.

A few hundred lines of C need no build system: one call compiles and one links, in about a second.
`cpu_limits` makes this CPU look like a lesser one, for tests.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from chargen.errors import UsageError
from chargen.files import cache_folder

_SOURCE = Path(__file__).with_name("recurrence.c")
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
_MAX_COMPILE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class CpuLimits:
    """What of this CPU may be used; everything, unless CHARGEN_CPU says otherwise."""

    target: str = "native"
    """What the compiler builds for (`-march`)."""
    bf16: bool = True
    """Whether products in bfloat16 may be used."""
    compiler: bool = True
    """Whether the kernels in C may be compiled."""


def cpu_limits() -> CpuLimits:
    """Reads CHARGEN_CPU: words with commas between them, of `no-bf16`, `no-compiler`, `march=X`.

    Tests make a CPU look like a lesser one with it. Words that mean nothing are an error, so that
    a misspelled one does not test the wrong machine.

    Raises:
        UsageError: a word is unknown.
    """
    limits = CpuLimits()
    for word in filter(None, os.environ.get("CHARGEN_CPU", "").split(",")):
        if word == "no-bf16":
            limits = replace(limits, bf16=False)
        elif word == "no-compiler":
            limits = replace(limits, compiler=False)
        elif word.startswith("march="):
            limits = replace(limits, target=word.removeprefix("march="))
        else:
            raise UsageError(
                f"CHARGEN_CPU: unknown word {word!r}; there are no-bf16, no-compiler, march=NAME"
            )
    return limits


def build_recurrences() -> Path:
    """The shared library for this source, compiler, CPU and torch; compiles it when needed.

    Raises:
        OSError: there is no compiler, or the cache cannot be written.
        subprocess.SubprocessError: the compiler failed.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    limits = cpu_limits()
    if compiler is None or os.name == "nt" or not limits.compiler:
        raise FileNotFoundError("cc")
    # torch's own OpenMP: a second pool of threads would compete with its idle threads.
    pools = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")) + sorted(
        (Path(torch.__file__).parent.parent / "torch.libs").glob("libgomp*.so*")
    )
    key = hashlib.sha256(_SOURCE.read_bytes())
    compile_flags = (f"-march={limits.target}", *_FLAGS)
    for part in (*compile_flags, compiler, torch.__version__, str(pools), _processor()):
        key.update(part.encode())
    folder = cache_folder() / "kernels"
    target = folder / f"recurrence-{key.hexdigest()[:24]}.so"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        compiled, linked = Path(scratch) / "recurrence.o", Path(scratch) / "recurrence.so"
        flags = [flag for flag in compile_flags if pools or flag != "-fopenmp"]
        for command in (
            [compiler, *flags, "-c", str(_SOURCE), "-o", str(compiled)],
            [compiler, "-shared", str(compiled), *map(str, pools), "-lm", "-o", str(linked)],
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=_MAX_COMPILE_SECONDS)
        linked.replace(target)
    return target


def _processor() -> str:
    """What the compiler's `native` means here, so that machines can share a cache."""
    text = platform.machine() + platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        text += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return text
