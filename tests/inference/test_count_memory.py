"""Counts beside the network: against dictionaries, in whole texts and token by token."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.inference import count_memory
from chargen.inference.count_memory import context_hashes, count, predict
from chargen.inference.count_steps import CountSteps
from chargen.inference.growing_counts import RECENT, TextGrowth
from chargen.inference.mixer import FEATURES, _gradients, _mixed, features_of, fit_gate, usual_gate

texts = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda t: np.array(t, np.uint8))


def plain_pairs(tokens: np.ndarray, order: int, longest: int) -> dict[tuple, Counter[int]]:
    """The counts of Kneser-Ney, by their definition, in dictionaries."""
    after: dict[tuple, Counter[int]] = defaultdict(Counter)
    text = tokens.tolist()
    if order == longest:
        for place in range(order, len(text)):
            after[tuple(text[place - order : place])][text[place]] += 1
        return after
    before: dict[tuple, set] = defaultdict(set)
    for place in range(order, len(text)):
        left = text[place - order - 1] if place - order - 1 >= 0 else None
        before[(tuple(text[place - order : place]), text[place])].add(left)
    for (context, token), lefts in before.items():
        after[context][token] = len(lefts)
    return after


def slow(tokens: np.ndarray, memory, context: list[int], token: int) -> float:
    """The likelihood of a token by the equation, from the longest context down."""
    likelihood = 1 / memory.vocab_size
    for order, kept in enumerate(memory.orders):
        if order > len(context):
            break
        counts = plain_pairs(tokens, order, memory.longest).get(
            tuple(context[len(context) - order :]), Counter()
        )
        total = counts.total()
        if total:
            discounts = {key: kept.discounts[min(n, 3)] for key, n in counts.items()}
            taken = sum(discounts.values()) / total
            likelihood = taken * likelihood
            if counts[token]:
                likelihood += (counts[token] - discounts[token]) / total
    return likelihood


@settings(deadline=None, max_examples=60)
@given(texts, st.lists(st.integers(0, 4), min_size=3, max_size=8))
def test_the_likelihoods_are_those_of_the_equation(tokens, context):
    memory = count(tokens, 5, longest=3, bytes_per_token=1e9)
    assert all(len(order.contexts) for order in memory.orders[:1])
    hashes = [order[-1:] for order in context_hashes(np.array(context), 3)]
    found = predict(memory, hashes).likelihoods[0]
    # Contexts of less than six tokens are not pruned, so all are there.
    expected = [slow(tokens, memory, context, token) for token in range(5)]
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert found.sum() == pytest.approx(1, abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(texts, texts)
def test_token_by_token_the_numbers_are_the_same(tokens, read):
    memory = count(tokens, 5, longest=4, bytes_per_token=1e9)
    growth = TextGrowth(read, memory.longest)
    for grows in (False, True):
        steps = CountSteps(memory, grows=grows)
        for place in range(len(read)):
            here = np.array([place])
            whole = predict(
                memory,
                [order[here] for order in growth.hashes],
                growth.before(here) if grows else None,
            )
            single = steps.predict()
            np.testing.assert_allclose(single.likelihoods, whole.likelihoods, atol=1e-6)
            np.testing.assert_allclose(single.seen, whole.seen, atol=1e-5)
            np.testing.assert_array_equal(single.kinds, whole.kinds)
            steps.read([int(read[place])])


@given(texts, st.integers(1, 3))
def test_what_followed_before_is_what_stood_before(read, order):
    growth = TextGrowth(read, 3)
    for place in range(len(read)):
        (rows, tokens) = growth.before(np.array([place]))[order]
        text = read.tolist()
        context = text[place - order : place]
        expected = [
            text[at]
            for at in range(order, place)
            if place >= order and text[at - order : at] == context
        ]
        assert tokens.tolist() == expected[-RECENT:]
        assert set(rows.tolist()) <= {0}


def test_rare_long_contexts_are_left_out_and_the_size_is_kept():
    random = np.random.default_rng(0)
    tokens = random.integers(0, 20, 30_000).astype(np.uint8)
    memory = count(tokens, 20)
    assert memory.bytes <= 8 * len(tokens)
    small = count(tokens, 20, bytes_per_token=2)
    assert small.bytes <= 2 * len(tokens)
    assert small.longest < memory.longest
    found = predict(small, [h[-1:] for h in context_hashes(tokens[:50], small.longest)])
    assert found.likelihoods.sum() == pytest.approx(1, abs=1e-4)


def test_long_texts_are_counted_in_stretches(monkeypatch):
    monkeypatch.setattr(count_memory, "MAX_TOKENS", 6400)
    tokens = np.arange(100_000, dtype=np.uint16) % 1000
    memory = count(tokens, 1000, longest=2)
    assert int(memory.orders[0].counts.sum()) <= 6400
    hashes = [h[-1:] for h in context_hashes(np.array([4, 5]), memory.longest)]
    assert predict(memory, hashes).likelihoods[0].argmax() == 6


@pytest.mark.parametrize("size", [0, 1, 2, 10])
def test_tiny_texts_have_a_memory(size):
    tokens = np.arange(size, dtype=np.uint8)
    memory = count(tokens, 65_535)
    found = predict(memory, [h[-1:] for h in context_hashes(tokens, memory.longest)])
    assert found.likelihoods.sum() == pytest.approx(1, abs=1e-3)
    assert np.isfinite(found.likelihoods).all()


def some_positions(size: int, vocab: int, seed: int = 0):
    random = np.random.default_rng(seed)
    memory = count(random.integers(0, vocab, 500).astype(np.uint8), vocab, longest=3)
    text = random.integers(0, vocab, size).astype(np.uint8)
    counted = predict(memory, [h[:-1] for h in context_hashes(text, 3)])
    network = random.normal(size=(size, vocab)).astype(np.float32)
    network -= np.log(np.exp(network).sum(1, keepdims=True))
    return network, counted, text.astype(np.int64)


def test_a_mixture_is_a_distribution_whatever_the_gate():
    network, counted, _ = some_positions(50, 7)
    for grows in (False, True):
        mixed = usual_gate(grows=grows).mix(network, counted)
        np.testing.assert_allclose(np.exp(mixed).sum(1), 1, atol=1e-5)
    assert features_of(network, counted).shape == (50, FEATURES)


def test_the_gradient_is_the_numeric_one():
    network, counted, targets = some_positions(12, 5)
    gate = usual_gate(grows=False)
    scaled = np.clip((features_of(network, counted) - gate.mean) / gate.scale, -5, 5)
    logs = np.log(np.maximum(counted.likelihoods, 1e-9))
    weights = [gate.hidden.astype(np.float64), gate.output.astype(np.float64)]

    def loss() -> float:
        units = np.tanh(scaled @ weights[0][:, :-1].T + weights[0][:, -1])
        powers = units @ weights[1][:, :-1].T + weights[1][:, -1]
        return float(-_mixed(powers, network, logs)[np.arange(12), targets].mean())

    found = _gradients(weights, scaled, network, logs, targets)
    for weight, gradient in zip(weights, found, strict=True):
        for place in [(0, 0), (1, 3), (weight.shape[0] - 1, weight.shape[1] - 1)]:
            kept = weight[place]
            weight[place] = kept + 1e-5
            above = loss()
            weight[place] = kept - 1e-5
            below = loss()
            weight[place] = kept
            assert gradient[place] == pytest.approx((above - below) / 2e-5, abs=2e-4)


def test_a_gate_learns_which_of_both_is_right():
    network, counted, targets = some_positions(600, 6)
    right = np.full_like(network, -9)
    right[np.arange(600), targets] = -0.001
    gate = fit_gate(
        lambda chosen: (
            right[chosen],
            type(counted)(
                likelihoods=counted.likelihoods[chosen],
                seen=counted.seen[chosen],
                kinds=counted.kinds[chosen],
            ),
        ),
        targets,
        start=usual_gate(grows=False),
    )
    before = usual_gate(grows=False).mix(right, counted)[np.arange(600), targets].mean()
    after = gate.mix(right, counted)[np.arange(600), targets].mean()
    assert after > before
