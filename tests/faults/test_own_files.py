"""Files at places that a person names: own files may be replaced, foreign files never."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from chargen.cli.main import run
from chargen.errors import ChargenError, UsageError
from chargen.files import state_folder
from chargen.insight.plot import Figure, Plot, Series
from chargen.insight.views import Grid
from chargen.model.unit_names import load_names, names_path, save_names
from chargen.own_files import is_noted, is_sealed, note_text, seal, write_own
from chargen.terminal.export import export
from tests.conftest import make_model
from tests.repl.conftest import talk  # noqa: F401 - a fixture

FOREIGN = b"a novel of 70,765 bytes"
GRID = Grid(
    title="hidden", values=np.zeros((1, 2), np.float32), row_labels=("L1:0",),
    column_labels=("a", "b"), low=-1, high=1, kind="diverging",
)  # fmt: skip
CURVE = Series(name="a", x=np.array([0.0, 1.0]), y=np.array([1.0, 2.0]))
FIGURE = Figure(title="loss", plots=(Plot(series=(CURVE,), x_label="step", y_label="loss"),))
PICTURES = {"a.svg": GRID, "b.svg": FIGURE, "c.html": GRID, "d.html": FIGURE, "e.png": GRID}


def refused(line: str) -> bool:
    return "exists, and chargen did not write what it holds" in line and "--overwrite" in line


@pytest.mark.parametrize("name", PICTURES)
def test_an_own_picture_is_replaced_and_a_changed_one_is_not(name):
    path = Path(name)
    if path.suffix == ".png":
        pytest.importorskip("matplotlib")
    export(PICTURES[name], path)
    first = path.read_bytes()
    assert is_sealed(path)
    export(PICTURES[name], path)
    assert path.read_bytes() == first
    for changed in (first[:40] + b"x" + first[41:], first + b"x", first[:-1], FOREIGN):
        path.write_bytes(changed)
        with pytest.raises(UsageError, match="chargen did not write"):
            export(PICTURES[name], path)
        assert path.read_bytes() == changed
    export(PICTURES[name], path, overwrite=True)
    assert path.read_bytes() == first


def test_a_sealed_png_is_a_valid_png():
    image = pytest.importorskip("matplotlib.image")
    export(GRID, Path("a.png"))
    data = Path("a.png").read_bytes()
    assert data.count(b"tEXtchargen\0") == 1
    assert data.endswith(b"\0\0\0\0IEND\xaeB`\x82")
    assert image.imread("a.png").ndim == 3


def test_a_seal_of_another_kind_is_no_seal():
    Path("a.png").write_bytes(seal(b"<svg/>", ".svg"))
    Path("b.svg").write_bytes(seal(b"<svg/>", ".svg"))
    assert not is_sealed(Path("a.png"))
    assert is_sealed(Path("b.svg"))
    assert seal(b"text", ".txt") == b"text"
    for content in (b"", b"\n", seal(b"", ".svg")):
        Path("c.svg").write_bytes(content)
        assert not is_sealed(Path("c.svg"))


@pytest.mark.parametrize("name", ["novel.txt", "page.svg", "page.html", "page.png"])
def test_the_repl_exports_over_own_files_only(talk, name):  # noqa: F811
    if name.endswith(".png"):
        pytest.importorskip("matplotlib")
    talk("abc")
    path = Path(name)
    path.write_bytes(FOREIGN)
    assert refused(talk(f"/export {name}"))
    assert path.read_bytes() == FOREIGN
    assert talk(f"/export {name} --overwrite") == f"written to {name}"
    assert path.read_bytes() != FOREIGN
    talk("def")
    assert talk(f"/export {name}") == f"written to {name}"  # its own now
    path.write_bytes(path.read_bytes() + b"my own words")
    assert refused(talk(f"/export {name}"))


def test_a_text_of_an_earlier_session_is_known_by_its_digest(talk, monkeypatch):  # noqa: F811
    monkeypatch.setattr("chargen.own_files._written", set())
    talk("abc")
    talk("/export a.txt")
    monkeypatch.setattr("chargen.own_files._written", set())  # another process
    assert is_noted(Path("a.txt"))
    assert talk("/export a.txt") == "written to a.txt"
    ledger = state_folder() / "exports"
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600 or os.name == "nt"
    assert "abcdefghijklm" not in ledger.read_text()
    ledger.write_text("\n".join(str(number) for number in range(5000)))
    note_text(b"last")
    assert len(ledger.read_text().split()) == 1000


def test_without_a_state_folder_the_process_itself_remembers(talk, monkeypatch):  # noqa: F811
    Path("file").touch()
    monkeypatch.setenv("CHARGEN_STATE", "file")
    talk("abc")
    assert talk("/export a.txt") == "written to a.txt"
    assert talk("/export a.txt") == "written to a.txt"


def test_save_replaces_sessions_only(talk):  # noqa: F811
    talk("abc")
    Path("data.json").write_bytes(b'{"rows": []}')
    assert refused(talk("/save data"))
    assert Path("data.json").read_bytes() == b'{"rows": []}'
    assert talk("/save data --overwrite").startswith("saved to data.json")
    assert talk("/save data").startswith("saved to data.json")


def test_names_of_units_do_not_replace_a_foreign_file():
    model = make_model()
    path = names_path(Path("m.safetensors"))
    path.write_bytes(b'{"units": "metric"}')
    with pytest.raises(UsageError, match="chargen did not write"):
        save_names(path, model.weights, model.config, {})
    assert path.read_bytes() == b'{"units": "metric"}'
    save_names(path, model.weights, model.config, {}, overwrite=True)
    save_names(path, model.weights, model.config, {})
    assert load_names(path, model.weights, model.config) == {}


@pytest.mark.parametrize("command", ["heatmap", "step", "saturation", "surprise", "why", "horizon"])
def test_every_command_refuses_before_it_works(command, model_path, capfd):
    Path("page.svg").write_bytes(FOREIGN)
    Path("text.txt").write_text("abcd" * 600)
    text = ["-p", "abcd"] if command == "step" else ["text.txt"]
    assert run([command, str(model_path), *text, "--export", "page.svg"]) == 2
    assert refused(capfd.readouterr().err)
    assert Path("page.svg").read_bytes() == FOREIGN
    assert run([command, "--help"]) == 0
    assert "--overwrite" in capfd.readouterr().out


def test_heatmap_replaces_what_it_wrote_and_with_overwrite_anything(model_path, capfd):
    Path("page.svg").write_bytes(FOREIGN)
    Path("text.txt").write_text("abcd")
    line = ["heatmap", str(model_path), "text.txt", "--export", "page.svg"]
    assert [run([*line, "--overwrite"]), run(line)] == [0, 0]
    assert is_sealed(Path("page.svg"))


@pytest.mark.skipif(os.name == "nt", reason="links and devices of POSIX")
def test_links_devices_folders_and_empty_files():
    def write(name: str, data: bytes = b"new") -> None:
        write_own(Path(name), data, is_sealed)

    Path("target.svg").write_bytes(FOREIGN)
    Path("link.svg").symlink_to("target.svg")
    with pytest.raises(UsageError, match=r"link\.svg: exists"):
        write("link.svg")
    Path("target.svg").write_bytes(seal(b"old", ".svg"))
    write("link.svg")
    assert Path("link.svg").is_symlink()
    assert Path("target.svg").read_bytes() == b"new"
    Path("nowhere.svg").symlink_to("made.svg")
    write("nowhere.svg")
    assert Path("made.svg").read_bytes() == b"new"
    Path("circle.svg").symlink_to("circle.svg")
    Path("folder.svg").mkdir()
    for name, problem in {
        "circle.svg": "cannot be written",
        "folder.svg": "is a folder",
        "none/a.svg": "is no folder",
        "nul\0.svg": "cannot be written",
    }.items():
        with pytest.raises(ChargenError, match=problem):
            write(name)
    Path("empty.svg").touch()
    write("empty.svg")
    assert Path("empty.svg").read_bytes() == b"new"
    Path("null.svg").symlink_to(os.devnull)
    write("null.svg")
    assert Path(os.devnull).is_char_device()


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_a_private_file_stays_private_and_a_protected_one_stays(monkeypatch):
    path = Path("a.svg")
    write_own(path, seal(b"old", ".svg"), is_sealed)
    path.chmod(0o600)
    write_own(path, seal(b"new", ".svg"), is_sealed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    allowed = os.access  # root may write everywhere, so the answer is replaced
    monkeypatch.setattr(
        os, "access", lambda name, mode: Path(name).is_dir() and allowed(name, mode)
    )
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="write-protected; choose another name"):
            write_own(path, b"x", is_sealed, overwrite=overwrite)
    assert path.read_bytes() == seal(b"new", ".svg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_a_pipe_gets_the_bytes():
    os.mkfifo("pipe.svg")
    reader = os.open("pipe.svg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_own(Path("pipe.svg"), b"new", is_sealed)
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(os.stat("pipe.svg").st_mode)
