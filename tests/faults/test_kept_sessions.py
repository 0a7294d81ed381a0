"""What the REPL keeps: the last texts however it ended, and a bounded, private history."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
from pathlib import Path

import pytest

from chargen.api import Model
from chargen.errors import ExitCode
from chargen.files import cache_folder, state_folder
from chargen.model.checkpoint import save_model
from chargen.repl import app, kept
from chargen.repl.history import MAX_CHARACTERS, MAX_LINES, LineHistory
from chargen.repl.kept import keep, kept_paths
from chargen.repl.session import Session
from chargen.repl.settings import set_value
from chargen.terminal.context import Terminal
from tests.conftest import make_cycle_model, make_model
from tests.repl.conftest import Talk, talk  # noqa: F401 - a fixture

posix = pytest.mark.skipif(os.name == "nt", reason="modes and signals of POSIX")


class Person(io.StringIO):
    """A person at a terminal without escape codes; leaves in a given way after the last line."""

    def __init__(self, lines: str, leave=lambda: None) -> None:
        super().__init__(lines)
        self.leave = leave

    def isatty(self) -> bool:
        return True

    def __next__(self) -> str:
        line = super().readline()
        if not line:
            self.leave()
            raise StopIteration
        return line


def sit(monkeypatch, lines: str, leave=lambda: None) -> tuple[int, str]:
    """A session of a person; its exit code, and what stood on stderr."""
    path = Path("cycle.safetensors")
    save_model(path, make_cycle_model())
    session = Session(Model(make_cycle_model(), path), 1)
    set_value(session.settings, "temperature", "0")
    set_value(session.settings, "length", "10")
    terminal = Terminal(out=io.StringIO(), err=io.StringIO(), environ={})
    monkeypatch.setattr("sys.stdin", Person(lines, leave))
    code = app.run_repl(session, terminal)
    return code, terminal.err.getvalue()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("way", ["end", "quit", "SIGTERM", "SIGHUP", "both", "closed", "fault"])
def test_the_text_is_kept_however_the_session_ends(way, monkeypatch):
    lines = "abc\n/quit\n" if way == "quit" else "abc\n"

    def leave() -> None:
        if way == "closed":
            raise OSError(5, "Input/output error")
        if way == "fault":
            raise RuntimeError("a fault")
        if way == "both":
            try:
                os.kill(os.getpid(), signal.SIGHUP)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # while it is already leaving
        if way.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, way))

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    if way in ("end", "quit"):
        code, err = sit(monkeypatch, lines, leave)
        assert code == 0
        assert "chargen repl --continue goes on with it" in err
    else:
        kind = {"closed": OSError, "fault": RuntimeError}.get(way, SystemExit)
        with pytest.raises(kind) as raised:
            sit(monkeypatch, lines, leave)
        if kind is SystemExit:
            assert raised.value.code == ExitCode.TERMINATED
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
    (path,) = kept_paths()
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == mode_of(state_folder()) == 0o700
    later = Talk(Model(make_cycle_model(), Path("cycle.safetensors")))
    assert "abcdefghijklm" in later("/sessions")
    later("/sessions 1")
    assert later.session.text() == "abcdefghijklm"


def test_lines_from_a_pipe_and_an_empty_session_are_not_kept(monkeypatch):
    sit(monkeypatch, "/set seed\n")
    monkeypatch.setattr(Person, "isatty", lambda self: False)
    sit(monkeypatch, "abc\n")
    assert kept_paths() == []


def test_a_state_folder_that_cannot_be_used_is_told_and_ends_nothing(monkeypatch):
    Path("file").touch()
    monkeypatch.setenv("CHARGEN_STATE", "file")
    code, err = sit(monkeypatch, "abc\n")
    assert code == 0
    assert err.startswith("the text is not kept: file: cannot write there")
    history = LineHistory()
    history.append_string("abc")
    assert history.get_strings() == ["abc"]


def keep_anew(session):
    """Keeps a session as another one would be kept."""
    session.kept_as = None
    return keep(session)


def test_kept_texts_are_bounded_and_a_repeated_one_is_kept_once(talk, monkeypatch):  # noqa: F811
    talk("abc")
    first = keep(talk.session)
    assert keep(talk.session) == first
    talk("/sessions 1")
    assert kept_paths() == [first]
    monkeypatch.setattr(kept, "MAX_FILES", 3)
    for text in "defgh":
        talk(text)
        keep_anew(talk.session)
    assert len(kept_paths()) == 3
    talk("/sessions 3")  # is read, although keeping the present text makes it the fourth
    assert talk.session.text().startswith("abc")
    monkeypatch.setattr(kept, "MAX_BYTES", 10)
    talk("xyz")
    newest = keep_anew(talk.session)
    assert kept_paths() == [newest]


def test_kept_texts_are_forgotten_when_asked(talk):  # noqa: F811
    for text in ("abc", "xyz"):
        talk(text)
        keep_anew(talk.session)
    assert talk("/sessions forget") == "removed 2 texts of earlier sessions"
    assert kept_paths() == []
    assert talk("/sessions forget") == "removed 0 texts of earlier sessions"


@posix
def test_a_window_that_closes_in_mid_text_loses_nothing(monkeypatch):
    """A real process at a real terminal, which ends while the model writes."""
    from tests.repl import test_terminal

    save_model(Path("cycle.safetensors"), make_cycle_model())
    seat = test_terminal.Seat("-l", "1000000")
    seat.prompt()
    seat.child.send("abc\r")
    seat.until(lambda: any("abcd" in line for line in seat.lines()))
    seat.child.ptyproc.fileobj.close()  # the window
    seat.child.ptyproc.wait()
    (path,) = kept_paths()
    assert json.loads(path.read_text())["model"] == "cycle"
    later = Talk(Model(make_cycle_model(), Path("cycle.safetensors")))
    later("/sessions 1")
    assert later.session.text().startswith("abcd")


@pytest.mark.parametrize("argument", ["0", "2", "x", "-1", "99999999999999999999", "²"])
def test_a_wrong_number_is_refused(talk, argument):  # noqa: F811
    assert talk("/sessions").startswith("sessions: there is none yet")
    talk("abc")
    keep(talk.session)
    assert talk(f"/sessions {argument}") == (
        f"sessions {argument}: give a number from 1 to 1; /sessions lists them"
    )


def test_damaged_files_are_listed_and_refused(talk):  # noqa: F811
    talk("abc")
    path = keep(talk.session)
    empty = Talk(talk.session.model)
    for content in ("", "[]", '{"kind": 3}', '{"kind": "chargen session", "ending": "\\u001b[2J"}'):
        path.write_text(content)
        assert "\x1b" not in empty("/sessions")
        assert "is not a session file" in empty("/sessions 1")
    assert empty.session.text() == ""


def test_the_model_of_a_kept_text_is_found_by_its_path(talk, tmp_path):  # noqa: F811
    talk("abc")
    keep(talk.session)
    away = tmp_path / "away"
    away.mkdir()
    os.chdir(away)
    save_model(Path("other.safetensors"), make_model())
    other = Talk(Model(make_model(), Path("other.safetensors")))
    other("/sessions 1")
    assert other.session.name == "cycle"
    assert other.session.text() == "abcdefghijklm"


def test_the_text_that_a_session_replaced_is_kept(talk):  # noqa: F811
    talk("abc")
    talk("/save a")
    talk("xyz")
    text = talk.session.text()
    assert "the text from before is kept; /sessions lists it" in talk("/load a")
    talk("/sessions 1")
    assert talk.session.text() == text


def test_the_session_in_the_old_cache_is_taken_over(talk):  # noqa: F811
    talk("abc")
    talk("/save old")
    old = cache_folder() / "before-load.json"
    old.write_bytes(Path("old.json").read_bytes())
    talk("/clear")
    talk("/sessions 1")
    assert talk.session.text() == "abcdefghijklm"
    assert not old.exists()


def lines_of(history: LineHistory) -> list[str]:
    return list(history.load_history_strings())


def test_history_lasts_and_is_bounded():
    history = LineHistory()
    history.append_string("one")
    history.append_string("two\nlines \udcff é")
    history.append_string("x" * (MAX_CHARACTERS + 1))
    history.append_string("x" * MAX_CHARACTERS)
    assert lines_of(LineHistory()) == ["x" * MAX_CHARACTERS, "two\nlines \udcff é", "one"]
    path = state_folder() / "history"
    assert mode_of(path) == 0o600 or os.name == "nt"
    for number in range(3000):
        history.store_string(f"{number} " + "y" * (MAX_CHARACTERS - 10))
        assert path.stat().st_size < (1 << 20) + 2 * MAX_CHARACTERS
    newest = lines_of(LineHistory())
    assert newest[0].startswith("2999 ")
    assert [int(line.split()[0]) for line in newest[:200]] == list(range(2999, 2799, -1))
    assert len(newest) <= MAX_LINES


def test_damaged_lines_of_the_history_are_left_out():
    LineHistory()
    path = state_folder() / "history"
    path.write_bytes(b'"a"\n\xff\n{}\n3\n"b"\n"' + b"x" * 5000 + b'"\n"half')
    assert lines_of(LineHistory()) == ["b", "a"]


@posix
def test_the_old_history_is_taken_over_once_and_removed():
    old = cache_folder() / "repl_history"
    text = "\n# 2026-01-01 00:00:00\n+first\n\n# 2026-01-02\n+two\n+lines\n\n# x\n+"
    old.write_text(text + "z" * 9000 + "\n\n# x\n+last\n")
    assert lines_of(LineHistory()) == ["last", "two\nlines", "first"]
    assert not old.exists()
    history = LineHistory()
    history.append_string("new")
    old.write_text("\n# x\n+older\n\n# x\n+first\n")  # by an older version, in between
    assert lines_of(LineHistory()) == ["new", "last", "two\nlines", "first", "older"]
    path = state_folder() / "history"
    path.chmod(0o644)
    LineHistory()
    assert mode_of(path) == 0o600
    assert all(isinstance(json.loads(line), str) for line in path.read_text().splitlines())
