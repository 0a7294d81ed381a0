"""Views: the numbers equal those of torch, shapes and names those of the model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from chargen.errors import UsageError
from chargen.inference.engine import Stepper, log_softmax
from chargen.insight.trace import record
from chargen.insight.views import (
    VIEWS,
    ViewOptions,
    build_view,
    choose_units,
    token_labels,
    views_for,
)
from chargen.insight.why import measure_omissions
from chargen.model.config import CELLS as CELL_ROWS
from chargen.model.unit_names import Unit
from chargen.text.tokenizer import ByteTokenizer
from tests.conftest import CELLS, make_cycle_model, make_model

TOKENS = [1, 4, 2, 8, 5, 7, 3, 9, 0, 6, 1, 1]


def traced(file, tokens=TOKENS):
    stepper = Stepper(file.config, file.weights)
    trace = record(stepper, np.array(tokens))
    tokenizer = file.build_tokenizer()
    options = ViewOptions(labels=token_labels(tokenizer, tokens), tokenizer=tokenizer)
    return trace, options


def by_torch(file) -> dict[str, np.ndarray]:
    """Every state and gate of every layer by torch's equations in float64: name to (L, T, H)."""
    config = file.config
    weights = {name: torch.from_numpy(value).double() for name, value in file.weights.items()}
    names = (*config.cell_row.states, *config.cell_row.gates)
    shape = (config.num_layers, len(TOKENS), config.hidden_size)
    by_name = {name: np.zeros(shape) for name in names}
    inputs = weights["embedding.weight"][TOKENS]
    for layer in range(config.num_layers):
        part = {k.split(".")[-1]: w for k, w in weights.items() if k.startswith(f"layers.{layer}.")}
        h = c = torch.zeros(config.hidden_size, dtype=torch.float64)
        outputs = []
        for time, x in enumerate(inputs):
            below = part["weight_ih"] @ x + part["bias_ih"]
            recurrent = part["weight_hh"] @ h + part["bias_hh"]
            if config.cell == "lstm":
                i, f, g, o = (below + recurrent).chunk(4)
                i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
                c = f * c + i * g
                h = o * c.tanh()
                values = {"input": i, "forget": f, "candidate": g, "output": o, "cell": c}
            elif config.cell == "gru":
                (a, b, d), (p, q, s) = below.chunk(3), recurrent.chunk(3)
                r, z = (a + p).sigmoid(), (b + q).sigmoid()
                n = (d + r * s).tanh()
                h = (1 - z) * n + z * h
                values = {"reset": r, "update": z, "candidate": n}
            else:
                h = (
                    (below + recurrent).tanh()
                    if config.cell == "rnn"
                    else (below + recurrent).relu()
                )
                values = {"candidate": h}
            for name, value in {**values, "hidden": h}.items():
                by_name[name][layer, time] = value.numpy()
            outputs.append(h)
        inputs = torch.stack(outputs)
    return by_name


@pytest.mark.parametrize("cell", CELLS)
def test_maps_show_what_torch_computes(cell):
    file = make_model(cell, 2)
    trace, options = traced(file)
    truth = by_torch(file)
    assert set(truth) <= set(views_for(trace.cell))
    for name, values in truth.items():
        for layer in (0, 1):
            options = dataclasses.replace(options, layer=layer, order="index")
            grid = build_view(name, trace, options)
            np.testing.assert_allclose(grid.values, values[layer].T, atol=1e-4)
            assert grid.row_labels == tuple(str(unit) for unit in range(12))
            assert grid.column_labels == options.labels
            assert f"layer {layer + 1}" in grid.title


@pytest.mark.parametrize("cell", CELLS)
def test_every_view_of_a_cell_is_a_valid_grid(cell):
    trace, options = traced(make_model(cell, 2))
    for name in views_for(CELL_ROWS[cell]):
        grid = build_view(name, trace, options)
        assert grid.values.shape == (len(grid.row_labels), len(grid.column_labels))
        assert grid.low < grid.high
        assert grid.kind in ("diverging", "sequential")
        finite = grid.values[np.isfinite(grid.values)]
        assert finite.min() >= grid.low - 1e-6 or name in ("hidden", "cell", "candidate")
        assert all(len(row) == len(grid.column_labels) for row in grid.cells)


def test_views_that_a_cell_lacks_are_refused():
    assert "forget" in views_for(CELL_ROWS["lstm"])
    assert "forget" not in views_for(CELL_ROWS["gru"])
    assert "gates" not in views_for(CELL_ROWS["rnn"])
    trace, options = traced(make_model("gru", 1))
    with pytest.raises(UsageError, match="GRU has no such thing; it has hidden, reset, update"):
        build_view("forget", trace, options)
    with pytest.raises(UsageError, match="did you mean 'reset'"):
        build_view("rest", trace, options)
    with pytest.raises(UsageError, match="layer 2: the model has one layer"):
        build_view("hidden", trace, dataclasses.replace(options, layer=1))
    with pytest.raises(UsageError, match="unknown order"):
        build_view("hidden", trace, dataclasses.replace(options, order="size"))


def test_surprise_and_prediction_come_from_the_softmax():
    file = make_model("lstm", 1)
    trace, options = traced(file)
    stepper = Stepper(file.config, file.weights)
    logits, _ = stepper.logits_of(np.array(TOKENS), stepper.zero_state())
    chances = np.exp(log_softmax(logits).astype(np.float64))
    bits = -np.log2([chances[t - 1, TOKENS[t]] for t in range(1, len(TOKENS))])
    surprise = build_view("surprise", trace, options)
    assert np.isnan(surprise.values[0, 0])
    np.testing.assert_allclose(surprise.values[0, 1:], bits, atol=1e-4)
    assert f"{bits.mean():.2f} bits" in surprise.title
    entropy = build_view("entropy", trace, options)
    np.testing.assert_allclose(entropy.values[0], -(chances * np.log2(chances)).sum(1), atol=1e-4)
    predict = build_view("predict", trace, options)
    np.testing.assert_allclose(predict.values, -np.sort(-chances, axis=1)[:, :5].T, atol=1e-4)
    first = options.tokenizer.decode([int(chances[3].argmax())])
    assert predict.cells[0][3] == first


def test_a_unit_colours_the_text():
    trace, options = traced(make_model("lstm", 2))
    unit = Unit(1, 7, 1)
    grid = build_view("unit", trace, dataclasses.replace(options, unit=unit))
    np.testing.assert_array_equal(grid.values[0], trace.states[:, 1, 1, 7])
    assert (grid.row_labels, grid.layout) == (("L2:7.cell",), "text")
    grid = build_view("unit", trace, options)
    most = trace.states[:, 0, 0].std(0).argmax()
    assert grid.row_labels == (f"L1:{most}",)


def test_gates_are_sorted_and_their_saturation_is_counted():
    trace, options = traced(make_cycle_model(), [2, 3, 4])
    grid = build_view("gates", trace, options)
    assert grid.row_labels == ("L1 input", "L1 forget", "L1 output")
    assert np.all(np.diff(grid.values, axis=1) >= 0)
    assert grid.notes[0] == (
        "L1 input: 100% open on average; 0% of units shut (below 0.1), 100% open (above 0.9)"
    )
    assert "100% of units shut" in grid.notes[1]


def test_units_that_move_together_stand_together():
    time = np.arange(60)
    waves = np.stack([np.sin(time / 5 + phase) for phase in (0, 2, 0, 2, 0, 2)], axis=1)
    still = np.full((60, 3), 0.9)
    values = np.hstack([still, waves]).astype(np.float32)
    chosen = choose_units(values, 6, "similar")
    assert sorted(chosen) == [3, 4, 5, 6, 7, 8], "what never moves is left out"
    kinds = [(unit - 3) % 2 for unit in chosen]
    assert kinds in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    louder = values * np.array([1, 1, 1, 1, 2, 3, 4, 5, 6])
    assert choose_units(louder, 3, "activity").tolist() == [8, 7, 6]
    assert choose_units(louder, 3, "index").tolist() == [6, 7, 8]


@pytest.mark.parametrize("values", [np.zeros((1, 5)), np.full((9, 5), np.nan), np.ones((0, 5))])
def test_units_can_be_chosen_from_any_values(values):
    for order in ("similar", "activity", "index"):
        with np.errstate(all="ignore"):
            assert len(choose_units(values, 3, order)) == 3


def test_a_character_of_several_bytes_labels_its_last_byte():
    tokenizer = ByteTokenizer(documents=True)
    assert token_labels(tokenizer, [*"aé".encode(), 256]) == ("a", "", "é", "\n")


@pytest.mark.parametrize("cell", CELLS)
def test_omitting_a_token_costs_the_bits_of_a_text_without_it(cell):
    file = make_model(cell, 2)
    stepper = Stepper(file.config, file.weights)
    before = stepper.read(np.array([3, 1, 4]), stepper.zero_state())
    omissions = measure_omissions(stepper, np.array(TOKENS), before)

    def bits(tokens) -> float:
        logits, _ = stepper.logits_of(np.array(tokens), before)
        return float(log_softmax(logits[-1])[TOKENS[-1]]) / np.log(2)

    complete = bits(TOKENS[:-1])
    without = [bits([*TOKENS[:k], *TOKENS[k + 1 : -1]]) for k in range(len(TOKENS) - 1)]
    np.testing.assert_allclose(omissions, complete - np.array(without), atol=1e-4)


def test_a_single_earlier_token_has_no_omission():
    file = make_model()
    stepper = Stepper(file.config, file.weights)
    assert measure_omissions(stepper, np.array([1, 2]), stepper.zero_state()).tolist() == [0]


def test_the_table_names_every_state_and_gate():
    parts = {name for cell in CELL_ROWS.values() for name in (*cell.states, *cell.gates)}
    assert parts <= set(VIEWS)
    assert all(VIEWS[name].per_unit for name in parts)
