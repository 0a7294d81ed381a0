"""Builds `recurrence.c` with the machine's own compiler, once, into the cache folder.

A few hundred lines of C need no build system: one call compiles and one links, in about a second.
The library is code that this process will run, so nobody else may write to its folder, and it is
loaded only if it still has the digest that was written beside it.
`cpu_limits` makes this CPU look like a lesser one, for tests.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from chargen.errors import ChargenError, UsageError, reason_of
from chargen.files import atomic_writer, cache_folder, locked, sweep

_SOURCE = Path(__file__).with_name("recurrence.c")
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
_MAX_COMPILE_SECONDS = 60
_MAX_WORDS = 200
"""Characters of a compiler's error that are shown."""
_SCRATCH = "build-"
"""How the folder of an unfinished build begins."""


class BuildError(Exception):
    """There is no compiled library: why, and a way out, in a line."""


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
        BuildError: there is no compiler, it failed, or the cache cannot be used.
    """
    limits = cpu_limits()
    if not limits.compiler:
        raise BuildError("CHARGEN_CPU says no-compiler; leave that word out")
    if os.name == "nt":
        raise BuildError("it is not built on Windows; WSL can build it")
    compiler = _compiler()
    # torch's own OpenMP: a second pool of threads would compete with its idle threads.
    pools = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")) + sorted(
        (Path(torch.__file__).parent.parent / "torch.libs").glob("libgomp*.so*")
    )
    key = hashlib.sha256(_SOURCE.read_bytes())
    compile_flags = (f"-march={limits.target}", *_FLAGS)
    for part in (*compile_flags, *compiler, torch.__version__, str(pools), _processor()):
        key.update(part.encode(errors="surrogateescape"))
    folder = cache_folder() / "kernels"
    target = folder / f"recurrence-{key.hexdigest()[:24]}.so"
    flags = [flag for flag in compile_flags if pools or flag != "-fopenmp"]
    try:
        _make_private(folder)
        if not _is_intact(target):
            # One process builds, and the others wait; so what it finds unfinished is a leftover.
            with locked(folder, "another process builds", wait=True):
                _sweep(folder)
                if not _is_intact(target):
                    _build([*compiler, *flags], [*map(str, pools), "-lm"], compiler, target)
    except (OSError, ChargenError) as error:
        raise BuildError(
            f"{folder}: cannot be used ({reason_of(error)}); set CHARGEN_CACHE to a folder of "
            "your own"
        ) from error
    return target


def _compiler() -> list[str]:
    """The compiler and its first arguments: CC, as make and configure read it, or cc or gcc."""
    given = os.environ.get("CC", "").strip()
    if not given:
        for name in ("cc", "gcc", "clang"):
            if path := shutil.which(name):
                return [path]
        raise BuildError("there is no C compiler (cc, gcc or clang); install one, or set CC")
    if shutil.which(given):  # a path with blanks
        return [given]
    try:
        return shlex.split(given)
    except ValueError as error:
        raise BuildError(f"CC={given} cannot be read ({error}); close its quotation") from error


def _make_private(folder: Path) -> None:
    """Makes the folder, and keeps others from writing to it.

    Raises:
        BuildError: it belongs to somebody else, or others may still write to it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    # The administrator can change every program anyway, and may have built for all.
    if status.st_uid not in (os.geteuid(), 0):
        raise BuildError(
            f"{folder} belongs to another user; set CHARGEN_CACHE to a folder of your own"
        )
    if status.st_uid != os.geteuid() or not status.st_mode & 0o077:
        writable = status.st_mode & 0o022
    else:
        with suppress(OSError):  # some file systems have no modes
            folder.chmod(0o700)
        writable = folder.stat().st_mode & 0o022
        if status.st_mode & 0o022 and not writable:
            # Others could write there until now: what lies there may be theirs.
            for path in folder.glob("recurrence-*"):
                path.unlink(missing_ok=True)
    if writable:
        raise BuildError(f"others may write to {folder}; set CHARGEN_CACHE to a folder of your own")


def _digest_path(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _is_intact(library: Path) -> bool:
    """Whether the library is the one that was built: its digest lies beside it."""
    try:
        status = library.stat()
        digest = _digest_path(library).read_text(encoding="ascii")
        content = library.read_bytes()
    except (FileNotFoundError, ValueError):
        return False
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022:
        return False
    return hashlib.sha256(content).hexdigest() == digest


def _sweep(folder: Path) -> None:
    """Removes what killed builds left. Call it under the lock: another build is not unfinished."""
    for pattern in (f"{_SCRATCH}*", "tmp*"):  # the second: of builds by older versions
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
    digests = [path.name for path in folder.glob("recurrence-*.sha256")]
    sweep(folder, digests)
    for path in folder.glob("recurrence-*.so"):
        if _digest_path(path).name not in digests:
            path.unlink(missing_ok=True)


def _build(
    compile_with: list[str], libraries: list[str], compiler: list[str], target: Path
) -> None:
    """Compiles and links in a folder that is removed, then renames the library to `target`."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_SCRATCH) as scratch:
        compiled, linked = Path(scratch) / "recurrence.o", Path(scratch) / "recurrence.so"
        _run([*compile_with, "-c", str(_SOURCE), "-o", str(compiled)])
        _run([*compiler, "-shared", str(compiled), *libraries, "-o", str(linked)])
        with suppress(OSError):  # some file systems have no modes
            linked.chmod(0o700)
        digest = hashlib.sha256(linked.read_bytes()).hexdigest()
        with atomic_writer(_digest_path(target)) as handle:
            handle.write(digest.encode("ascii"))
        linked.replace(target)


def _run(command: list[str]) -> None:
    """Runs the compiler.

    Raises:
        BuildError: it cannot be started, fails, or takes too long.
    """
    name = command[0]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_MAX_COMPILE_SECONDS)
    except OSError as error:
        raise BuildError(
            f"the compiler {name} cannot be started ({reason_of(error)}); set CC to a C compiler"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"the compiler {name} took longer than {_MAX_COMPILE_SECONDS} s; try again when the "
            "machine is less busy, or set CC to another compiler"
        ) from error
    except subprocess.CalledProcessError as error:
        raise BuildError(
            f"the compiler {name} failed ({_words_of(error)}); set CC to another C compiler"
        ) from error


def _words_of(error: subprocess.CalledProcessError) -> str:
    """The line of the compiler's output that tells most: its first error, or its last line."""
    text = (error.stderr or b"").decode("utf-8", "replace")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors[:1] or lines[-1:] or [f"exit code {error.returncode}"])[0][:_MAX_WORDS]


def _processor() -> str:
    """What the compiler's `native` means here, so that machines can share a cache."""
    text = platform.machine() + platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        text += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return text
