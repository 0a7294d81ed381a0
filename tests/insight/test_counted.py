"""What came from which counts: against the equation, a plain search, and through the commands."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chargen
from chargen.cli.main import run
from chargen.inference.count_memory import count
from chargen.inference.count_steps import CountSteps
from chargen.insight.counted import counted, deciding_lengths, memory_view, occurrences
from chargen.own_corpus import training_text
from chargen.trained_text import recalled

texts = st.lists(st.integers(0, 3), min_size=2, max_size=70).map(lambda t: np.array(t, np.uint8))


@settings(deadline=None, max_examples=60)
@given(texts, st.lists(st.integers(0, 3), max_size=6))
def test_the_parts_add_up_to_the_likelihood(tokens, context):
    steps = CountSteps(count(tokens, 4, longest=4, bytes_per_token=1e9), grows=False)
    steps.read(context)
    likelihoods = steps.predict().likelihoods[0]
    for token in range(4):
        parts = steps.parts(token)
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(float(likelihoods[token]), rel=1e-4)


def test_the_longest_context_decides_where_it_was_seen_often():
    tokens = np.array([0, 1, 2, 3] * 50, np.uint8)
    memory = count(tokens, 4, longest=4, bytes_per_token=1e9)
    lengths = deciding_lengths(memory, [0, 1, 2, 3, 0, 1, 2, 2])
    assert lengths[0] == 0, "nothing stands before it"
    assert lengths[6] > 0
    grid = memory_view(lengths, tuple("abcdabcc"), memory.longest)
    assert grid.values.shape == (1, 8)
    assert (grid.low, grid.high, grid.layout) == (0.0, float(memory.longest), "text")
    later = deciding_lengths(memory, [2, 2], before=[0, 1, 2, 3, 0, 1])
    assert later.tolist() == lengths[6:].tolist()


@given(texts, st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 3))
def test_occurrences_are_those_of_a_plain_search(tokens, context, token):
    text = tokens.tolist()
    places = [
        start
        for start in range(len(text) - len(context))
        if text[start : start + len(context)] == context
    ]
    before_token = [start for start in places if text[start + len(context)] == token]
    found = occurrences(tokens, context, token)
    assert found.count == len(places)
    assert found.followed == len(before_token)
    assert list(found.positions) == (before_token or places)[:2]


TEXT = "the sea was calm and the sea was grey and nobody saw the ship that came from the north\n"
TINY = {"hidden_size": 12, "steps": 30, "batch_size": 4, "bptt": 16, "evaluations": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with a memory, beside its text."""
    path = tmp_path_factory.mktemp("counted")
    (path / "sea.txt").write_text(TEXT * 60, encoding="utf-8")
    (path / "new.txt").write_text("and nobody saw the sea", encoding="utf-8")
    list(chargen.train(path / "sea.txt", run="sea", out=path / "checkpoints", **TINY))
    return path


def test_why_tells_the_context_that_decided_and_where_it_stands(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(["why", "sea", "new.txt", "--color", "never"]) == 0
    out = capsys.readouterr().out
    assert "the network alone gives it" in out
    assert "which the training text holds" in out
    assert "sea.txt:1" in out
    assert run(["why", "sea", "new.txt", "--json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    context, stands = memory["context"], memory["occurrences"]
    train = TEXT * 54
    assert stands["count"] == pytest.approx(train.count(context), abs=2), context
    assert 0 < memory["counted"]["share"] <= 1
    model = chargen.load("sea")
    ids = model.encode("and nobody saw the sea")
    network = np.log(np.full(model.vocab_size, 1 / model.vocab_size, np.float32))
    found = recalled(model, ids[:-1].tolist(), int(ids[-1]), network, training_text(model))
    alone = counted(model.memory, ids[:-1].tolist(), int(ids[-1]), network)
    assert found.counted == alone
    assert alone.network == pytest.approx(1 / model.vocab_size, rel=1e-4)


def test_the_view_memory_colours_a_text(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(["heatmap", "sea", "new.txt", "--view", "memory", "--json"]) == 0
    grid = json.loads(capsys.readouterr().out)
    model = chargen.load("sea")
    ids = model.encode("and nobody saw the sea").tolist()
    assert grid["values"][0] == deciding_lengths(model.memory.counts, ids).tolist()
    assert run(["heatmap", "tiny", "new.txt", "--view", "memory"]) == 2
    assert "--view memory: this model has no memory of counts" in capsys.readouterr().err


def test_without_counts_nothing_is_recalled(folder):
    assert recalled(chargen.load("tiny"), [1, 2], 3, np.zeros(114, np.float32), None) is None


def test_the_repl_shows_and_exports_the_view(folder):
    lines = "the sea\n/memory text\n/memory nonsense\n/why\n/export m.svg memory\n"
    done = subprocess.run(
        [sys.executable, "-m", "chargen", "repl", "sea", "--seed", "1", "-l", "20"],
        input=lines, capture_output=True, text=True, cwd=folder, check=True,
    )  # fmt: skip
    shown = done.stdout + done.stderr
    assert "counts: contexts of" in shown
    assert "memory nonsense: write /memory, or /memory text" in shown
    assert "the network alone gives it" in shown
    assert "counts: contexts of" in (folder / "m.svg").read_text(encoding="utf-8")
