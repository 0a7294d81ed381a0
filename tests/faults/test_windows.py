"""Windows, with its functions replaced: names of devices, consoles, separators, locks."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

from chargen import files
from chargen.cli.main import run
from chargen.compare import ComparisonPlan
from chargen.errors import ModelFileError, UsageError
from chargen.files import locked
from chargen.model import runs
from chargen.model.claims import claim_folder
from chargen.model.runs import check_run_name, clean_name, is_reserved_name, locate_model, run_stem
from chargen.repl import app
from chargen.terminal import windows
from chargen.terminal.context import Terminal
from chargen.terminal.progress import progress_line
from chargen.terminal.windows import obeys_escape_codes

DEVICES = [
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{d}{n}" for d in ("com", "lpt") for n in "0123456789¹²³"),
]
RESERVED = [*DEVICES, "CON", "Aux", "nul.", "nul.txt", "con.tar.gz", "COM1.x", "bard.", "bard..",
            "aux."]  # fmt: skip
FORBIDDEN = ["a<b", "a>b", "a:b", 'a"b', "a|b", "a?b", "a*b", "a\\b", "a/b", "bard ", "a\0", "a\n"]
FREE = ["console", "com", "com10", "lpt", "auxiliary", "nullable", "con-1", "bard.v2", "a.con",
        "xnul"]  # fmt: skip


@pytest.mark.parametrize("name", [*RESERVED, *FORBIDDEN])
def test_a_name_that_windows_refuses_is_refused_everywhere(name):
    with pytest.raises(UsageError) as raised:
        check_run_name(name)
    assert "\n" not in str(raised.value)
    with pytest.raises(UsageError):
        ComparisonPlan(corpus=("a.txt",), cells=("lstm",), run=name, settings={})
    with pytest.raises(UsageError):
        claim_folder(["a.txt"], run=name)
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize("name", FREE)
def test_other_names_are_free(name):
    assert check_run_name(name) == name
    assert clean_name(name) == name


@pytest.mark.parametrize("name", ["con ", "aux .txt", "NUL\t.x"])
def test_blanks_before_the_ending_do_not_help(name):
    assert is_reserved_name(name)


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_a_corpus_gives_is_made_free(name):
    for made in (clean_name(name), run_stem([f"texts/{name}"]), run_stem([f"{name}.txt"])):
        assert check_run_name(made) == made
    assert clean_name("x" * 79 + ".y") == "x" * 79  # cut off just behind the full stop


def test_train_refuses_such_a_name_in_one_line(capfd):
    Path("a.txt").write_text("abc" * 500)
    for option in (["--run", "nul"], ["--out", "some/aux.d"]):
        assert run(["train", "a.txt", "--steps", "1", *option]) == 2
        err = capfd.readouterr().err
        assert "Windows keeps" in err
        assert err.count("\n") == 1
    assert not Path("some").exists()


class Kernel:
    """kernel32 with a console in a given mode; None is no console."""

    def __init__(self, mode: int | None, *, knows_vt: bool = True) -> None:
        self.mode, self.knows_vt = mode, knows_vt
        self.handles: list[int | None] = []

    def GetConsoleMode(self, handle, pointer) -> int:
        self.handles.append(handle.value)
        if self.mode is None:
            return 0
        pointer._obj.value = self.mode
        return 1

    def SetConsoleMode(self, handle, mode: int) -> int:
        self.handles.append(handle.value)
        if mode & 4 and not self.knows_vt:
            return 0
        self.mode = mode
        return 1


class Console(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1


@pytest.fixture
def on_windows(monkeypatch):
    """Makes the modules believe that they run on Windows, with this console."""

    def replace(kernel: Kernel | None) -> None:
        modules = {"msvcrt": SimpleNamespace(get_osfhandle=lambda number: 0x1_2345_6789_ABCD)}
        names = ("c_ulong", "c_void_p", "byref")
        modules["ctypes"] = SimpleNamespace(
            **{name: getattr(ctypes, name) for name in names}, WinDLL=lambda name: kernel
        )

        def find(name: str):
            if kernel is None:
                raise ImportError(name)
            return modules[name]

        monkeypatch.setattr(windows, "importlib", SimpleNamespace(import_module=find))
        monkeypatch.setattr(windows, "os", SimpleNamespace(name="nt"))
        monkeypatch.setattr(app, "os", SimpleNamespace(name="nt"))
        monkeypatch.setattr(sys, "stdin", Console())

    return replace


def obeys(console: Console) -> list[bool]:
    """What each place that writes escape codes decides."""
    terminal = Terminal(out=console, err=console, environ={})
    return [
        obeys_escape_codes(console),
        terminal.is_live,
        app.has_terminal(terminal),
        terminal.console().color_system is not None,
        terminal.console(results=True).color_system is not None,
    ]


def test_a_console_is_asked_to_obey_escape_codes(on_windows, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")  # rich asks the environment of this system
    kernel = Kernel(0b11)
    on_windows(kernel)
    assert obeys(Console()) == [True] * 5
    assert kernel.mode == 0b111
    assert set(kernel.handles) == {0x1_2345_6789_ABCD}, "all 64 bits of the handle"


@pytest.mark.parametrize("kernel", [Kernel(0b11, knows_vt=False), Kernel(None), None])
def test_a_console_that_cannot_gets_plain_lines(kernel, on_windows, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    on_windows(kernel)
    console = Console()
    assert obeys(console) == [False] * 5
    terminal = Terminal(out=console, err=console, environ={})
    clock = iter(range(1000))
    with progress_line(terminal, "reading", clock=lambda: float(next(clock))) as progress:
        for share in range(10):
            progress(share / 10)
    terminal.note("a note")
    terminal.complain("a complaint")
    assert "\x1b" not in console.getvalue()


def test_a_stream_that_is_closed_or_no_file_gets_plain_lines(on_windows):
    on_windows(Kernel(0b111))
    assert not obeys_escape_codes(io.StringIO())
    assert not obeys_escape_codes(None)


def test_another_system_is_not_asked(monkeypatch):
    monkeypatch.setattr(windows, "importlib", None)
    monkeypatch.setattr(windows, "os", SimpleNamespace(name="posix"))
    assert obeys_escape_codes(io.StringIO())


@pytest.mark.parametrize(("name", "term", "obeyed"), [
    ("nt", None, True), ("nt", "dumb", False), ("nt", "", False),
    ("posix", None, False), ("posix", "xterm", True), ("posix", "dumb", False),
])  # fmt: skip
def test_a_console_of_windows_needs_no_term(name, term, obeyed, on_windows, monkeypatch):
    on_windows(Kernel(0b111))
    for module in (app, windows):
        monkeypatch.setattr(module, "os", SimpleNamespace(name=name))
    environ = {} if term is None else {"TERM": term}
    terminal = Terminal(out=Console(), err=Console(), environ=environ)
    assert app.has_terminal(terminal) is obeyed


@pytest.mark.parametrize(("sep", "altsep", "is_path"), [
    ("\\", "/", {"a/b": True, "a\\b": True, "ab": False}),
    ("/", None, {"a/b": True, "a\\b": False, "ab": False}),
])  # fmt: skip
def test_paths_are_recognised_by_both_separators(sep, altsep, is_path, monkeypatch):
    Path("checkpoints/bard").mkdir(parents=True)
    Path("checkpoints/bard/model.safetensors").touch()
    monkeypatch.setattr(runs, "os", SimpleNamespace(sep=sep, altsep=altsep, name=os.name))
    for name, expected in is_path.items():
        with pytest.raises(ModelFileError) as raised:
            locate_model(name)
        assert ("no such model file" in str(raised.value)) is expected
        assert ("unknown run" in str(raised.value)) is not expected


def test_a_lock_waits_as_long_as_it_takes_and_is_never_a_file_that_outlives_a_process(monkeypatch):
    """`msvcrt.locking` gives up after ten tries, a second apart; filelock asks again for ever."""
    asked = []

    class Lock:
        def __init__(self, path, **settings) -> None:
            asked.append(settings)

        def acquire(self) -> None:
            if asked[-1]["timeout"] == 0:
                raise filelock.Timeout("x")

        def release(self) -> None:
            pass

    monkeypatch.setattr(filelock, "FileLock", Lock)
    with locked(Path.cwd(), "reason", wait=True):
        pass
    with pytest.raises(UsageError, match="reason"), locked(Path.cwd(), "reason"):
        pass
    assert [settings["timeout"] for settings in asked] == [-1, 0]
    assert not any(settings["fallback_to_soft"] for settings in asked)
    assert "msvcrt" not in Path(files.__file__).read_text(encoding="utf-8")
