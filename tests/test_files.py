"""A locked folder belongs to one process, and the lock leaves nothing behind."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from chargen.errors import UsageError
from chargen.files import locked

HOLDER = """
import sys
from pathlib import Path
from chargen.files import locked
with locked(Path(sys.argv[1]), "in use"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "runs" / "bard"
    path.mkdir(parents=True)
    return path


def test_a_second_process_is_refused_until_the_first_is_killed(folder):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match=r"bard: in use$") as error, locked(folder, "in use"):
            pass
        assert "\n" not in str(error.value)
        holder.kill()
        holder.wait()
        with locked(folder, "in use"):
            pass
    assert list(folder.parent.iterdir()) == [folder]


def test_another_name_of_the_folder_is_the_same_folder(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    with (
        locked(folder, "in use"),
        pytest.raises(UsageError, match="link: this process is training it already"),
        locked(link, "in use"),
    ):
        pass


def test_an_empty_folder_can_be_removed_while_it_is_locked(folder):
    with locked(folder, "in use"):
        assert list(folder.iterdir()) == []
        folder.rmdir()
    assert list(folder.parent.iterdir()) == []


def test_an_error_in_the_block_releases_the_folder(folder):
    with pytest.raises(KeyError), locked(folder, "in use"):
        raise KeyError
    with locked(folder, "in use", wait=True):
        pass


def test_a_parent_that_cannot_be_written_to_is_left_alone(folder, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path != folder.parent)
    with locked(folder, "in use"):
        assert list(folder.parent.iterdir()) == [folder]
        with (
            pytest.raises(UsageError, match="this process is training it already"),
            locked(folder, "in use"),
        ):
            pass
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="flock is of POSIX systems")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
@pytest.mark.parametrize("wait", [False, True])
def test_a_file_system_without_locks_locks_nothing(folder, monkeypatch, number, wait):
    def refuse(*_):
        raise OSError(number, "no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    entered = False
    with locked(folder, "in use", wait=wait):
        entered = True
    assert entered
