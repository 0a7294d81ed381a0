"""The most likely words, compared with a search of all words up to a length."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from chargen.inference.composer import Composer
from chargen.inference.engine import Stepper, log_softmax
from chargen.inference.lookahead import likeliest_words
from chargen.inference.tree import ROOT, TextTree
from tests.conftest import make_cycle_model, make_model


def composer_of(file) -> Composer:
    stepper = Stepper(file.config, file.weights)
    return Composer(stepper, file.build_tokenizer(), TextTree(stepper))


def every_word(composer: Composer, node: int, longest: int) -> dict[str, float]:
    """All words of letters up to a length that end with a space, by their probability."""
    tokenizer = composer.tokenizer
    probabilities = {}
    letters = "ab"
    space = int(tokenizer.encode(" ")[0])
    for length in range(1, longest + 1):
        for word in itertools.product(letters, repeat=length):
            total, end = 0.0, node
            for token in [*map(int, tokenizer.encode("".join(word))), space]:
                total += float(log_softmax(composer.logits(end))[token])
                end = composer.read(end, [token])
            probabilities["".join(word)] = math.exp(total)
    return probabilities


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_words_found_are_the_most_likely_of_all_words(cell):
    file = make_model(cell, 1, characters=" ab", seed=3)
    composer = composer_of(file)
    node = composer.read(ROOT, map(int, composer.tokenizer.encode("ab ")))
    truth = sorted(every_word(composer, node, 6).items(), key=lambda row: -row[1])
    words = [row for row in likeliest_words(composer, node, 12) if not row[0].startswith(" ")]
    assert len(words) >= 4
    expected = [row for row in truth if row[1] >= words[-1][1] * 0.999]
    assert [word for word, _ in words] == [word for word, _ in expected][: len(words)]
    for (_, probability), (_, true) in zip(words, expected, strict=False):
        assert probability == pytest.approx(true, rel=1e-4)


def test_a_word_includes_the_space_before_it():
    composer = composer_of(make_cycle_model(sharpness=40))
    node = composer.read(ROOT, map(int, composer.tokenizer.encode("z\n")))
    word, probability = next(likeliest_words(composer, node, 1))
    assert word == " abcdefghijklmnopqrstuvwxyz"
    assert 0 < probability < 1


def test_looking_ahead_adds_nothing_to_the_text():
    composer = composer_of(make_model())
    node = composer.read(ROOT, [3, 4])
    size = len(composer.tree)
    list(likeliest_words(composer, node, 5))
    assert len(composer.tree) == size


def test_characters_of_scripts_without_spaces_are_words():
    file = make_model(characters="\n " + "".join(sorted("中国人文")))
    composer = composer_of(file)
    words = list(likeliest_words(composer, composer.read(ROOT, [2]), 6))
    assert words
    assert all(len(word.strip()) <= 1 for word, _ in words)
    assert np.all(np.diff([probability for _, probability in words]) <= 1e-9)
