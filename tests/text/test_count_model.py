"""The quick model by counts: against a slow computation in dictionaries, and what it tells."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.text.count_model import (
    ORDER,
    CountModel,
    bits_per_character,
    sample_stretches,
    tail_difference,
)

WORDS = [
    "the",
    "sea",
    "and",
    "a",
    "boat",
    "of",
    "old",
    "men",
    "who",
    "sang",
    "in",
    "the",
    "night",
    "until",
    "day",
    "came",
    "to",
    "them",
    "again",
]


def prose(count: int, seed: int, words: list[str] = WORDS) -> str:
    choose = random.Random(seed)
    return " ".join(choose.choice(words) for _ in range(count)) + "\n"


def slow_likelihood(
    texts: list[str], scored: str, at: int, character: str, known: set[str]
) -> float:
    """Witten-Bell by its equation, from counts in dictionaries."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for number, letter in enumerate(text):
            for order in range(min(number, ORDER) + 1):
                counts[f"{order}:{text[number - order : number]}"][letter] += 1
    likelihood = 1 / (len(known) + 1)
    for order in range(min(at, ORDER) + 1):
        after = counts.get(f"{order}:{scored[at - order : at]}", Counter())
        n, t = after.total(), len(after)
        if n:
            likelihood = (after[character] + t * likelihood) / (n + t)
    return likelihood


texts = st.lists(st.text(st.sampled_from("abc \n"), max_size=30), max_size=3)


@settings(deadline=None)
@given(texts, st.text(st.sampled_from("abcd"), min_size=1, max_size=12))
def test_each_character_costs_what_the_equation_says(train, scored):
    bits = CountModel(train).bits(scored)
    known = set("".join(train)) | set(scored)
    expected = [
        -math.log2(slow_likelihood(train, scored, at, letter, known))
        for at, letter in enumerate(scored)
    ]
    assert bits.tolist() == pytest.approx(expected)


@settings(deadline=None)
@given(texts, st.text(st.sampled_from("abc"), max_size=8))
def test_the_likelihoods_of_all_characters_and_of_an_unseen_one_sum_to_one(train, before):
    known = set("".join(train)) | set(before)
    total = sum(
        slow_likelihood(train, before, len(before), letter, known) for letter in {*known, "?"}
    )
    assert total == pytest.approx(1)


def test_a_text_is_cheaper_after_its_like():
    assert bits_per_character([prose(3000, 1)], prose(300, 2)) < 1.5
    assert bits_per_character(["zq" * 500], prose(300, 2)) > 3


def test_stretches_are_the_whole_text_or_middles():
    text = prose(500, 1)
    assert "".join(sample_stretches(text)) == text
    long = prose(60_000, 1)
    stretches = sample_stretches(long)
    assert len(stretches) == 10
    assert all(len(stretch) == 10_000 and stretch in long for stretch in stretches)


def test_an_even_text_has_no_difference_and_another_language_has():
    even = [prose(800, seed) for seed in range(10)]
    assert tail_difference(even) is None
    other = prose(800, 1, ["der", "Wind", "weht", "über", "Felder", "zwölf", "Jäger", "jauchzen"])
    found = tail_difference([*even[:9], other])
    assert found is not None
    assert found.tail_bits > found.rest_bits + 1
    assert "will be worse" in found.line()
    assert tail_difference([*even[:9], other[:1000]]) is None, "too short to tell"
