"""Units that track a property: scores by hand, planted units are found, noise is rejected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.errors import ModelFileError, UsageError
from chargen.inference.engine import Stepper
from chargen.insight import units as module
from chargen.insight.trace import record
from chargen.insight.units import (
    Finding,
    ablation_costs,
    column_of,
    excerpt_grid,
    find_units,
    holm,
    read_states,
)
from chargen.model.unit_names import NamedUnit, Unit, load_names, names_path, parse_unit, save_names
from tests.conftest import make_model
from tests.insight import equations

SHAPE = (1, 1, 40)


def slow_signal(random, length, pace):
    """A property that is true for a while and then false, like being in a quotation."""
    flips = random.random(length) < 1 / pace
    return (np.cumsum(flips) % 2).astype(np.float32)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=4, max_size=40))
def test_auc_equals_the_share_of_ordered_pairs(pairs):
    values = np.array([[value] for value, _ in pairs], np.float32)
    labels = np.array([label for _, label in pairs], np.float32)
    if labels.min() == labels.max():
        return
    has, lacks = values[labels == 1, 0], values[labels == 0, 0]
    wins = sum((a > b) + 0.5 * (a == b) for a in has for b in lacks)
    ranks, label_ranks = module._ranks(values), module._ranks(labels[:, None])[:, 0]
    score = module._score(ranks, label_ranks, False)[0] + 0.5
    assert score == pytest.approx(wins / (len(has) * len(lacks)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_the_rank_correlation_equals_one_by_hand(pairs):
    def ranks(values):
        return [sum(b < a for b in values) + (sum(b == a for b in values) + 1) / 2 for a in values]

    x, y = ranks([a for a, _ in pairs]), ranks([b for _, b in pairs])
    if len(set(x)) == 1 or len(set(y)) == 1:
        return
    expected = np.corrcoef(x, y)[0, 1]
    columns = module._ranks(np.array([[a] for a, _ in pairs], float))
    labels = module._ranks(np.array([[b] for _, b in pairs], float))[:, 0]
    assert module._score(columns, labels, True)[0] == pytest.approx(expected, abs=1e-9)


def test_a_planted_unit_is_found_and_significant():
    random = np.random.default_rng(0)
    quotes = slow_signal(random, 8000, 60)
    count = (np.arange(8000) % 37).astype(np.float32)
    states = random.normal(size=(8000, 40)).astype(np.float32)
    states[:, 7] -= 3 * quotes
    states[:, 21] += 0.1 * count
    findings = {
        finding.name: finding
        for finding in find_units(states, {"q": (quotes, False), "n": (count, True)}, SHAPE)
    }
    assert (findings["q"].unit, findings["q"].sign, findings["q"].measure) == (
        Unit(0, 7),
        -1,
        "AUC",
    )
    assert (findings["n"].unit, findings["n"].sign, findings["n"].measure) == (
        Unit(0, 21), 1, "correlation"
    )  # fmt: skip
    assert findings["q"].score > 0.95
    assert findings["q"].significant
    assert findings["n"].significant


def test_units_that_follow_by_chance_are_rejected():
    """Slow units against slow properties: the best of many looks good where it was chosen."""
    believed, looked_good = 0, 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        states = np.stack([slow_signal(random, 3000, 80) for _ in range(40)], axis=1)
        states += 0.1 * random.normal(size=states.shape).astype(np.float32)
        (finding,) = find_units(states, {"q": (slow_signal(random, 3000, 80), False)}, SHAPE)
        believed += finding.significant
        looked_good += finding.search_score > 0.65
    assert looked_good >= 10
    assert believed == 0


def test_rare_properties_are_left_out():
    states = np.random.default_rng(0).normal(size=(400, 40)).astype(np.float32)
    rare = np.zeros(400, np.float32)
    rare[:19] = rare[200:219] = 1
    assert find_units(states, {"rare": (rare, False)}, SHAPE) == []
    assert find_units(states[:30], {"short": (rare[:30], False)}, SHAPE) == []


def test_several_p_values_are_corrected_by_holm():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1.0, 1.0])


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_each_unit_has_the_column_of_its_states(cell):
    model = make_model(cell, 2)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(0).integers(9, size=100)
    states = read_states(stepper, ids)
    trace = record(stepper, ids)
    shape = model.config.state_shape
    for unit in (Unit(0, 3), Unit(1, 11), Unit(1, 2, shape[1] - 1)):
        np.testing.assert_allclose(
            states[:, column_of(unit, shape)],
            trace.states[:, unit.layer, unit.state, unit.index], atol=1e-5,
        )  # fmt: skip


def test_the_cost_of_ablating_a_unit_is_the_cost_of_clamping_it():
    model = make_model("lstm", 1)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(1).integers(9, size=60)
    (cost,) = ablation_costs(stepper, ids, [Unit(0, 4)], [0.2])
    state, clamped, free = equations.zero_state(model), 0.0, 0.0
    _, rows = equations.read(model, ids[:-1])
    for token, following, row in zip(ids[:-1], ids[1:], rows, strict=True):
        _, state, _ = equations.step(model, equations.embedded(model, token), state)
        state[0, 0, 4] = 0.2
        logits = model.weights["head.weight"].astype(float) @ state[0, 0]
        clamped += equations.nats(logits + model.weights["head.bias"], following)
        free += equations.nats(row, following)
    assert cost == pytest.approx((clamped - free) / (len(ids) - 1) / np.log(2), abs=1e-5)


def test_an_excerpt_is_of_text_that_was_not_searched():
    states = np.zeros((400, 40), np.float32)
    values = np.zeros(400, np.float32)
    values[300:330] = 1
    states[:, 5] = values
    finding = Finding(name="q", unit=Unit(0, 5), counts=False, search_score=1.0, score=1.0, sign=1,
                      p_value=0.0)  # fmt: skip
    labels = tuple(str(number % 10) for number in range(400))
    grid = excerpt_grid([finding], ["q L1:5"], states, {"q": (values, False)}, labels, SHAPE)
    assert grid.values.shape == (1, 128)
    assert grid.values.sum() == 30
    assert grid.row_labels == ("q L1:5",)


NAMED = {
    "in-quotes": NamedUnit(unit=Unit(0, 3), says="AUC 0.97", score=0.97),
    "mine": NamedUnit(unit=Unit(1, 2, 1), says="AUC 0.9", score=0.9),
}


def test_names_are_kept_beside_the_model():
    model = make_model("lstm", 2)
    assert names_path(Path("runs/bard/model.safetensors")) == Path("runs/bard/units.json")
    path = names_path(Path("small.safetensors"))
    assert path == Path("small.units.json")
    assert load_names(path, model.weights, model.config) == {}
    save_names(path, model.weights, model.config, NAMED)
    names = load_names(path, model.weights, model.config)
    assert names == {"in-quotes": Unit(0, 3), "mine": Unit(1, 2, 1)}
    assert parse_unit(" in-quotes ", model.config, names) == Unit(0, 3)
    assert parse_unit("L1:4", model.config, names) == Unit(0, 4)
    with pytest.raises(UsageError, match="did you mean 'in-quotes'"):
        parse_unit("in-quote", model.config, names)


def test_names_of_other_weights_are_refused():
    model, other = make_model("lstm", 2), make_model("lstm", 2, seed=1)
    save_names(Path("units.json"), model.weights, model.config, NAMED)
    with pytest.raises(ModelFileError, match="names units of other weights"):
        load_names(Path("units.json"), other.weights, other.config)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '{"format": 1}', '{"format": 2, "units": []}',
        '{"format": 1, "units": 5}', '{"format": 1, "units": [5], "digest": "DIGEST"}',
        '{"format": 1, "units": [{"name": "x", "unit": "L9:1"}], "digest": "DIGEST"}',
        '{"format": 1, "units": [{"name": "\\u001b[2J", "unit": "L1:1"}], "digest": "DIGEST"}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_damaged_names_are_an_error_of_one_line(text):
    from chargen.model.checkpoint import tensor_digest

    model = make_model("lstm", 1)
    Path("units.json").write_text(text.replace("DIGEST", tensor_digest(model.weights)))
    with pytest.raises(ModelFileError, match="chargen units makes it anew"):
        load_names(Path("units.json"), model.weights, model.config)
