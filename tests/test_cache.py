"""The cache keeps the text of a run for as long as the run's folder exists."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

import chargen

SETTINGS = {"steps": 2, "hidden_size": 4, "batch_size": 2, "bptt": 8}
MONTH = 31 * 86400


def stores() -> list[Path]:
    return sorted(
        path.parent for path in Path(os.environ["CHARGEN_CACHE"]).glob("tokens/*/meta.json")
    )


def make_old(store: Path) -> None:
    then = time.time() - MONTH
    for path in (*store.iterdir(), store):
        os.utime(path, (then, then))


@pytest.fixture
def old_store(prose) -> Path:
    """The store of a text that a run needs, unused for a month."""
    Path("first.txt").write_text(prose[:2_000], encoding="utf-8")
    Path("second.txt").write_text(prose[2_000:4_000], encoding="utf-8")
    list(chargen.train("first.txt", run="first", **SETTINGS))
    (store,) = stores()
    make_old(store)
    return store


def test_a_text_that_a_run_needs_stays(old_store):
    Path("first.txt").unlink()
    list(chargen.train("second.txt", run="second", **SETTINGS))
    assert old_store in stores()
    assert isinstance(list(chargen.resume("first", steps=1))[-1], chargen.Finished)


def test_a_text_whose_run_is_gone_goes(old_store):
    shutil.rmtree("checkpoints/first")
    list(chargen.train("second.txt", run="second", **SETTINGS))
    assert old_store not in stores()
    assert len(stores()) == 1


def test_a_resumed_run_keeps_its_text(old_store):
    """Also where the store was made again, or by a version that wrote no list of runs."""
    (old_store / "runs.txt").unlink()
    list(chargen.resume("first", steps=1))
    make_old(old_store)
    list(chargen.train("second.txt", run="second", **SETTINGS))
    assert old_store in stores()
