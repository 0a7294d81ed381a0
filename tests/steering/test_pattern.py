"""Patterns: what is written matches by `re`, nothing that could match is refused, no dead ends."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.errors import UsageError
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.steering.automaton import TokenAutomaton, any_text
from chargen.steering.pattern import Pattern
from chargen.text.char import CharTokenizer
from chargen.text.pieces import PieceTokenizer
from chargen.text.subword import SubwordBuilder
from chargen.text.tokenizer import ByteTokenizer
from tests.steering.conftest import CHINESE, LETTERS, stepper_for, tokenizers

SMALL = CharTokenizer("\n ab")
WORDS = PieceTokenizer("words", "[ab]+", "\n ab", ("ab", "ba", "aab", "a b"))


@st.composite
def expressions(draw, depth=3):
    """Regular expressions over a, b, blank and line end."""
    if depth == 0:
        return draw(st.sampled_from(["a", "b", " ", "[ab]", ".", r"\w", r"\s", "[^a]", r"\n"]))
    parts = st.deferred(lambda: expressions(depth - 1))
    kind = draw(st.sampled_from(["one", "two", "or", "repeat", "count"]))
    if kind == "one":
        return draw(parts)
    if kind == "two":
        return draw(parts) + draw(parts)
    if kind == "or":
        return f"(?:{draw(parts)}|{draw(parts)})"
    if kind == "repeat":
        return f"(?:{draw(parts)}){draw(st.sampled_from(['*', '+', '?', '*?']))}"
    low = draw(st.integers(0, 2))
    return f"(?:{draw(parts)}){{{low},{low + draw(st.integers(0, 2))}}}"


def follow(automaton, tokens):
    reached = automaton.start
    for token in tokens:
        reached = automaton.after(reached, token)
    return reached


@given(expressions(), st.sampled_from(["", "(?s)", "(?i)"]))
@settings(max_examples=120)
def test_exactly_the_texts_that_match_are_complete(expression, flags):
    """Compares with `re` for every text of up to four characters, and for its beginnings."""
    expression = flags + expression
    automaton = TokenAutomaton(Pattern(expression), SMALL)
    matches = {
        text
        for length in range(5)
        for text in map("".join, itertools.product("\n ab", repeat=length))
        if re.fullmatch(expression, text)
    }
    for text in map("".join, itertools.product("\n ab", repeat=3)):
        reached = follow(automaton, SMALL.encode(text))
        assert automaton.is_complete(reached) == (text in matches), text
        allowed = automaton.allowed(reached, 1)
        for character in "\n ab":
            token = SMALL.encode(character)[0]
            assert allowed[token] == (text + character in matches)


@given(expressions(), st.randoms(use_true_random=False), st.sampled_from([SMALL, WORDS]))
@settings(max_examples=120)
def test_a_text_that_keeps_to_the_allowed_tokens_matches_within_its_length(
    expression, random, tokenizer
):
    automaton = TokenAutomaton(Pattern(expression), tokenizer)
    if not automaton.start.states:
        return
    length = int(automaton.least(automaton.start)) + random.randrange(8)
    reached, written = automaton.start, []
    while not automaton.is_complete(reached) or (len(written) < length and random.random() < 0.7):
        allowed = np.flatnonzero(automaton.allowed(reached, length - len(written)))
        if not len(allowed):
            break
        written.append(int(random.choice(list(allowed))))
        reached = automaton.after(reached, written[-1])
    assert re.fullmatch(expression, tokenizer.decode(written))
    assert len(written) <= length


PATTERNS = {
    "characters": r"[A-Z][a-z]{2,8}(?: [a-z]+){3}[.!?]",
    "bytes": r"[A-Zéü中]\w{1,5} (?:gold|ümlaut|天地)",
    "documents": r"(?:[a-z]{1,4}\n){2}end",
    "words": r" ?the gold(?: sea| of [a-z]{3})+",
    "Chinese": r"[天地]{2}[^。]{3,6}。",
}


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_models_of_all_tokenizers_write_what_matches(name, temperature):
    tokenizer, pattern = tokenizers()[name], PATTERNS[name]
    stepper = stepper_for(tokenizer)
    for seed in range(8):
        config = SampleConfig(length=60, match=pattern, seed=seed, temperature=temperature)
        steps = list(generate(stepper, tokenizer, tokenizer.encode(""), config))
        assert re.fullmatch(pattern, "".join(step.text for step in steps))
        assert steps[-1].finish in ("form", "length")


def test_subwords_with_byte_pieces_match_too(prose):
    builder = SubwordBuilder(vocab_size=400)
    builder.feed(prose[:20_000])
    tokenizer = builder.finish(documents=True)
    stepper = stepper_for(tokenizer)
    pattern = r"[A-Z][a-z]+ \w{2,5}, 中é[.]"
    for seed in range(6):
        config = SampleConfig(length=80, match=pattern, seed=seed, temperature=1.3)
        steps = list(generate(stepper, tokenizer, tokenizer.encode(""), config))
        assert re.fullmatch(pattern, "".join(step.text for step in steps))


@pytest.mark.parametrize("documents", [False, True])
def test_bytes_are_always_characters_unless_raw_ones_are_asked_for(documents):
    tokenizer = ByteTokenizer(documents=documents)
    stepper = stepper_for(tokenizer)
    for seed in range(20):
        settings = {"length": 25, "seed": seed, "temperature": 3.0, "stop_at_end": False}
        steps = generate(stepper, tokenizer, tokenizer.encode("a"), SampleConfig(**settings))
        b"".join(step.data for step in steps).decode()
    raw = generate(
        stepper, tokenizer, tokenizer.encode("a"), SampleConfig(**settings, raw_bytes=True)
    )
    with pytest.raises(UnicodeDecodeError):
        b"".join(step.data for step in raw).decode()


@given(st.text(max_size=6))
@settings(max_examples=30)
def test_every_text_can_be_written_in_bytes(text):
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    automaton = any_text(ByteTokenizer())
    reached = automaton.start
    for number, byte in enumerate(data):
        assert automaton.allowed(reached, len(data) - number)[byte]
        reached = automaton.after(reached, byte)
    assert automaton.is_complete(reached)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("[", "not a regular expression"),
        ("(a)\\1", "back references"),
        ("(?<=a)b", "looking ahead or behind"),
        ("a(?!b)", "looking ahead or behind"),
        ("a\\bb", "anchors inside"),
        ("(?:.{900}){900}", "more than 50,000 states"),
        ("a++", "possessive"),
        ("(" * 3000 + ")" * 3000, "not a regular expression"),
    ],
)
def test_a_pattern_that_cannot_be_followed_is_refused_with_a_reason(pattern, told):
    with pytest.raises(UsageError, match=told) as error:
        Pattern(pattern)
    assert "\n" not in str(error.value)


def test_an_expression_whose_deterministic_automaton_is_huge_is_followed():
    pattern = "(?:a|b)*a(?:a|b){60}"
    config = SampleConfig(length=300, match=pattern, seed=1)
    steps = generate(stepper_for(SMALL), SMALL, SMALL.encode("a"), config)
    assert re.fullmatch(pattern, "".join(step.text for step in steps))


def test_what_the_vocabulary_cannot_write_is_refused_before_anything_is_written():
    tokenizer = CharTokenizer(LETTERS)
    config = SampleConfig(match="gold 中", length=40)
    with pytest.raises(UsageError, match="it never saw '中'"):
        generate(stepper_for(tokenizer), tokenizer, tokenizer.encode("a"), config)
    with pytest.raises(UsageError, match=r"needs at least 50 tokens"):
        generate(
            stepper_for(tokenizer), tokenizer, tokenizer.encode("a"),
            SampleConfig(match="a{50}", length=40),
        )  # fmt: skip


def test_anchors_at_both_ends_mean_nothing_new():
    assert TokenAutomaton(Pattern("^ab$"), SMALL).least(
        TokenAutomaton(Pattern("^ab$"), SMALL).start
    ) == 2  # fmt: skip


def test_a_character_of_several_bytes_counts_its_bytes():
    automaton = TokenAutomaton(Pattern("中{2}a"), ByteTokenizer())
    assert automaton.least(automaton.start) == 7
    assert TokenAutomaton(Pattern(CHINESE[1]), tokenizers()["Chinese"]).start.states
