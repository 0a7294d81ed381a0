"""File systems that lack a function: what they cannot do is passed over, and messages are true."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors

import chargen
from chargen.errors import ChargenError
from chargen.files import atomic_writer, sync_file, write_json
from chargen.model import checkpoint
from chargen.model.checkpoint import load_model
from chargen.text import overlap
from chargen.text.encoding import mapped

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders are not synced there")
UNSUPPORTED = [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS]


def no_fsync(monkeypatch, number: int, *, folders: bool) -> None:
    """fsync of folders, or of files, fails."""
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == folders:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def no_chmod(monkeypatch, number: int) -> None:
    def chmod(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "chmod", chmod)


def no_mmap(monkeypatch, number: int = errno.ENODEV) -> None:
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    real = safetensors.safe_open

    def safe_open(path, **options):
        if Path(path).is_relative_to(Path.cwd()):  # Rust's errors have no errno
            raise OSError(f"{os.strerror(number)} (os error {number})")
        return real(path, **options)

    monkeypatch.setattr(mmap, "mmap", refuse)
    monkeypatch.setattr(checkpoint.safetensors, "safe_open", safe_open)


@pytest.mark.parametrize("number", UNSUPPORTED)
@pytest.mark.parametrize("folders", [False, True])
def test_a_file_system_that_cannot_sync_is_written_to(monkeypatch, number, folders):
    path = Path("a.json")
    path.write_text("old")
    no_fsync(monkeypatch, number, folders=folders)
    write_json(path, 1)
    assert path.read_text() == "1\n"
    assert set(os.listdir()) == {"cache", path.name}
    with path.open("ab") as handle:
        sync_file(handle)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_folder_that_cannot_be_opened_is_written_to(monkeypatch, number):
    """Mode -wx lets files be made and renamed, but the folder cannot be opened."""
    real = os.open

    def refuse(path, flags, *arguments, **options):
        if Path(path).is_dir() and not flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    write_json(Path("a.json"), 1)
    assert Path("a.json").read_text() == "1\n"


@pytest.mark.parametrize("number", [errno.EPERM, *UNSUPPORTED])
def test_a_file_system_without_modes_is_written_to(monkeypatch, number):
    no_chmod(monkeypatch, number)
    write_json(Path("a.json"), 1)
    assert Path("a.json").read_text() == "1\n"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_before_the_rename_leaves_the_old_content(monkeypatch, number):
    path = Path("a.json")
    path.write_text("old")
    no_fsync(monkeypatch, number, folders=False)
    with pytest.raises(ChargenError, match=r"a\.json: cannot be written .*; what was there is un"):
        write_json(path, 1)
    assert path.read_text() == "old"
    assert not list(Path().glob(".a.json*"))


def test_a_disk_that_fails_after_the_rename_does_not_claim_the_old_content(monkeypatch):
    path = Path("a.json")
    path.write_text("old")
    no_fsync(monkeypatch, errno.EIO, folders=True)
    with pytest.raises(ChargenError) as error:
        write_json(path, 1)
    assert str(error.value) == (
        "a.json: was written, but the disk may lose it (Input/output error); check the disk, or "
        "write to another"
    )
    assert path.read_text() == "1\n"


@pytest.mark.parametrize("number", [errno.ENODEV, *UNSUPPORTED])
def test_a_file_that_cannot_be_mapped_is_read(monkeypatch, number):
    path = Path("tokens.bin")
    path.write_bytes(np.arange(5, dtype=np.uint16).tobytes())
    no_mmap(monkeypatch, number)
    tokens = mapped(path, np.dtype(np.uint16))
    assert tokens.tolist() == [0, 1, 2, 3, 4]
    assert not tokens.flags.writeable


def test_another_error_of_a_map_is_not_hidden(monkeypatch):
    Path("tokens.bin").write_bytes(bytes(4))
    no_mmap(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        mapped(Path("tokens.bin"), np.dtype(np.uint16))


def test_an_index_that_cannot_be_mapped_is_read_and_not_made_again(monkeypatch):
    def make():
        return np.arange(3)

    overlap._cached(Path(), "index", make)
    no_mmap(monkeypatch)
    assert overlap._cached(Path(), "index", lambda: pytest.fail("made again")).tolist() == [0, 1, 2]


def test_a_model_that_cannot_be_mapped_is_read(monkeypatch, model_path):
    expected = load_model(model_path)
    no_mmap(monkeypatch)
    again = load_model(model_path)
    assert all(
        np.array_equal(expected.weights[name], again.weights[name]) for name in again.weights
    )
    with pytest.raises(ChargenError, match="no such model file"):
        load_model(Path("none.safetensors"))


def test_a_run_is_trained_resumed_and_used_where_nothing_is_supported(monkeypatch, prose):
    Path("a.txt").write_text(prose[:3000])
    no_fsync(monkeypatch, errno.EINVAL, folders=True)
    no_chmod(monkeypatch, errno.EPERM)
    no_mmap(monkeypatch)
    options = {"hidden_size": 8, "device": "cpu", "kernel": "torch"}
    list(chargen.train("a.txt", out="run", steps=2, **options))
    assert list(chargen.resume("run", steps=2))[-1].step == 4
    assert len(list(chargen.load("run").generate("a", length=5, seed=1))) == 5


def test_atomic_writer_keeps_an_error_of_its_block(monkeypatch):
    no_chmod(monkeypatch, errno.EPERM)
    with pytest.raises(KeyError), atomic_writer(Path("a.bin")):
        raise KeyError
    assert not Path("a.bin").exists()
