"""Words kept out, made likelier, and brought in."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.errors import ChargenError, UsageError
from chargen.inference.engine import Stepper
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate, generate_batch
from chargen.model.config import ModelConfig
from chargen.steering.phrases import START, Phrases, holds
from chargen.text.char import CharTokenizer
from tests.steering.conftest import LETTERS, stepper_for

ABC = CharTokenizer(" AaBb.")


def written(stepper, tokenizer, prompt="", **settings) -> str:
    steps = generate(stepper, tokenizer, tokenizer.encode(prompt), SampleConfig(**settings))
    return "".join(step.text for step in steps)


def is_word_in(word: str, text: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE))


@given(
    st.lists(st.text("ab .", min_size=1, max_size=4), min_size=1, max_size=3),
    st.text("aAbB .", max_size=20),
)
def test_phrases_are_found_as_a_regular_expression_finds_them(words, text):
    words = [word.strip() for word in words if word.strip()]
    if not words:
        return
    phrases = Phrases(words, ABC)
    place, found = phrases.after(START, text.casefold())
    found = found | place.whole
    for number, word in enumerate(words):
        before = r"(?<!\w)" if word[0].isalnum() else ""
        after = r"(?!\w)" if word[-1].isalnum() else ""
        expected = bool(re.search(before + re.escape(word) + after, text, re.IGNORECASE))
        assert (number in found) == expected
        assert holds(text, word) == expected


@pytest.mark.parametrize("temperature", [0, 0.7, 2.0])
def test_a_banned_word_never_comes(tokenizer, temperature):
    words = ("a", "of", "gold", "天地", "日")
    words = tuple(word for word in words if not tokenizer.unseen(word))
    stepper = stepper_for(tokenizer, seed=3)
    for seed in range(10):
        config = {"length": 60, "seed": seed, "temperature": temperature, "stop_at_end": False}
        text = written(stepper, tokenizer, ban=words, **config)
        for word in words:
            assert not (word in text if word > "\u4e00" else is_word_in(word, text)), text


def test_a_word_that_the_prompt_begins_is_not_completed():
    tokenizer = CharTokenizer(" dglo")
    for seed in range(20):
        stepper = stepper_for(tokenizer)
        text = "gol" + written(stepper, tokenizer, "gol", ban=("gold",), length=3, seed=seed)
        assert not is_word_in("gold", text)


def chain_model(probabilities: dict[str, dict[str, float]]) -> tuple[Stepper, CharTokenizer]:
    """A model whose next character depends on the last one alone, as these tables say."""
    tokenizer = CharTokenizer("".join(sorted(probabilities)))
    size = tokenizer.vocab_size
    config = ModelConfig(
        vocab_size=size, cell="rnn-relu", hidden_size=size, num_layers=1, embedding_size=size
    )
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    weights["embedding.weight"] = np.eye(size, dtype=np.float32)
    weights["layers.0.weight_ih"] = np.eye(size, dtype=np.float32)
    for before, following in probabilities.items():
        column = np.full(size, -50.0)
        for character, probability in following.items():
            column[tokenizer.encode(character)[0]] = np.log(probability)
        weights["head.weight"][:, tokenizer.encode(before)[0]] = column
    return Stepper(config, weights), tokenizer


def test_letters_before_a_banned_word_are_drawn_as_if_the_word_had_been_rejected():
    """The distribution given that the word does not come, by Bayes, from the chain itself."""
    stepper, tokenizer = chain_model(
        {
            " ": {"a": 0.6, "b": 0.4},
            "a": {"b": 0.5, "c": 0.5},
            "b": {" ": 0.9, "c": 0.1},
            "c": {" ": 1.0},
        }
    )
    # After a blank: "ab " has probability 0.6 * 0.5 * 0.9 = 0.27 and is banned.
    expected = {"a": (0.6 - 0.27) / (1 - 0.27), "b": 0.4 / (1 - 0.27)}
    texts = [""] * 4000
    config = SampleConfig(length=1, temperature=1.0, seed=5, ban=("ab",))
    prompt = tokenizer.encode(" ")
    for number, step in generate_batch(stepper, tokenizer, prompt, config, len(texts)):
        texts[number] += step.text
    share = sum(text == "a" for text in texts) / len(texts)
    deviation = (expected["a"] * expected["b"] / len(texts)) ** 0.5
    assert abs(share - expected["a"]) < 4 * deviation
    assert abs(share - 0.6) > 4 * deviation


def test_a_bias_makes_a_word_come_more_or_less_often():
    even = dict.fromkeys(" aes", 0.25)
    stepper, tokenizer = chain_model(dict.fromkeys(" aes", even))

    def count(**settings):
        text = written(stepper, tokenizer, length=3000, temperature=1.0, seed=2, **settings)
        return len(re.findall(r"(?<!\w)sea(?!\w)", text))

    plain = count()
    assert count(bias={"sea": 6}) > 2 * plain > 4 * count(bias=(("sea", -6),))
    assert count(bias={"sea": 0}) == plain


@pytest.mark.parametrize("seed", range(5))
def test_words_that_must_come_come_before_the_end(tokenizer, seed):
    words = tuple(word for word in ("gold", "Sea", "天地") if not tokenizer.unseen(word))
    stepper = stepper_for(tokenizer, seed=seed)
    text = written(stepper, tokenizer, must=words, length=60, seed=seed)
    for word in words:
        assert holds(text, word), text


def test_a_text_too_short_for_its_words_and_letters_never_seen_are_refused():
    tokenizer = CharTokenizer(LETTERS)
    for settings in ({"must": ("gold",), "length": 5}, {"must": ("中",), "length": 50}):
        with pytest.raises(UsageError, match=r"write more|leave it out"):
            written(stepper_for(tokenizer), tokenizer, **settings)


def test_settings_are_checked_and_contradictions_named():
    for settings, told in [
        ({"ban": ("",)}, "ban"),
        ({"must": ("a", 3)}, "must"),
        ({"bias": {"a": 1e9}}, "bias"),
        ({"ban": ("Sea",), "must": ("sea",)}, "'sea' is in ban and in must"),
        ({"acrostic": "AB", "lines": 3}, "different numbers of lines"),
        ({"match": "a", "lines": 3}, "cannot both be asked for"),
        ({"finish": "verse"}, "one of sentence, line, paragraph, document"),
        ({"line_length": (9, 3)}, "line-length"),
        ({"max_copy": 5}, "at least 31"),
        ({"syllables": (5, 0)}, "syllables"),
        ({"rhyme": "A1"}, "rhyme"),
    ]:
        with pytest.raises(UsageError, match=re.escape(told)):
            SampleConfig(**settings)


def test_a_ban_that_leaves_nothing_is_one_error():
    tokenizer = CharTokenizer("天地")
    with pytest.raises(ChargenError, match="ask for less"):
        written(stepper_for(tokenizer), tokenizer, ban=("天", "地"), length=4)
