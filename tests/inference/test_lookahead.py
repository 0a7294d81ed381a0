"""The likeliest words, against all that there are."""

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
    found = {}
    letters = "ab"
    end = int(tokenizer.encode(" ")[0])
    for length in range(1, longest + 1):
        for word in itertools.product(letters, repeat=length):
            total, at = 0.0, node
            for token in [*map(int, tokenizer.encode("".join(word))), end]:
                total += float(log_softmax(composer.logits(at))[token])
                at = composer.read(at, [token])
            found["".join(word)] = math.exp(total)
    return found


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_they_are_the_likeliest_of_all_words(cell):
    file = make_model(cell, 1, characters=" ab", seed=3)
    composer = composer_of(file)
    node = composer.read(ROOT, map(int, composer.tokenizer.encode("ab ")))
    truth = sorted(every_word(composer, node, 6).items(), key=lambda one: -one[1])
    found = [one for one in likeliest_words(composer, node, 12) if not one[0].startswith(" ")]
    assert len(found) >= 4
    expected = [one for one in truth if one[1] >= found[-1][1] * 0.999]
    assert [word for word, _ in found] == [word for word, _ in expected][: len(found)]
    for (_, chance), (_, known) in zip(found, expected, strict=False):
        assert chance == pytest.approx(known, rel=1e-4)


def test_a_word_includes_what_comes_before_it():
    composer = composer_of(make_cycle_model(sharpness=40))
    node = composer.read(ROOT, map(int, composer.tokenizer.encode("z\n")))
    word, chance = next(likeliest_words(composer, node, 1))
    assert word == " abcdefghijklmnopqrstuvwxyz"
    assert 0 < chance < 1


def test_nothing_is_added_to_the_text():
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
    assert np.all(np.diff([chance for _, chance in words]) <= 1e-9)
