"""A model with a memory: built at the end of training, kept beside the model, used by all paths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import chargen
from chargen.cli.main import run
from chargen.errors import UsageError
from chargen.inference.memory_file import load_memory, memory_path
from chargen.inference.mixer import modest_gate, usual_gate
from chargen.inference.remembering import remembered_scores
from chargen.inference.token_scores import predictions
from chargen.own_corpus import training_text, validation_text
from chargen.remember import remember

TINY = {"hidden_size": 24, "num_layers": 1, "batch_size": 4, "bptt": 16, "threads": 1, "steps": 60}
WORDS = [
    "the",
    "sea",
    "and",
    "a",
    "boat",
    "of",
    "old",
    "men",
    "who",
    "sang",
    "in",
    "the",
    "night",
    "until",
    "day",
    "came",
    "to",
    "them",
    "again",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run with a memory, and a text of the same kind that it has not seen."""
    folder = tmp_path_factory.mktemp("remember")
    random = np.random.default_rng(1)
    text = " ".join(random.choice(WORDS, 6000))
    (folder / "a.txt").write_text(text[:25_000])
    (folder / "unseen.txt").write_text(text[25_000:27_000])
    list(chargen.train(folder / "a.txt", run="a", out=folder / "runs", seed=1, **TINY))
    return folder


@pytest.fixture
def model(trained) -> chargen.Model:
    return chargen.load(trained / "runs" / "a")


def test_the_counts_help_on_text_that_nothing_was_fitted_on(model, trained):
    card = model.memory.card
    assert card["fitted_tokens"] + card["judged_tokens"] == 2_499
    assert card["static"]["together"] < min(card["static"]["network"], card["static"]["counts"])
    scores = model.score_with_memory((trained / "unseen.txt").read_text())
    assert scores.together.nats_per_token < scores.network.nats_per_token
    plain = model.score((trained / "unseen.txt").read_text())
    assert scores.network.nats_per_token == pytest.approx(plain.nats_per_token, abs=1e-5)
    growing = model.score_with_memory((trained / "unseen.txt").read_text(), "counts")
    assert growing.counts.nats_per_token != scores.counts.nats_per_token


def test_each_half_of_the_validation_part_is_used_for_one_thing(model):
    """The figures of the card are those of the blocks that did not fit the gate."""
    valid = np.asarray(validation_text(model))
    scores = remembered_scores(predictions(model.stepper, valid), model.memory, valid)
    judged = (np.arange(len(valid) - 1) // 256) % 2 == 1
    assert model.memory.card["static"]["together"] == pytest.approx(
        scores.together[judged].mean(), abs=1e-6
    )


def test_writing_with_counts_is_exact_and_can_be_left_out(model, trained):
    def text(**settings: object) -> str:
        return "".join(step.text for step in model.generate("the ", length=80, seed=2, **settings))

    assert text() == text() == text(memory="text")
    assert text(memory="off") != text(memory="text")
    batch: dict[int, str] = {}
    for number, step in model.generate_batch("the ", 2, length=80, seed=2):
        batch[number] = batch.get(number, "") + step.text
    assert batch[0] == text()
    assert text(memory="session")
    with pytest.raises(UsageError, match="unknown memory 'sesion': did you mean 'session'"):
        text(memory="sesion")


def test_the_repl_and_sample_write_the_same(model, trained, capsys):
    from chargen.repl.session import Session

    session = Session(model, seed=3)
    session.append("the ")
    writing = session.composer.write(session.tree.tip, session.settings.sample, 0)
    alone = [writing.advance() for _ in range(60)]
    written = "".join(session.labels(alone))
    config = {"seed": session.settings.sample.seed, "length": 60}
    steps = model.generate("the ", temperature=session.settings.sample.temperature, **config)
    assert written == "".join(step.text for step in steps)
    # Taken back and written again, the counts are where they were.
    assert writing.rewind(alone[20])
    again = [writing.advance() for _ in range(5)]
    assert len(again) == 5


def test_eval_prints_three_figures(trained, capsys):
    arguments = [str(trained / "runs/a"), str(trained / "unseen.txt")]
    assert run(["eval", *arguments, "--json", "--dynamic", "counts"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["nats_per_token"] < value["network_nats_per_token"]
    assert value["counts_nats_per_token"] > 0
    assert set(value["dynamic"]) == set(value) - {"dynamic"}
    assert run(["eval", *arguments, "--dynamic"]) == 0
    out, err = capsys.readouterr()
    assert out.count("network alone") == 2
    assert "both learning while it reads" in out
    assert "fitted on" in err
    assert run(["info", str(trained / "runs/a")]) == 0
    assert "of counts" in capsys.readouterr().out


def test_weights_and_counts_learn_together(model, trained):
    text = (trained / "unseen.txt").read_text()
    both = model.score_with_memory(text, "both")
    weights = model.score_with_memory(text, "weights")
    assert both.network == weights.network
    online = model.score(text, "online")
    assert weights.network.nats_per_token == pytest.approx(online.nats_per_token, rel=1e-4)


def test_a_memory_that_is_absent_damaged_or_of_another_model(trained, tmp_path, capsys):
    folder = tmp_path / "b"
    shutil.copytree(trained / "runs/a", folder)
    path = memory_path(folder / "model.safetensors")
    whole = path.read_bytes()
    for content, problem in (
        (whole[:-100], "damaged"),
        (b"", "damaged"),
        (whole[:5000], "damaged"),
    ):
        path.write_bytes(content)
        model = chargen.load(folder)
        assert model.memory is None
        assert "going on without it" in str(model.memory_problem), problem
        assert run(["sample", str(folder), "--length", "5"]) == 0
        assert capsys.readouterr().err.count("going on without it") == 1
    path.unlink()
    model = chargen.load(folder)
    assert (model.memory, model.memory_problem) == (None, None)
    with pytest.raises(UsageError, match="has no memory"):
        model.score_with_memory("the sea")
    list(chargen.train(trained / "a.txt", run="c", out=tmp_path, seed=2, **TINY))
    path.write_bytes((tmp_path / "c/model.memory.safetensors").read_bytes())
    model = chargen.load(folder)
    assert model.memory is None
    assert "the memory of another model" in str(model.memory_problem)


def test_a_run_can_go_without(trained, tmp_path):
    list(chargen.train(trained / "a.txt", run="d", out=tmp_path, memory=False, **TINY))
    assert not memory_path(tmp_path / "d/model.safetensors").exists()
    list(chargen.resume(tmp_path / "d", steps=5))
    assert not memory_path(tmp_path / "d/model.safetensors").exists()


def test_a_short_text_takes_a_gate_as_it_is(tmp_path):
    (tmp_path / "s.txt").write_text(" ".join(WORDS * 20))
    (event,) = (
        event
        for event in chargen.train(tmp_path / "s.txt", run="s", out=tmp_path, **TINY)
        if isinstance(event, chargen.Finished)
    )
    assert event.memory.startswith("memory: ")
    model = chargen.load(tmp_path / "s")
    gates = [usual_gate(grows=False).output, modest_gate(grows=False).output]
    assert any(np.array_equal(model.memory.static.output, output) for output in gates)
    assert training_text(model) is not None
    assert load_memory(memory_path(model.path), model.file).counts.longest == 12


def test_a_replaced_run_leaves_no_memory(trained, tmp_path):
    list(chargen.train(trained / "a.txt", run="e", out=tmp_path, **TINY))
    assert memory_path(tmp_path / "e/model.safetensors").exists()
    list(
        chargen.train(
            trained / "a.txt", run="e", out=tmp_path, overwrite=True, memory=False, **TINY
        )
    )
    assert not memory_path(tmp_path / "e/model.safetensors").exists()


def test_a_large_vocabulary_is_judged_on_fewer_tokens(model, monkeypatch):
    monkeypatch.setattr("chargen.remember._MAX_LIKELIHOODS", 900 * model.vocab_size)
    valid = np.asarray(validation_text(model))
    memory = remember(model, training_text(model).tokens, valid)
    assert memory.card["fitted_tokens"] + memory.card["judged_tokens"] == 899
