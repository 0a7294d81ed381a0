"""Writing that looks ahead: what is kept, what it is worth, and what cannot be asked beside."""

from __future__ import annotations

import numpy as np
import pytest

from chargen.api import Model
from chargen.errors import UsageError
from chargen.inference.engine import log_softmax
from chargen.inference.particles import HORIZON
from chargen.model.checkpoint import ModelFile
from chargen.text.tokenizer import ByteTokenizer
from tests.conftest import make_model
from tests.steering.conftest import stepper_for
from tests.steering.test_words import chain_model


def model_of(stepper, tokenizer) -> Model:
    return Model(
        ModelFile(
            config=stepper.config, tokenizer=tokenizer.to_state(), weights=dict(stepper.weights)
        )
    )


def test_steps_tell_what_the_model_thinks_of_each_token():
    model = Model(make_model("gru", 2))
    steps = list(model.generate("abc", length=50, seed=3, lookahead=4))
    ids = [*model.encode("abc"), *(step.token_id for step in steps)]
    logits, state = model.stepper.logits_of(np.array(ids), model.stepper.zero_state())
    logprobs = log_softmax(logits[2:-1])
    for row, step in zip(logprobs, steps, strict=True):
        assert step.logprob == pytest.approx(float(row[step.token_id]), abs=1e-4)
        assert step.rank == int((row > row[step.token_id] + 1e-6).sum())
    np.testing.assert_allclose(steps[-1].state, state, atol=1e-5)
    assert (len(steps), steps[-1].finish) == (50, "length")


def test_the_same_seed_writes_the_same_and_texts_differ():
    model = Model(make_model())
    texts = {0: "", 1: ""}
    for number, step in model.generate_batch("a", 2, length=40, seed=3, lookahead=3):
        texts[number] += step.text
    again = "".join(step.text for step in model.generate("a", length=40, seed=3, lookahead=3))
    assert texts[0] == again != texts[1]


def test_one_continuation_is_plain_sampling_and_more_are_likelier():
    model = Model(make_model(hidden_size=16, seed=4))

    def nats(count: int) -> float:
        steps = [
            step.logprob
            for seed in range(6)
            for step in model.generate("a", length=120, seed=seed, temperature=1.0, lookahead=count)
        ]
        return -float(np.mean(steps))

    assert nats(16) < nats(4) < nats(1)


def test_a_block_is_kept_by_its_likelihood():
    """Two blocks are possible; their odds among N = 2 are computed by hand."""
    stepper, tokenizer = chain_model(
        {
            " ": {"a": 0.5, "b": 0.5},
            "a": {"a": 1.0},
            "b": {"c": 0.5, "d": 0.5},
            "c": {"b": 1.0},
            "d": {"b": 1.0},
        }
    )
    model, first = model_of(stepper, tokenizer), 0
    texts = 400
    for _, step in model.generate_batch(" ", texts, length=1, seed=1, temperature=1.0, lookahead=2):
        first += step.text == "a"
    # A block of one token costs the same for both, so each comes as often.
    assert abs(first / texts - 0.5) < 4 * (0.25 / texts) ** 0.5
    first = 0
    for _, step in model.generate_batch(
        " ", texts, length=HORIZON, seed=1, temperature=1.0, lookahead=2
    ):
        first += step.text == "a" and step.logprob < -0.6  # the first of its block
    # The block of `a` costs ln 2 in all, that of `b` seven times as much: odds of 2 ** 6.
    share = 0.25 + 0.5 * 64 / 65
    assert abs(first / texts - share) < 4 * (share * (1 - share) / texts) ** 0.5


def test_stops_documents_and_bytes_are_kept():
    model = Model(make_model())
    steps = list(model.generate("a", length=200, seed=1, lookahead=3, stop=("d",)))
    assert steps[-1].finish == "stop"
    assert "d" not in "".join(step.text for step in steps)
    tokenizer = ByteTokenizer(documents=True)
    model = model_of(stepper_for(tokenizer), tokenizer)
    for seed in range(8):
        steps = list(model.generate("", length=30, seed=seed, lookahead=3, temperature=3.0))
        b"".join(step.data for step in steps).decode()


@pytest.mark.parametrize("settings", [{"ban": ("a",)}, {"match": "a"}, {"lines": 2}])
def test_what_cannot_be_combined_is_refused_at_once(settings):
    with pytest.raises(UsageError, match="lookahead cannot be combined with"):
        Model(make_model()).generate("a", lookahead=4, **settings)
    with pytest.raises(UsageError, match="memory 'session'"):
        Model(make_model()).generate("a", lookahead=4, memory="session")
    with pytest.raises(UsageError, match="lookahead"):
        Model(make_model()).generate("a", lookahead=65)
