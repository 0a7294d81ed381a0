"""Folders: their order, what nobody wrote, links, patterns, and what cannot be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.cli.main import run
from chargen.errors import CorpusError
from chargen.text import contents, folders
from chargen.text.corpus import open_corpus
from chargen.text.folders import is_wanted, natural_key
from chargen.text.reading import Reading


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(folder, **options):
    """The text of each document, and the notes without the path of the folder."""
    corpus = open_corpus([str(folder)], documents="files", reading=Reading(**options))
    texts = "".join("⏹" if piece is None else piece for piece in corpus.pieces())
    return texts.split("⏹")[:-1], [note.replace(f"{folder}:", "folder:") for note in corpus.notes()]


def test_chapters_come_in_the_order_in_which_people_count(tmp_path):
    names = ["ch1", "ch2", "ch9b", "ch10", "part2/ch1", "part2/ch10", "part10/ch2", "ß", "第2章"]
    names += ["第10章"]
    write(tmp_path / "book", {f"{name}.txt": name for name in names})
    assert read(tmp_path / "book") == (names, [])


@given(numbers=st.lists(st.integers(0, 10**9), unique=True, min_size=2))
def test_numbers_in_names_are_numbers(numbers):
    names = [f"part {number}/ch{number} v2.txt" for number in numbers]
    expected = [f"part {number}/ch{number} v2.txt" for number in sorted(numbers)]
    assert sorted(names, key=natural_key) == expected


@given(names=st.lists(st.text("a1²٣/. 0", min_size=1), unique=True))
def test_the_order_of_any_names_is_total(names):
    keys = [natural_key(name) for name in names]
    assert len(set(keys)) == len(names)
    assert sorted(keys) == sorted(keys[::-1])  # noqa: C415


def test_what_nobody_wrote_is_left_out_silently(tmp_path):
    tables = {f"t{number}.csv": f"id,text\n1,row {number}\n" for number in (1, 2, 10)}
    junk = (".DS_Store", "desktop.ini", "Thumbs.db", "Desktop.ini", "t1.csv~", "#t1.csv#")
    junk += (".t1.csv.swp", "t1.csv.bak", "~$t1.csv", "x.tmp", "y.part", ".git/config")
    junk += ("__MACOSX/t1.csv", "$RECYCLE.BIN/z.csv")
    write(tmp_path / "folder", {**tables, **dict.fromkeys(junk, "text\njunk\n")})
    texts, notes = read(tmp_path / "folder")
    assert texts == ["row 1", "row 2", "row 10"]
    assert notes == [f"folder/t{n}.csv: 1 row, delimiter a comma, column text" for n in (1, 2, 10)]


def test_links_are_followed_once_and_named(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    write(folder, {"a.txt": "a", "sub/b.txt": "b"})
    write(outside, {"c.txt": "c", "deep/d.txt": "d"})
    (folder / "0-first").symlink_to(folder / "sub", target_is_directory=True)
    (folder / "sub" / "up").symlink_to("..", target_is_directory=True)
    (folder / "out").symlink_to(outside, target_is_directory=True)
    (outside / "back").symlink_to(folder, target_is_directory=True)
    (outside / "again").symlink_to(outside / "deep", target_is_directory=True)
    (folder / "same.txt").symlink_to("a.txt")
    (folder / "other.txt").symlink_to(tmp_path / "e.txt")
    (tmp_path / "e.txt").write_text("e")
    (folder / "gone.txt").symlink_to("nothing")
    (folder / "self").symlink_to("self")
    texts, (note,) = read(folder)
    assert texts == ["a", "e", "c", "d", "b"], "b is read where it stands, not through 0-first"
    assert note.startswith(
        "folder: skipped 7 of 12 files: 0-first/ (a link to a folder that is read), "
        "gone.txt (a link to nothing), same.txt (a link to a file that is read) and 4 more"
    )


def test_what_cannot_be_read_is_skipped_and_named(tmp_path, monkeypatch):
    """Root may read everything, so the refusals are made here."""
    folder = tmp_path / "folder"
    write(folder, {"a.txt": "a", "locked/b.txt": "b", "c.txt": "c", "t.csv": "id,text\n1,x\n"})
    scan, begin = os.scandir, contents.open_as_begun
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def scandir(path):
        if Path(path).name == "locked":
            raise denied
        return scan(path)

    def open_as_begun(path, reading):
        if path.name in ("c.txt", "t.csv"):
            raise denied
        return begin(path, reading)

    monkeypatch.setattr(folders.os, "scandir", scandir)
    monkeypatch.setattr(contents, "open_as_begun", open_as_begun)
    told = (
        "c.txt (cannot be read: Permission denied), t.csv (cannot be read (Permission denied)), "
        "locked/ (cannot be read: Permission denied)"
    )
    assert read(folder) == (["a"], [f"folder: skipped 3 of 4 files: {told}"])
    with pytest.raises(CorpusError, match="locked: cannot be read \\(Permission denied\\)"):
        read(folder / "locked")


def fits(text, pattern):
    """Whether a text is what a pattern of * and ? means, by trying everything."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(fits(text[start:], pattern[1:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and fits(text[1:], pattern[1:])


PATTERN = st.text("ab*?/.", min_size=1, max_size=4).filter(
    lambda pattern: pattern.strip("/") and not pattern.startswith("./")
)
PATTERNS = st.lists(PATTERN, max_size=2).map(tuple)


@given(path=st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join),
       include=PATTERNS, exclude=PATTERNS)  # fmt: skip
def test_patterns_fit_names_paths_and_folders(path, include, exclude):
    parts = path.split("/")
    texts = [*parts, *("/".join(parts[: number + 1]) for number in range(len(parts)))]

    def any_fits(patterns):
        return any(fits(text, pattern.rstrip("/")) for pattern in patterns for text in texts)

    wanted = (not include or any_fits(include)) and not any_fits(exclude)
    assert is_wanted(path, Reading(include=include, exclude=exclude)) == wanted


def test_patterns_choose_files(tmp_path):
    folder = tmp_path / "folder"
    write(folder, {"a.md": "a", "b.txt": "b", "notes/c.md": "c", "notes/old/d.md": "d"})
    assert read(folder, include=("*.md",)) == (["a", "c", "d"], [])
    assert read(folder, include=("*.md",), exclude=("notes/old",)) == (["a", "c"], [])
    assert read(folder, include=("./notes/",)) == (["c", "d"], [])
    assert read(folder, exclude=("notes", "b.*")) == (["a"], [])
    with pytest.raises(CorpusError) as error:
        read(folder, include=("*.rst",), exclude=("notes",))
    assert str(error.value) == (
        f"{folder}: no file of this folder fits *.rst, not notes; change include or exclude"
    )


def test_many_skipped_files_and_notes_are_counted(tmp_path):
    folder = tmp_path / "folder"
    write(folder, {f"t{n}.csv": f"id,text\n1,row {n}\n" for n in range(30)})
    write(folder, {f"u{n}.csv": "id,n\n1,2\n" for n in range(1200)})
    texts, notes = read(folder)
    assert texts == [f"row {n}" for n in range(30)]
    assert notes[10:] == [
        "folder: and 20 more lines about its files",
        "folder: skipped 1200 of 1230 files: "
        + ", ".join(f"u{n}.csv (no column holds text)" for n in range(3))
        + " and 1,197 more",
    ]


def test_a_text_of_a_folder_can_have_wrong_bytes(tmp_path):
    folder = tmp_path / "folder"
    write(folder, {"a.txt": b"caf\xe9\n", "b.txt": "b\n", "p.bin": bytes(200)})
    assert read(folder) == (
        ["b\n"],
        ["folder: skipped 2 of 3 files: a.txt (not UTF-8), p.bin (binary)"],
    )
    texts, notes = read(folder, encoding_errors="skip")
    assert texts == ["caf\n", "b\n"]
    assert notes == [
        f"{folder}/a.txt: wrong bytes left out (1 not UTF-8), the first at {folder}/a.txt:1",
        "folder: skipped 1 of 3 files: p.bin (binary)",
    ]


def test_a_folder_without_text_leaves_nothing_behind(tmp_path, capsys):
    write(tmp_path / "folder", {"p.png": b"\x89PNG\r\n\x1a\n\0", "t.csv": "", "d.json": "[1, "})
    assert run(["train", "folder", "--steps", "2", "--hidden-size", "8"]) == 3
    assert capsys.readouterr().err == (
        "chargen: folder: no text file in this folder (d.json (cannot be read as json: it is cut "
        "off), p.png (binary), t.csv (the file is empty)); name another one\n"
    )
    assert not (tmp_path / "checkpoints").exists()
