"""A long text in lanes costs what it costs in one piece."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chargen.sampling import scoring
from chargen.sampling.scoring import total_nats
from chargen.sampling.stepper import Stepper
from tests.conftest import CELLS, make_model


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("length", [700, 777])
def test_lanes_and_one_piece_agree(cell, length, monkeypatch):
    model = make_model(cell, 2, hidden_size=16)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(0).integers(10, size=length).astype(np.uint8)
    whole = total_nats(stepper, ids)
    monkeypatch.setattr(scoring, "LONG", 600)
    monkeypatch.setattr(scoring, "_LANES", 7)
    monkeypatch.setattr(scoring, "_WARM_UP", 300)
    assert total_nats(stepper, ids) == pytest.approx(whole, rel=1e-5)


def test_one_piece_is_the_sum_of_its_tokens():
    model = make_model("lstm", 1, hidden_size=16)
    stepper = Stepper(model.config, model.weights)
    ids = np.random.default_rng(1).integers(10, size=300)
    state, nats = stepper.zero_state(), 0.0
    for token, following in itertools.pairwise(ids):
        logits = stepper.step(int(token), state, state).astype(np.float64)
        nats += np.log(np.exp(logits).sum()) - logits[following]
    assert total_nats(stepper, ids) == pytest.approx(nats, rel=1e-5)
