"""Filters compared with their definitions, on generated distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chargen.errors import UsageError
from chargen.inference import filters
from chargen.inference.engine import log_softmax
from chargen.inference.filters import SETTINGS, SampleConfig

distributions = arrays.arrays(
    np.float32,
    st.integers(2, 20),
    elements=st.floats(-20, 20, width=32),
).map(lambda logits: logits - logits.max())


def remaining(logprobs):
    return set(np.flatnonzero(np.isfinite(logprobs)))


@given(distributions, st.integers(1, 25))
def test_top_k_keeps_the_k_likeliest(logprobs, k):
    result = filters.top_k(logprobs, k)
    assert len(remaining(result)) == min(k, len(logprobs))
    if k < len(logprobs):
        removed = set(range(len(logprobs))) - remaining(result)
        assert max(logprobs[list(removed)]) <= min(logprobs[list(remaining(result))])


@given(distributions, st.floats(0.01, 0.999))
def test_top_p_keeps_the_fewest_that_reach_p(logprobs, p):
    chosen = sorted(remaining(filters.top_p(logprobs, p)), key=lambda token: -logprobs[token])
    probabilities = np.exp(logprobs[chosen].astype(np.float64))
    total = np.exp(logprobs.astype(np.float64)).sum()
    assert probabilities.sum() >= p * total - 1e-6
    assert probabilities[:-1].sum() < p * total + 1e-6


@given(distributions, st.floats(0.001, 1))
def test_min_p_keeps_tokens_with_a_share_of_the_highest_probability(logprobs, share):
    result = filters.min_p(logprobs, share)
    for token, value in enumerate(logprobs):
        ratio = math.exp(float(value) - float(logprobs.max()))
        if abs(ratio - share) > 1e-4 * share:
            assert (token in remaining(result)) == (ratio > share)


def probabilities_of(logprobs):
    weights = [math.exp(float(value)) for value in logprobs]
    return [weight / sum(weights) for weight in weights]


def entropy_of(logprobs):
    return -sum(p * math.log(p) for p in probabilities_of(logprobs) if p > 0)


@given(distributions, st.floats(0.01, 0.99))
def test_typical_keeps_the_tokens_nearest_to_the_expected_surprise(logprobs, p):
    """A token that is kept is no farther from the entropy than one that is not; together p."""
    probabilities, entropy = probabilities_of(logprobs), entropy_of(logprobs)
    kept = remaining(filters.typical_p(logprobs, p))
    far = [abs(-math.log(q) - entropy) if q > 0 else math.inf for q in probabilities]
    removed = set(range(len(far))) - kept
    if removed:
        assert max(far[token] for token in kept) <= min(far[token] for token in removed) + 1e-4
    assert sum(probabilities[token] for token in kept) >= p - 1e-5
    farthest = max(kept, key=lambda token: far[token])
    assert sum(probabilities[token] for token in kept - {farthest}) < p + 1e-4


@given(distributions, st.floats(0.001, 0.5))
def test_eta_drops_tokens_below_its_limit(logprobs, epsilon):
    probabilities = probabilities_of(logprobs)
    limit = min(epsilon, math.sqrt(epsilon) * math.exp(-entropy_of(logprobs)))
    kept = remaining(filters.eta(logprobs, epsilon))
    for token, probability in enumerate(probabilities):
        if abs(probability - limit) > 1e-5 and probability < max(probabilities):
            assert (token in kept) == (probability > limit)
    assert int(np.argmax(logprobs)) in kept


@given(distributions, st.floats(0.05, 20))
def test_temperature_scales_ratios(logprobs, value):
    result = filters.temperature(logprobs, value)
    spread = (logprobs.astype(np.float64) - logprobs.max()) / value
    assert np.allclose(result - result.max(), spread, rtol=1e-4, atol=1e-4)


@given(distributions, st.sampled_from([0.0, 1e-9, 1e-300]))
def test_temperature_zero_is_greedy(logprobs, value):
    assert remaining(filters.temperature(logprobs, value)) == {int(np.argmax(logprobs))}


@given(distributions, st.floats(0.1, 5), st.data())
def test_repetition_multiplies_recent_logprobs(logprobs, penalty, data):
    recent = data.draw(st.lists(st.integers(0, len(logprobs) - 1)))
    expected = log_softmax(logprobs)
    for token in set(recent):
        expected[token] *= np.float32(penalty)
    result = filters.repetition(logprobs, recent, penalty)
    assert np.allclose(result, expected - expected.max(), rtol=1e-4, atol=1e-4)
    assert result.max() == 0


@given(distributions, st.floats(0, 1, exclude_max=True))
def test_draw_inverts_the_cumulative_distribution(logprobs, uniform):
    token = filters.draw(logprobs, uniform)
    probabilities = np.exp(logprobs.astype(np.float64))
    edges = np.concatenate([[0], np.cumsum(probabilities)]) / probabilities.sum()
    assert edges[token] - 1e-5 <= uniform <= edges[token + 1] + 1e-5


@given(distributions, st.integers(0, 19))
def test_a_removed_token_is_never_drawn(logprobs, number):
    only = number % len(logprobs)
    masked = np.full_like(logprobs, -np.inf)
    masked[only] = 0
    for uniform in (0.0, 0.5, 1 - 2**-53):
        assert filters.draw(masked, uniform) == only


def test_draws_follow_the_distribution():
    logprobs = np.log(np.array([1 / 7, 2 / 7, 1], np.float32))
    random = np.random.default_rng(0)
    counts = np.bincount([filters.draw(logprobs, uniform) for uniform in random.random(20_000)])
    assert np.allclose(counts / 20_000, [0.1, 0.2, 0.7], atol=0.01)


def test_filters_apply_in_the_order_of_the_table_without_those_that_are_off():
    assert list(filters.FILTERS) == [
        "repetition_penalty", "temperature", "typical_p", "eta", "top_k", "top_p",
        "min_p",
    ]  # fmt: skip
    assert set(filters.FILTERS) == {name for name, row in SETTINGS.items() if row.off is not None}
    assert filters.active_filters(SampleConfig(temperature=1)) == []
    assert len(filters.active_filters(SampleConfig(top_k=3, top_p=0.5, min_p=0.1))) == 4


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("length", 0),
        ("length", 2.5),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_k", "3"),
        ("top_k", -(10**400)),
        ("top_p", 0.0),
        ("typical_p", 0.0),
        ("eta", 1.5),
        ("lookahead", -1),
        ("top_p", 1.1),
        ("min_p", 2.0),
        ("repetition_penalty", 0.0),
        ("seed", -1),
        ("stop", ("",)),
    ],
)
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(UsageError, match=setting.replace("_", "-")) as error:
        SampleConfig(**{setting: value})
    assert "must be" in str(error.value)


def test_all_problems_are_reported_at_once():
    with pytest.raises(UsageError, match=r"length 0.*; temperature -1.*; top-p 2"):
        SampleConfig(length=0, temperature=-1, top_p=2)
