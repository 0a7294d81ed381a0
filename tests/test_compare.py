"""Comparisons of cells: equal conditions, resumed runs, and verdicts with their error."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chargen.api import load
from chargen.compare import ComparisonPlan, compare
from chargen.errors import UsageError
from chargen.insight.comparison import ComparedRun, rankings, verdict
from chargen.own_corpus import validation_text

SMALL = {"steps": 8, "hidden_size": 16, "batch_size": 4, "bptt": 16, "threads": 1}


@pytest.fixture
def corpus(prose) -> str:
    Path("text.txt").write_text(prose[:12_000], encoding="utf-8", newline="\n")
    return "text.txt"


def finished(plan: ComparisonPlan, **options) -> tuple[list[ComparedRun], list[str]]:
    notes: list[str] = []
    *_, runs = compare(plan, on_note=notes.append, **options)
    return runs, notes


def test_each_cell_is_trained_and_measured_in_the_same_way(corpus):
    plan = ComparisonPlan(corpus=(corpus,), cells=("rnn", "gru"), settings=SMALL)
    runs, _ = finished(plan)
    assert [(run.cell, run.stage, run.steps) for run in runs] == [
        ("rnn", "done", 8), ("gru", "done", 8)
    ]  # fmt: skip
    for run in runs:
        model = load(f"checkpoints/{run.run}")
        ids = validation_text(model)
        score = model.score_tokens(ids)
        assert run.bits_per_byte == pytest.approx(score.bits_per_byte, rel=1e-6)
        # The blocks have equal lengths, so their mean is nearly the score of the whole.
        assert run.blocks.mean() == pytest.approx(run.bits_per_byte, rel=0.02)
        assert run.characters_per_second > 0
        assert run.half_life > 0
        value = run.to_json()
        assert value["parameters"] == model.config.num_parameters
        json.dumps(value)


def test_a_stopped_comparison_continues_without_training_twice(corpus):
    plan = ComparisonPlan(corpus=(corpus,), cells=("rnn", "gru"), settings=SMALL)
    calls = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) > 12  # in the middle of the second run

    runs, _ = finished(plan, should_stop=stop)
    assert [run.stage for run in runs] == ["done", "training"]
    before = Path("checkpoints/compare-text-rnn/model.safetensors").read_bytes()
    runs, notes = finished(plan)
    assert "compare-text-rnn: already finished, kept as it is" in notes
    assert "compare-text-gru: continues where it stopped" in notes
    assert [run.stage for run in runs] == ["done", "done"]
    assert runs[0].curve
    assert runs[0].tokens_per_second > 0
    assert Path("checkpoints/compare-text-rnn/model.safetensors").read_bytes() == before
    uninterrupted, _ = finished(replace(plan, run="other"))
    for run, other in zip(runs, uninterrupted, strict=True):
        assert run.bits_per_byte == other.bits_per_byte


def test_a_run_with_other_settings_is_refused_or_overwritten(corpus):
    plan = ComparisonPlan(corpus=(corpus,), cells=("rnn",), settings=SMALL)
    finished(plan)
    with pytest.raises(UsageError, match="a run with other settings"):
        finished(replace(plan, settings={**SMALL, "hidden_size": 24}))
    runs, _ = finished(replace(plan, settings={**SMALL, "hidden_size": 24}, overwrite=True))
    assert runs[0].config.hidden_size == 24


def test_cells_get_equally_many_weights_or_steps(corpus):
    settings = {**SMALL, "hidden_size": 40}
    runs, _ = finished(
        ComparisonPlan(
            corpus=(corpus,), cells=("lstm", "rnn"), equal="parameters", settings=settings
        )
    )
    lstm, rnn = (run.config for run in runs)
    assert lstm.hidden_size == 40
    assert rnn.hidden_size > 40
    assert rnn.num_parameters == pytest.approx(lstm.num_parameters, rel=0.02)
    runs, _ = finished(
        ComparisonPlan(
            corpus=(corpus,), cells=("lstm", "gru"), equal="steps", run="s", settings=settings
        )
    )
    assert [(run.config.hidden_size, run.steps) for run in runs] == [(40, 8), (40, 8)]


def test_each_seed_is_a_separate_run(corpus):
    plan = ComparisonPlan(corpus=(corpus,), cells=("rnn",), seeds=2, settings=SMALL)
    runs, _ = finished(plan)
    assert [run.run for run in runs] == ["compare-text-rnn-0", "compare-text-rnn-1"]
    assert runs[0].bits_per_byte != runs[1].bits_per_byte
    (row,) = rankings(runs)
    pair = [run.bits_per_byte for run in runs]
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
def test_impossible_comparisons_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        ComparisonPlan(**{"corpus": ("text.txt",), **wrong})


def finished_run(cell: str, bits: float, seed: int = 0, noise: float = 0.1) -> ComparedRun:
    blocks = bits + noise * np.random.default_rng(sum(map(ord, cell)) + seed).normal(size=64)
    return ComparedRun(
        cell=cell, seed=seed, run=cell, stage="done", bits_per_byte=bits, blocks=blocks
    )


def test_a_clear_difference_is_stated_and_an_unclear_difference_is_not():
    clear = verdict([finished_run("gru", 2.0), finished_run("lstm", 1.5)], "after 2 minutes each")
    assert clear.startswith("LSTM predicts best after 2 minutes each: 1.500 bits a byte, 0.500 ± ")
    assert "fewer than GRU" in clear
    assert "one seed each" in clear
    close = verdict([finished_run("gru", 1.501), finished_run("lstm", 1.5)], "so")
    assert close.startswith("LSTM and GRU cannot be told apart so: 1.500 and 1.501 bits a byte")


def test_a_verdict_over_several_seeds_uses_their_spread():
    runs = [finished_run("gru", 2.0 + d, s) for s, d in enumerate((0.0, 0.3))]
    runs += [finished_run("lstm", 1.9 + d, s) for s, d in enumerate((0.0, 0.3))]
    sentence = verdict(runs, "so")
    # Standard errors 0.15 each and 2 degrees of freedom: 4.303 * sqrt(0.15² + 0.15²) = 0.913.
    assert "cannot be told apart" in sentence
    assert "0.100 ± 0.913 apart (95% confidence by Student's t, over 2 seeds)" in sentence


def test_unfinished_runs_have_no_verdict():
    assert "nothing was finished" in verdict([], "so")
    waiting = ComparedRun(cell="rnn", seed=0, run="r")
    assert rankings([waiting]) == []
    assert verdict([finished_run("gru", 2.0)], "so") == "GRU: 2.000 bits a byte so"


def test_the_compare_command_prints_a_table_or_json_and_exports(corpus, capfdbinary):
    from chargen.cli.main import run

    code = run(
        ["compare", corpus, "--cells", "rnn,gru", "--steps", "8", "--hidden-size", "16",
         "--batch-size", "4", "--bptt", "16"]
    )  # fmt: skip
    out, err = (stream.decode() for stream in capfdbinary.readouterr())
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
    out, err = (stream.decode() for stream in capfdbinary.readouterr())
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row.get("cell") for row in rows] == ["rnn", "gru", None]
    assert "after 8 steps each" in rows[-1]["verdict"]
    assert "written to c.svg" in err
