"""Comparisons: equal as asked, nothing lost, and a verdict no surer than it may be."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chargen.api import load, validation_text
from chargen.compare import ComparisonPlan, compare
from chargen.errors import UsageError
from chargen.insight.comparison import ComparedRun, rankings, verdict

SMALL = {"steps": 8, "hidden_size": 16, "batch_size": 4, "bptt": 16, "threads": 1}


@pytest.fixture
def corpus(prose) -> str:
    Path("text.txt").write_text(prose[:12_000], encoding="utf-8", newline="\n")
    return "text.txt"


def finished(contest: ComparisonPlan, **options) -> tuple[list[ComparedRun], list[str]]:
    notes: list[str] = []
    *_, found = compare(contest, on_note=notes.append, **options)
    return found, notes


def test_each_cell_is_trained_and_measured_alike(corpus):
    contest = ComparisonPlan(corpus=(corpus,), cells=("rnn", "gru"), settings=SMALL)
    found, _ = finished(contest)
    assert [(one.cell, one.stage, one.steps) for one in found] == [
        ("rnn", "done", 8), ("gru", "done", 8)
    ]  # fmt: skip
    for one in found:
        model = load(f"checkpoints/{one.run}")
        ids = validation_text(model)
        score = model.score_tokens(ids)
        assert one.bits_per_byte == pytest.approx(score.bits_per_byte, rel=1e-6)
        # Blocks of equal length: their mean is nearly the whole.
        assert one.blocks.mean() == pytest.approx(one.bits_per_byte, rel=0.02)
        assert one.characters_per_second > 0
        assert one.half_life > 0
        value = one.to_json()
        assert value["parameters"] == model.config.num_parameters
        json.dumps(value)


def test_stopped_and_begun_again_nothing_is_trained_twice(corpus):
    contest = ComparisonPlan(corpus=(corpus,), cells=("rnn", "gru"), settings=SMALL)
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 12  # in the middle of the second run

    found, _ = finished(contest, should_stop=stop)
    assert [one.stage for one in found] == ["done", "training"]
    before = Path("checkpoints/compare-text-rnn/model.safetensors").read_bytes()
    found, notes = finished(contest)
    assert "compare-text-rnn: kept as it is, finished before" in notes
    assert "compare-text-gru: goes on from where it stopped" in notes
    assert [one.stage for one in found] == ["done", "done"]
    assert found[0].curve
    assert found[0].tokens_per_second > 0
    assert Path("checkpoints/compare-text-rnn/model.safetensors").read_bytes() == before
    straight, _ = finished(replace(contest, run="other"))
    for one, other in zip(found, straight, strict=True):
        assert one.bits_per_byte == other.bits_per_byte


def test_other_settings_are_not_taken_for_the_same(corpus):
    contest = ComparisonPlan(corpus=(corpus,), cells=("rnn",), settings=SMALL)
    finished(contest)
    with pytest.raises(UsageError, match="a run with other settings"):
        finished(replace(contest, settings={**SMALL, "hidden_size": 24}))
    found, _ = finished(replace(contest, settings={**SMALL, "hidden_size": 24}, overwrite=True))
    assert found[0].config.hidden_size == 24


def test_as_many_weights_and_as_many_steps(corpus):
    settings = {**SMALL, "hidden_size": 40}
    found, _ = finished(
        ComparisonPlan(
            corpus=(corpus,), cells=("lstm", "rnn"), equal="parameters", settings=settings
        )
    )
    lstm, rnn = (one.config for one in found)
    assert lstm.hidden_size == 40
    assert rnn.hidden_size > 40
    assert rnn.num_parameters == pytest.approx(lstm.num_parameters, rel=0.02)
    found, _ = finished(
        ComparisonPlan(
            corpus=(corpus,), cells=("lstm", "gru"), equal="steps", run="s", settings=settings
        )
    )
    assert [(one.config.hidden_size, one.steps) for one in found] == [(40, 8), (40, 8)]


def test_seeds_are_runs_of_their_own(corpus):
    contest = ComparisonPlan(corpus=(corpus,), cells=("rnn",), seeds=2, settings=SMALL)
    found, _ = finished(contest)
    assert [one.run for one in found] == ["compare-text-rnn-0", "compare-text-rnn-1"]
    assert found[0].bits_per_byte != found[1].bits_per_byte
    (row,) = rankings(found)
    pair = [one.bits_per_byte for one in found]
    assert row.bits_per_byte == pytest.approx(np.mean(pair))
    assert row.spread == pytest.approx(abs(pair[0] - pair[1]) / math.sqrt(2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cells": ("lsmt",)}, "did you mean 'lstm'"),
        ({"cells": ("rnn", "rnn")}, "name each cell once"),
        ({"cells": ()}, "name each cell once"),
        ({"equal": "money"}, "unknown equal 'money'"),
        ({"seeds": 0}, "--seeds 0"),
        ({"run": "../x"}, "a run's name begins"),
        ({"corpus": ("-",)}, "can be read only once"),
    ],
)
def test_what_cannot_be_compared(wrong, message):
    with pytest.raises(UsageError, match=message):
        ComparisonPlan(**{"corpus": ("text.txt",), **wrong})


def contestant(cell: str, bits: float, seed: int = 0, noise: float = 0.1) -> ComparedRun:
    blocks = bits + noise * np.random.default_rng(sum(map(ord, cell)) + seed).normal(size=64)
    return ComparedRun(
        cell=cell, seed=seed, run=cell, stage="done", bits_per_byte=bits, blocks=blocks
    )


def test_a_clear_difference_is_said_and_an_unclear_one_is_not():
    clear = verdict([contestant("gru", 2.0), contestant("lstm", 1.5)], "after 2 minutes each")
    assert clear.startswith("LSTM predicts best after 2 minutes each: 1.500 bits a byte, 0.500 ± ")
    assert "fewer than GRU" in clear
    assert "one seed each" in clear
    close = verdict([contestant("gru", 1.501), contestant("lstm", 1.5)], "so")
    assert close.startswith("LSTM and GRU cannot be told apart so: 1.500 and 1.501 bits a byte")


def test_several_seeds_judge_by_their_spread():
    found = [contestant("gru", 2.0 + d, s) for s, d in enumerate((0.0, 0.3))]
    found += [contestant("lstm", 1.9 + d, s) for s, d in enumerate((0.0, 0.3))]
    said = verdict(found, "so")
    # Standard errors 0.15 each: 2 * sqrt(0.15² + 0.15²) = 0.424 is more than the gap of 0.1.
    assert "cannot be told apart" in said
    assert "0.100 ± 0.424 apart (over 2 seeds)" in said


def test_what_is_not_there_is_not_judged():
    assert "nothing was finished" in verdict([], "so")
    waiting = ComparedRun(cell="rnn", seed=0, run="r")
    assert rankings([waiting]) == []
    assert verdict([contestant("gru", 2.0)], "so") == "GRU: 2.000 bits a byte so"


def test_the_command(corpus, capfdbinary):
    from chargen.cli.main import run

    code = run(
        ["compare", corpus, "--cells", "rnn,gru", "--steps", "8", "--hidden-size", "16",
         "--batch-size", "4", "--bptt", "16"]
    )  # fmt: skip
    out, err = (one.decode() for one in capfdbinary.readouterr())
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split() == [
        "cell", "bits/byte", "tokens/s", "units", "weights", "MB", "chars/s", "horizon", "half-life"
    ]  # fmt: skip
    assert {lines[1].split()[0], lines[2].split()[0]} == {"rnn", "gru"}
    assert "after 8 steps each" in lines[-1]
    assert "compare-text-gru: measuring" in err
    code = run(["compare", corpus, "--cells", "rnn,gru", "--steps", "8", "--hidden-size", "16",
                "--batch-size", "4", "--bptt", "16", "--json", "--export", "c.svg"])  # fmt: skip
    out, err = (one.decode() for one in capfdbinary.readouterr())
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row.get("cell") for row in rows] == ["rnn", "gru", None]
    assert "after 8 steps each" in rows[-1]["verdict"]
    assert "written to c.svg" in err
