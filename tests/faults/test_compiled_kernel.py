"""The kernel in C: why it is missing is said, nobody else can replace it, its memory is checked."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import sys
from pathlib import Path

import pytest
import torch

import chargen
from chargen.errors import ChargenError
from chargen.model.config import ModelConfig
from chargen.training import autotune, kernels
from chargen.training.config import TrainConfig
from chargen.training.device import describe_devices
from chargen.training.events import Planned
from chargen.training.kernels import Kernel, build, candidates, native
from chargen.training.kernels import library as library_module
from chargen.training.kernels.library import NUMBERS, Window, is_parallel, library, problem
from chargen.training.planner import make_plan

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing is compiled there")
needs_compiler = pytest.mark.skipif(library() is None, reason="no C compiler here")
FAKE = """#!/bin/sh
echo started >> "$(dirname "$0")/log"
for last; do :; done
echo "$LIBRARY" > "$last"
"""
FAILING = """#!/bin/sh
echo "recurrence.c: In function 'walk':" >&2
echo "recurrence.c:7:1: error:   words of its own" >&2
echo "compilation terminated." >&2
exit 1
"""


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Nothing is compiled yet; the folder that the library will be built into."""
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "fresh"))
    monkeypatch.delenv("CHARGEN_CPU", raising=False)  # a guise may hide the compiler
    library.cache_clear()
    yield tmp_path / "fresh" / "kernels"
    library.cache_clear()


def compiler(tmp_path, monkeypatch, script, name="cc") -> Path:
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(script)
    path.chmod(0o700)
    monkeypatch.setenv("CC", str(path))
    return path


def builds(path: Path) -> int:
    """How often the fake compiler compiled: once to compile, once to link."""
    log = path.with_name("log")
    return len(log.read_text().splitlines()) // 2 if log.exists() else 0


# ---- the reason is told ----


@needs_compiler
@pytest.mark.parametrize("arguments", ["-pipe", "-pipe '-DNAME=two words'"])
def test_a_compiler_with_arguments_is_started(fresh, monkeypatch, arguments):
    monkeypatch.setenv("CC", f"cc {arguments}")
    assert problem() is None
    assert candidates("gru", "cpu", "auto", "fp32")[0] == Kernel("native", bf16=False)


def test_a_compiler_whose_path_has_blanks_is_started(fresh, tmp_path, monkeypatch):
    path = compiler(tmp_path, monkeypatch, FAKE, "a c compiler")
    build.build_recurrences()
    assert builds(path) == 1


def not_started(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", f"{tmp_path / 'none'} -m64")
    return r"none cannot be started \(No such file or directory\); set CC"


def not_closed(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "cc 'a")
    return r"CC=cc 'a cannot be read \(No closing quotation\)"


def no_program(tmp_path, monkeypatch):
    path = compiler(tmp_path, monkeypatch, "")
    path.chmod(0o600)
    return r"cc cannot be started \((Permission denied|Exec format error)\)"


def failed(tmp_path, monkeypatch):
    compiler(tmp_path, monkeypatch, FAILING)
    return r"cc failed \(recurrence\.c:7:1: error: words of its own\); set CC"


def silent(tmp_path, monkeypatch):
    compiler(tmp_path, monkeypatch, "#!/bin/sh\nexit 3\n")
    return r"cc failed \(exit code 3\)"


def not_executable(tmp_path, monkeypatch):
    compiler(tmp_path, monkeypatch, FAKE)
    words = "failed to map segment from shared object: Operation not permitted"

    def refuse(*_, **__):
        raise OSError(words)

    monkeypatch.setattr(library_module.ctypes, "CDLL", refuse)
    return rf"cannot be loaded \({words}\); set CHARGEN_CACHE to a folder where programs may run"


def not_writable(tmp_path, monkeypatch):
    compiler(tmp_path, monkeypatch, FAKE)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "file"))
    return r"file/kernels: cannot be used \(Not a directory\); set CHARGEN_CACHE"


def no_compiler(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    return r"there is no C compiler \(cc, gcc or clang\); install one, or set CC"


@pytest.mark.parametrize(
    "trouble",
    [
        not_started,
        not_closed,
        no_program,
        failed,
        silent,
        not_executable,
        not_writable,
        no_compiler,
    ],
)
def test_why_there_is_no_kernel_in_c_is_told_everywhere(fresh, tmp_path, monkeypatch, trouble):
    reason = trouble(tmp_path, monkeypatch)
    model = ModelConfig(vocab_size=11, hidden_size=16, embedding_size=8)
    with pytest.raises(ChargenError, match=f"--kernel native: .*{reason}.*; or leave") as error:
        autotune.kernels_for(model, TrainConfig(steps=1, device="cpu", kernel="native"))
    assert "\n" not in str(error.value)
    assert re.search(reason, dict(describe_devices())["native"])
    sizes = {"vocab_size": 11, "train_tokens": 999, "valid_tokens": 9}
    plan = make_plan({"steps": 1, "device": "cpu"}, **sizes)
    assert any(re.search(reason, note) for note in plan.reasons)
    plan = make_plan({"steps": 1, "device": "cpu", "kernel": "stock"}, **sizes)
    assert not any(re.search(reason, note) for note in plan.reasons), "nobody asked for it"


@needs_compiler
def test_a_run_that_goes_on_with_another_kernel_says_so(tmp_path, monkeypatch, prose):
    Path("a.txt").write_text(prose[:2000])
    options = {"hidden_size": 8, "device": "cpu", "precision": "fp32"}
    list(chargen.train("a.txt", out="run", steps=1, kernel="native", **options))
    library.cache_clear()
    monkeypatch.setenv("CHARGEN_CPU", "no-compiler")
    try:
        planned = next(
            event for event in chargen.resume("run", steps=1) if isinstance(event, Planned)
        )
        assert re.fullmatch(
            r"goes on with the kernel (stock|torch) \w+, because native fp32 is not on this "
            r"machine: CHARGEN_CPU says no-compiler; leave that word out",
            planned.reasons[-1],
        )
    finally:
        library.cache_clear()


@needs_compiler
def test_a_library_without_openmp_is_not_the_first_choice(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(build.torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert not is_parallel()
        for cell, precision in (("gru", "fp32"), ("lstm", "fp32"), ("gru", "auto")):
            names = [kernel.name for kernel in candidates(cell, "cpu", "auto", precision)]
            assert names.index("native") == 1, "measured against the first"
        assert candidates("gru", "cpu", "native", "fp32") == [Kernel("native", bf16=False)]
        assert "one thread" in dict(describe_devices())["native"]
        torch.set_num_threads(1)
        assert candidates("gru", "cpu", "auto", "fp32")[0].name == "native"
    finally:
        torch.set_num_threads(threads)


def test_a_library_with_openmp_stays_the_first_choice(monkeypatch):
    monkeypatch.setattr(kernels, "is_parallel", lambda: True)
    names = [kernel.name for kernel in candidates("gru", "cpu", "auto", "auto")]
    assert names == sorted(names, key=["native", "torch", "stock"].index)


# ---- nobody else can replace it ----


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
def test_only_the_owner_may_look_into_the_folder(fresh, tmp_path, monkeypatch, umask):
    compiler(tmp_path, monkeypatch, FAKE)
    before = os.umask(umask)
    try:
        path = build.build_recurrences()
    finally:
        os.umask(before)
    assert mode(fresh) == 0o700
    assert mode(path) & 0o022 == 0


def test_what_others_could_have_put_there_is_not_loaded(fresh, tmp_path, monkeypatch):
    path = compiler(tmp_path, monkeypatch, FAKE)
    target = build.build_recurrences()
    content = target.read_bytes()
    target.write_bytes(b"planted")
    target.with_suffix(".sha256").write_text(hashlib.sha256(b"planted").hexdigest())
    fresh.chmod(0o775)
    assert build.build_recurrences() == target
    assert target.read_bytes() == content
    assert mode(fresh) == 0o700
    assert builds(path) == 2


@pytest.mark.parametrize("change", ["bytes", "cut", "digest", "no digest", "mode"])
def test_a_changed_library_is_built_again(fresh, tmp_path, monkeypatch, change):
    path = compiler(tmp_path, monkeypatch, FAKE)
    target = build.build_recurrences()
    content, digest = target.read_bytes(), target.with_suffix(".sha256")
    assert build.build_recurrences() == target
    assert builds(path) == 1, "an intact library is used"
    if change == "bytes":
        target.write_bytes(b"planted")
    elif change == "cut":
        target.write_bytes(content[:-1])
    elif change == "digest":
        digest.write_text("\xe9", encoding="latin-1")
    elif change == "no digest":
        digest.unlink()
    else:
        target.chmod(0o777)
    assert build.build_recurrences() == target
    assert builds(path) == 2
    assert target.read_bytes() == content


def test_a_folder_of_another_user_is_refused(fresh, tmp_path, monkeypatch):
    path = compiler(tmp_path, monkeypatch, FAKE)
    fresh.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(fresh, 1234, -1)
    else:
        monkeypatch.setattr(build.os, "geteuid", lambda: 1234)
    assert re.search("kernels belongs to another user; set CHARGEN_CACHE", problem())
    assert builds(path) == 0


def test_a_folder_that_others_may_write_to_is_refused(fresh, tmp_path, monkeypatch):
    path = compiler(tmp_path, monkeypatch, FAKE)
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)  # a file system without modes
    assert re.search("others may write to .*kernels; set CHARGEN_CACHE", problem())
    assert builds(path) == 0


def test_leftovers_of_killed_builds_are_swept(fresh, tmp_path, monkeypatch):
    compiler(tmp_path, monkeypatch, FAKE)
    fresh.mkdir(parents=True)
    for name in ("build-abc", "tmpabc"):
        (fresh / name).mkdir()
        (fresh / name / "recurrence.o").write_bytes(b"half")
    (fresh / "recurrence-0.so").write_bytes(b"without a digest")
    (fresh / "recurrence-1.so").write_bytes(b"of another compiler")
    (fresh / "recurrence-1.sha256").write_text("its digest")
    (fresh / ".recurrence-1.sha256.abc").write_text("half")
    target = build.build_recurrences()
    left = {path.name for path in fresh.iterdir()}
    built = {target.name, target.with_suffix(".sha256").name}
    assert left == built | {"recurrence-1.so", "recurrence-1.sha256"}
    assert [path.name for path in fresh.parent.iterdir()] == ["kernels"]


# ---- what ctypes sees ----


@needs_compiler
@pytest.mark.parametrize(
    ("name", "cell"), [("forward", 3), *(("backward", cell) for cell in range(4))]
)
def test_missing_memory_in_c_is_an_error(name, cell):
    """The row buffers would need more than there are addresses; nothing else is touched before."""
    numbers = dict.fromkeys(NUMBERS, 1) | {"cell": cell, "size": 1 << 54}
    with pytest.raises(MemoryError, match="not enough memory for a window"):
        native._call(name, numbers, {})


def test_every_number_has_64_bits_on_both_sides():
    source = Path(build.__file__).with_name("recurrence.c").read_text()
    code = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    assert not re.search(r"\blong\b", code), "32 bits on some systems"
    (struct,) = re.findall(r"struct window \{(.*?)\};", code, re.DOTALL)
    (numbers,) = re.findall(r"int64_t ([\w, ]+);", struct)
    pointers = re.findall(r"\*(\w+);", struct)
    assert [name for name, _ in Window._fields_] == [*numbers.split(", "), *pointers]
    assert ctypes.sizeof(Window) == 8 * len(Window._fields_)


def test_pairs_of_bfloat16_are_not_read_through_a_pointer_of_another_type():
    source = Path(build.__file__).with_name("recurrence.c").read_text()
    assert not re.search(r"\*\((const )?u?int(32|64)_t \*\)", source)
