"""Comparisons: verdicts by Student's t, and a display that another thread draws."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from chargen.insight.comparison import ComparedRun, verdict
from chargen.insight.confidence import margin, margin_of_difference, student_quantile
from chargen.insight.plot import Figure, Plot, Series
from chargen.terminal.compare_display import LiveComparison
from chargen.terminal.context import Terminal


@pytest.mark.parametrize(
    ("degrees", "confidence", "t"),
    [  # a table of Student's t, two-sided
        (1, 0.95, 12.7062),
        (2, 0.95, 4.30265),
        (3, 0.95, 3.18245),
        (4, 0.95, 2.77645),
        (9, 0.95, 2.26216),
        (30, 0.95, 2.04227),
        (63, 0.95, 1.99834),
        (1e6, 0.95, 1.95997),
        (1, 0.5, 1.0),
        (2, 0.99, 9.92484),
    ],
)
def test_quantiles_of_students_t(degrees, confidence, t):
    assert student_quantile(degrees, confidence) == pytest.approx(t, rel=2e-5)


def test_margins():
    assert margin([1.0, 3.0]) == pytest.approx(12.7062, rel=1e-5)
    # Equal spreads and sizes: Welch's degrees of freedom are those of both sides together.
    assert margin_of_difference([0.0, 0.3], [1.0, 1.3]) == pytest.approx(0.91273, rel=1e-4)
    # A side without spread leaves the degrees of freedom of the other.
    assert margin_of_difference([1.0, 3.0], [5.0, 5.0]) == pytest.approx(12.7062, rel=1e-5)
    assert margin_of_difference([1.0, 1.0], [2.0, 2.0]) == 0
    for number in (margin([1.0]), margin_of_difference([1.0], [2.0, 3.0])):
        assert math.isnan(number)


def scored(cell: str, seed: int, bits: float, blocks: int = 64) -> ComparedRun:
    values = np.full(blocks, bits)
    return ComparedRun(
        cell=cell, seed=seed, run=cell, stage="done", bits_per_byte=bits, blocks=values
    )


@pytest.mark.parametrize("seeds", [2, 3])
def test_chance_rarely_wins_a_comparison(seeds):
    random = np.random.default_rng(0)
    wins = 0
    for _ in range(400):
        scores = random.normal(2.0, 0.01, (2, seeds))
        runs = [
            scored(cell, seed, float(scores[row, seed]))
            for row, cell in enumerate(("gru", "lstm"))
            for seed in range(seeds)
        ]
        wins += "predicts best" in verdict(runs, "so")
    assert wins <= 0.06 * 400  # two standard errors call 18 % of these a win with two seeds


def test_the_confidence_is_named_and_a_clear_gap_still_wins():
    runs = [scored("gru", seed, 2.0 + 0.01 * seed) for seed in range(2)]
    runs += [scored("lstm", seed, 1.5 + 0.01 * seed) for seed in range(2)]
    sentence = verdict(runs, "so")
    assert sentence.startswith("LSTM predicts best so: 1.505 bits a byte, 0.500 ± 0.030 fewer")
    assert "(95% confidence by Student's t, over 2 seeds)" in sentence
    single = verdict([scored("gru", 0, 2.0), scored("lstm", 0, 1.5)], "so")
    assert "95% confidence by Student's t, by this text; one seed each" in single


def test_an_unknown_margin_is_no_win():
    sentence = verdict([scored("gru", 0, 2.0, blocks=1), scored("lstm", 0, 1.5, blocks=1)], "so")
    assert "cannot be told apart" in sentence


def test_the_live_display_draws_the_runs_as_they_were_when_shown():
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    run = ComparedRun(cell="gru", seed=0, run="r", stage="training", share=0.5)
    run.seconds.append(1.0)
    run.curve.append(3.0)
    drawn: list[tuple[list[float], list[float]]] = []

    def draw(runs) -> Figure:
        # In the middle of a drawing the training goes on: one list grows before the other.
        if runs:
            run.seconds.append(2.0)
        drawn.extend((list(shown.seconds), list(shown.curve)) for shown in runs)
        series = tuple(
            Series(name="gru", x=np.array(shown.seconds), y=np.array(shown.curve)) for shown in runs
        )
        plot = Plot(series=series, x_label="seconds", y_label="bits")
        return Figure(title="Cells", plots=(plot,))

    terminal = Terminal(err=Screen(), environ={"TERM": "xterm"}, color="never")
    display = LiveComparison(terminal, draw)
    try:
        display.show([run])
        run.share, run.stage = 1.0, "done"
        with display._console.capture() as capture:
            display._console.print(display._render())
    finally:
        display.close()
    assert drawn
    assert all(lists == ([1.0], [3.0]) for lists in drawn)
    assert "r: training, 50%" in capture.get()
