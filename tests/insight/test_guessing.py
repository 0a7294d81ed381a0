"""Shannon's game: his bounds, and the model's guesses, by slow independent computations."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.inference.engine import Stepper
from chargen.insight.guessing import choose_passage, entropy_bounds, first_characters
from chargen.model.config import ModelConfig
from chargen.text.subword import SubwordBuilder
from chargen.text.tokenizer import ByteTokenizer
from tests.conftest import CELLS, make_model


def slow_bounds(guesses: list[int]) -> tuple[float, float]:
    """Equation 17 of the paper, term by term, with exact shares."""
    times = Counter(guesses)
    share = {i: Fraction(times[i], len(guesses)) for i in range(1, max(guesses) + 2)}
    upper = -sum(float(q) * math.log2(q) for q in share.values() if q)
    lower = sum(float(i * (share[i] - share[i + 1])) * math.log2(i) for i in range(1, len(share)))
    return lower, upper


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_bounds_are_those_of_the_paper(guesses):
    bounds = entropy_bounds(guesses)
    assert (bounds.lower, bounds.upper) == pytest.approx(slow_bounds(guesses), abs=1e-9)
    assert bounds.lower >= -1e-9
    assert bounds.upper >= 0


def test_bounds_that_are_known():
    assert entropy_bounds([1] * 9) == entropy_bounds([1])
    assert (entropy_bounds([1]).lower, entropy_bounds([1]).upper) == (0, 0)
    # Each of 8 guesses as often: all that is known is one of 8, and both bounds are 3 bits.
    even = entropy_bounds(list(range(1, 9)))
    assert (even.lower, even.upper) == pytest.approx((3, 3))
    half = entropy_bounds([1, 2])
    assert (half.lower, half.upper) == pytest.approx((1, 1))
    with pytest.raises(ValueError, match="no guesses"):
        entropy_bounds([])


@given(st.lists(st.integers(1, 500), min_size=1, max_size=27))
def test_a_good_guesser_has_bounds_in_order(times):
    times.sort(reverse=True)
    guesses = [i for i, count in enumerate(times, 1) for _ in range(count)]
    bounds = entropy_bounds(guesses)
    assert bounds.lower <= bounds.upper + 1e-9


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("documents", [True, False])
def test_guesses_and_bits_are_those_of_the_whole_text_read_at_once(cell, documents):
    model = make_model(cell, 2, documents=documents)
    stepper, tokenizer = Stepper(model.config, model.weights), model.build_tokenizer()
    text = "abc hgf\nbad cafe " * 5
    passage = choose_passage(stepper, tokenizer, text, 20, 30)
    assert passage.text.startswith(text[:50])
    assert passage.characters == set("\n abcdefgh")
    assert [position.at for position in passage.positions] == list(range(20, 50))
    ids = tokenizer.encode(text)
    before = [tokenizer.eos_id] if documents else []
    logits, _ = stepper.logits_of(np.array([*before, *ids]), stepper.zero_state())
    for position in passage.positions:
        row = logits[position.at - 1 + len(before)].astype(np.float64)
        if documents:
            row = np.delete(row, tokenizer.eos_id)  # it is known that a character comes
        shares = np.exp(row) / np.exp(row).sum()
        share = shares[ids[position.at]]
        assert position.character == text[position.at]
        assert position.model_guess == 1 + (shares > share + 1e-9).sum()
        assert position.model_bits == pytest.approx(-math.log2(share), abs=1e-4)


def test_unseen_characters_are_shown_and_not_guessed():
    model = make_model()
    stepper, tokenizer = Stepper(model.config, model.weights), model.build_tokenizer()
    text = "abc é[ab]ßcd\u2019"
    passage = choose_passage(stepper, tokenizer, text, 3, 6)
    assert passage.text == text
    assert [passage.text[one.at] for one in passage.positions] == list(" abcd")
    assert "".join(one.character for one in passage.positions) == " abcd"
    assert choose_passage(stepper, tokenizer, "ab\u2019\u2019", 2, 6).positions == ()
    # The last characters of a text are few.
    assert len(choose_passage(stepper, tokenizer, "abab", 3, 6).positions) == 1


def test_the_first_character_of_a_text_needs_something_before_it():
    model = make_model()
    stepper, tokenizer = Stepper(model.config, model.weights), model.build_tokenizer()
    assert [one.at for one in choose_passage(stepper, tokenizer, "abc", 0, 3).positions] == [1, 2]


def test_a_model_of_bytes_guesses_characters_of_one_byte():
    tokenizer = ByteTokenizer(documents=True)
    config = ModelConfig(vocab_size=257, cell="gru", hidden_size=4, embedding_size=4)
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    heads = first_characters(tokenizer)
    assert heads == [*map(chr, range(128)), *[None] * 129]
    passage = choose_passage(Stepper(config, weights), tokenizer, "abéc\u20acd", 1, 9)
    assert passage.text == "abéc\u20acd"
    assert [(one.at, one.character) for one in passage.positions] == [(1, "b"), (3, "c"), (5, "d")]
    # A byte that is no character cannot come: 128 characters are alike.
    assert {one.model_bits for one in passage.positions} == {7.0}


def test_a_model_of_subwords_guesses_how_a_token_begins(prose):
    builder = SubwordBuilder(400)
    builder.feed(prose)
    tokenizer = builder.finish(documents=False)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, cell="gru", hidden_size=4, embedding_size=4
    )
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(0, 1, shape).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    stepper = Stepper(config, weights)
    text = prose[:600]
    passage = choose_passage(stepper, tokenizer, text, 100, 10)
    assert text.startswith(passage.text[:600])
    read = tokenizer.encode(text[:100]).tolist()
    after = tokenizer.encode(text[100:]).tolist()
    for position, token in zip(passage.positions, after, strict=False):
        logits, _ = stepper.logits_of(np.array(read), stepper.zero_state())
        sums: Counter[str] = Counter()
        for other in range(1, tokenizer.vocab_size):  # 0 is <unk>
            begun = tokenizer.token_bytes(other).decode("utf-8", "replace")[:1]
            if begun and begun != "\ufffd":
                sums[begun] += float(np.exp(np.float64(logits[-1][other])))
        head = tokenizer.token_bytes(token).decode()[0]
        assert position.character == head == passage.text[position.at]
        share = sums[head] / sums.total()
        assert position.model_bits == pytest.approx(-math.log2(share), abs=1e-3)
        read.append(token)
