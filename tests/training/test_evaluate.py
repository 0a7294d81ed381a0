"""Scores: their units, each token once, batch rows compared with one long reading."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from chargen import scoring
from chargen.api import Model
from chargen.errors import ChargenError, CorpusError
from chargen.inference.engine import Stepper, log_softmax
from chargen.model.score import make_score
from chargen.text.tokenizer import token_lengths
from chargen.training.evaluate import evaluate, evaluate_calibrated, nats_of_long_text
from chargen.training.network import RecurrentLM
from tests.conftest import CELLS, make_model


def test_a_score_has_its_values_per_token_byte_and_character():
    lengths = np.array([[1, 3, 0], [1, 1, 0]])
    score = make_score(6 * math.log(2), np.array([2, 1, 1]), lengths)
    assert score.tokens == 4
    assert (score.bytes, score.characters) == (5, 3)
    assert score.nats_per_token == pytest.approx(1.5 * math.log(2))
    assert score.perplexity == pytest.approx(2**1.5)
    assert score.bits_per_byte == pytest.approx(6 / 5)
    assert score.bits_per_character == pytest.approx(2)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("count", [2, 3, 100, 1023, 5000])
def test_every_token_but_the_first_is_scored_once(cell, count):
    model = make_model(cell, 2)
    tokens = np.random.default_rng(0).integers(10, size=count).astype(np.uint8)
    lengths = token_lengths(model.build_tokenizer())
    network = RecurrentLM(model.config)
    network.load_weights(model.weights)
    score = evaluate(network, tokens, lengths)
    assert score.tokens == score.bytes == count - 1
    # Independently: rows of a thousand tokens, each read by the numpy engine.
    stepper, nats = Stepper(model.config, model.weights), 0.0
    rows = max(1, min(32, (count - 1) // 1024))
    edges = [row * (count - 1) // rows for row in range(rows)] + [count - 1]
    for start, end in itertools.pairwise(edges):
        logits, _ = stepper.logits_of(tokens[start:end], stepper.zero_state())
        nats -= log_softmax(logits)[np.arange(end - start), tokens[start + 1 : end + 1]].sum()
    assert score.nats_per_token == pytest.approx(nats / (count - 1), abs=1e-5)
    numpy_score = Model(model).score_tokens(tokens)
    assert (numpy_score.tokens, numpy_score.bytes) == (score.tokens, score.bytes)
    assert numpy_score.nats_per_token == pytest.approx(score.nats_per_token, abs=0.01)


def test_a_limit_scores_a_part_spread_over_the_text():
    model = make_model()
    tokens = np.random.default_rng(0).integers(10, size=50_000).astype(np.uint8)
    network = RecurrentLM(model.config)
    network.load_weights(model.weights)
    network.train()
    score = evaluate(network, tokens, token_lengths(model.build_tokenizer()), 4096)
    assert score.tokens == 4096
    assert network.training, "the mode is restored"


def test_scoring_in_blocks_equals_scoring_at_once(monkeypatch, prose):
    model = Model(make_model("lstm", 2, characters="".join(sorted(set(prose)))))
    at_once = model.score(prose[:3000])
    monkeypatch.setattr("chargen.inference.token_scores._TOKENS_PER_SCORE_BLOCK", 100)
    assert model.score(prose[:3000]).nats_per_token == pytest.approx(
        at_once.nats_per_token, abs=1e-6
    )


def test_calibration_finds_the_best_factor_on_the_logits():
    model = make_model("lstm", 1, hidden_size=16)
    model.weights["head.weight"] *= 4
    random, stepper = np.random.default_rng(0), Stepper(model.config, model.weights)
    state, token, ids = stepper.zero_state(), 0, []
    for _ in range(8000):  # a text that the model itself writes: it is calibrated
        logits = stepper.step(token, state, state)
        token = int(random.choice(10, p=np.exp(log_softmax(logits.astype(np.float64)))))
        ids.append(token)
    ids = np.array(ids, np.uint8)
    network = RecurrentLM(model.config)

    def scaled(by):
        network.load_weights(model.weights)
        with torch.no_grad():
            network.head.weight.mul_(by)
            network.head.bias.mul_(by)
        return network

    lengths = np.ones((2, 10), np.int64)
    for by in (1.0, 1.1, 0.9):
        score, factor = evaluate_calibrated(scaled(by), ids, lengths, 10**6)
        assert factor == pytest.approx(1 / by, abs=0.03)
        # The predicted score is the score with the factor.
        reached = evaluate(scaled(by * factor), ids, lengths).nats_per_token
        assert score.nats_per_token == pytest.approx(reached, abs=1e-3)
        assert reached <= evaluate(scaled(by), ids, lengths).nats_per_token


def test_a_model_of_equal_probabilities_gets_the_factor_one():
    model = make_model("lstm", 1, hidden_size=16)
    for name in ("head.weight", "head.bias"):
        model.weights[name][...] = 0
    network = RecurrentLM(model.config)
    network.load_weights(model.weights)
    ids = np.arange(5000, dtype=np.uint16) % 10
    score, factor = evaluate_calibrated(network, ids, np.ones((2, 10), np.int64), 10**6)
    assert factor == 1
    assert score.nats_per_token == pytest.approx(math.log(10))


@pytest.mark.parametrize("cell", CELLS)
def test_rows_with_a_warm_up_score_like_one_long_reading(cell):
    model = make_model(cell, 2)
    tokens = np.random.default_rng(0).integers(10, size=20_000).astype(np.uint8)
    lengths = token_lengths(model.build_tokenizer())
    expected = Model(model).score_tokens(tokens)
    network = RecurrentLM(model.config)
    network.load_weights(model.weights)
    warm = evaluate(network, tokens, lengths, warm_up=300)
    assert (warm.tokens, warm.bytes) == (expected.tokens, expected.bytes)
    assert warm.nats_per_token == pytest.approx(expected.nats_per_token, abs=1e-6)
    cold = evaluate(network, tokens, lengths)
    assert abs(cold.nats_per_token - expected.nats_per_token) > 1e-6, "otherwise nothing is tested"
    # On a machine with bfloat16, the difference is its rounding.
    nats = nats_of_long_text(model.config, model.weights, tokens)
    assert nats / expected.tokens == pytest.approx(expected.nats_per_token, abs=1e-3)


def test_long_texts_are_scored_by_torch(monkeypatch):
    model = Model(make_model())
    tokens = np.random.default_rng(0).integers(10, size=5000).astype(np.uint8)
    short = model.score_tokens(tokens, "auto")
    assert short == model.score_tokens(tokens)
    monkeypatch.setattr(scoring, "_MAX_NUMPY_PRODUCTS", 1.0)
    long = model.score_tokens(tokens, "auto")
    assert long == model.score_tokens(tokens, "torch") != short
    assert long.nats_per_token == pytest.approx(short.nats_per_token, abs=1e-3)
    with pytest.raises(CorpusError, match="at least two"):
        model.score_tokens(tokens[:1], "auto")
    model.file.weights["head.bias"][:] = np.inf
    with pytest.raises(ChargenError, match="overflowed"):
        model.score_tokens(tokens, "auto")
