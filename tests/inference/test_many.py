"""Texts after many prompts: each as if it were alone, in order, and never many in memory."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen.api import Model
from chargen.errors import ChargenError, UsageError
from chargen.inference import generate, many
from chargen.inference.count_memory import count
from chargen.inference.memory_file import Memory
from chargen.inference.mixer import usual_gate
from tests.conftest import CELLS, make_model
from tests.inference.test_generate import writer_of

PROMPTS = ("abc", "", "h", "a head\nfed a cage", "gggg", "abc", "ba" * 40)


@pytest.fixture(params=CELLS)
def model(request):
    return Model(make_model(request.param, 2))


@pytest.fixture
def three_rows(monkeypatch):
    monkeypatch.setattr(generate, "TEXTS_PER_BATCH", 3)


def alone(model, prompt, number, prompt_number, **settings):
    """The text by the slow way: one prompt, one row, and a generator seeded by hand."""
    config = chargen.SampleConfig(**settings)
    seed = [config.seed, number, prompt_number] if prompt_number else [config.seed, number]
    writer = generate.Writer(model.tokenizer, config, 0)
    writer._random = np.random.default_rng(seed)
    ids = model.encode(prompt)
    logits, state = model.stepper.logits_of(
        generate.beginning(ids, model.tokenizer), model.stepper.zero_state()
    )
    logits, recent, text = logits[-1].copy(), generate.recent_tokens(ids), ""
    while not writer.done:
        drawn = writer.write(logits, recent, state)
        recent.append(drawn.token_id)
        logits = model.stepper.step(drawn.token_id, state, state).copy()
        text += writer.accept(drawn, state).text
    return text


@pytest.mark.parametrize(
    "settings", [{}, {"stop": ("c", "ge")}, {"repetition_penalty": 1.5, "top_k": 5}]
)
def test_each_text_is_that_of_its_prompt_alone(model, three_rows, settings):
    settings = {"length": 25, "seed": 7, **settings}
    texts = list(model.generate_many(PROMPTS, 2, **settings))
    assert [(text.prompt_number, text.number, text.prompt) for text in texts] == [
        (place, number, prompt) for place, prompt in enumerate(PROMPTS) for number in range(2)
    ]
    for text in texts:
        expected = alone(model, text.prompt, text.number, text.prompt_number, **settings)
        assert text.text == text.data.decode() == expected
    assert texts[0].text != texts[10].text  # the same prompt at two places


def test_the_first_prompt_is_written_after_as_by_generate(model):
    (text,) = model.generate_many(["abc"], length=40, seed=5)
    steps = list(model.generate("abc", length=40, seed=5))
    assert text.text == "".join(step.text for step in steps)
    assert (text.tokens, text.finish) == (40, "length")
    assert text.logprob == pytest.approx(sum(step.logprob for step in steps), abs=1e-3)
    assert text.nats_per_token == -text.logprob / 40
    batch: dict[int, str] = {}
    for number, step in model.generate_batch("abc", 3, length=40, seed=5):
        batch[number] = batch.get(number, "") + step.text
    assert [t.text for t in model.generate_many(["abc"], 3, length=40, seed=5)] == [
        batch[number] for number in range(3)
    ]


@given(
    st.lists(st.text("abcdefgh \n", max_size=9), max_size=9),
    st.integers(1, 3),
    st.integers(0, 2**70),
)
def test_what_comes_after_a_prompt_changes_nothing(prompts, count, seed):
    model = Model(make_model("gru"))

    def texts(prompts, count):
        written = model.generate_many(prompts, count, length=6, seed=seed)
        return {(t.prompt_number, t.number): t.text for t in written}

    whole = texts(prompts, count)
    assert len(whole) == len(prompts) * count
    half = texts(prompts[: len(prompts) // 2], 1)
    assert half.items() <= whole.items()


def test_draws_of_different_texts_differ():
    """Each has a generator of its own, also where numpy fills a short seed with zeros."""
    tokenizer = make_model().build_tokenizer()
    config = chargen.SampleConfig(seed=3)
    draws = {
        generate.Writer(tokenizer, config, number, prompt_number=prompt)._uniform()
        for number in range(30)
        for prompt in range(30)
    }
    assert len(draws) == 900
    first = generate.Writer(tokenizer, config, 4)._uniform()
    assert first == np.random.default_rng([3, 4]).random()


def test_prompts_are_read_as_they_are_needed(three_rows):
    model, given_out, read = Model(make_model()), [0], [0]

    def prompts():
        for number in range(200):
            assert read[0] - given_out[0] <= 3
            read[0] += 1
            yield "abc"[: number % 4]

    for text in model.generate_many(prompts(), length=5, seed=1):
        assert text.prompt_number == given_out[0]
        given_out[0] += 1
    assert (read[0], given_out[0]) == (200, 200)


def test_behind_a_long_text_only_some_wait(monkeypatch):
    """The first text takes 60 tokens to its stop, all others take one."""
    monkeypatch.setattr(generate, "TEXTS_PER_BATCH", 4)
    monkeypatch.setattr(many, "MAX_TEXTS_IN_HAND", 10)
    order = "".join(map(chr, range(0x4E00, 0x4E00 + 61)))
    stepper, tokenizer = writer_of(order)
    read: list[int] = []
    alive: list[weakref.ref] = []
    make = many.Draft.__init__

    def counted(draft):
        make(draft)
        alive.append(weakref.ref(draft))

    monkeypatch.setattr(many.Draft, "__init__", counted)

    def prompts():
        for number in range(100):
            read.append(number)
            prompt = order[-2] if number else order[-1]
            yield prompt, tokenizer.encode(prompt)

    config = chargen.SampleConfig(length=90, temperature=0, stop=(order[-1],))
    texts = many.write_many(stepper, tokenizer, prompts(), config)
    first = next(texts)
    assert (first.text, first.tokens, first.finish) == (order[:-1], 61, "stop")
    assert len(read) == 10
    for number, text in enumerate(texts, 1):
        assert (text.prompt_number, text.tokens) == (number, 1)
        assert sum(draft() is not None for draft in alive) <= 11
    assert len(read) == 100


def test_a_text_is_given_out_before_the_next_prompt_is_asked_for(three_rows):
    model, events = Model(make_model()), []

    def prompts():
        for number in range(5):
            events.append(f"read {number}")
            yield "a"

    for text in model.generate_many(prompts(), length=3, seed=1):
        events.append(f"text {text.prompt_number}")
    assert events == [
        *(f"read {number}" for number in range(3)),
        *(f"text {number}" for number in range(3)),
        *("read 3", "read 4", "text 3", "text 4"),
    ]


@pytest.fixture
def remembering():
    """A model with counts of a text, which change what it writes."""
    model = Model(make_model(characters="\n abcdefgh"))
    ids = model.encode("a bad cafe had a deaf head\nfed a bag\n" * 9)
    model._memory = Memory(
        counts=count(ids, model.vocab_size),
        static=usual_gate(grows=False),
        growing=usual_gate(grows=True),
    )
    model._memory_read = True
    return model


@pytest.mark.parametrize("mode", ["off", "text", "session"])
def test_each_row_has_a_memory_of_its_own(mode, three_rows, remembering):
    texts = list(remembering.generate_many(PROMPTS, length=30, seed=2, memory=mode))
    for text in texts:
        only = ["c"] * text.prompt_number + [text.prompt]
        *_, again = remembering.generate_many(only, length=30, seed=2, memory=mode)
        assert again.text == text.text
    first = remembering.generate(PROMPTS[0], length=30, seed=2, memory=mode)
    assert "".join(step.text for step in first) == texts[0].text


def test_an_error_among_the_prompts_comes_after_the_texts_before_it(three_rows):
    model = Model(make_model())

    def prompts():
        yield from ["a", "b", "c", "d"]
        raise OSError("the disk is gone")

    texts = []
    with pytest.raises(OSError, match="the disk is gone"):
        texts.extend(model.generate_many(prompts(), length=9, seed=1))
    assert [(text.prompt, text.finish) for text in texts] == [(one, "length") for one in "abcd"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ChargenError])
def test_an_interruption_loses_no_text(three_rows, monkeypatch, error):
    model, texts = Model(make_model()), []
    write, calls = generate.Writer.write, []

    def interrupted(self, logits, recent, state):
        calls.append(self)
        if len(calls) == 12:
            raise error
        return write(self, logits, recent, state)

    monkeypatch.setattr(generate.Writer, "write", interrupted)
    with pytest.raises(error):
        texts.extend(model.generate_many(["a", "b", "c", "d"], length=9, seed=1))
    assert [(text.tokens, text.finish) for text in texts] == [(4, None), (4, None), (3, None)]


@pytest.mark.parametrize("prompts", ["abc", b"abc", None, 3])
def test_prompts_are_several(prompts):
    with pytest.raises(UsageError, match=r"prompts is a .*; give a list of texts"):
        Model(make_model()).generate_many(prompts)


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", None])
def test_a_count_is_a_whole_number(count):
    with pytest.raises(UsageError, match=r"count .*: must be a whole number, at least 1"):
        Model(make_model()).generate_many(["abc"], count)


def test_a_prompt_is_a_text():
    texts = Model(make_model()).generate_many(["abc", 3], length=2)
    assert next(texts).prompt == "abc"
    with pytest.raises(UsageError, match="the text is a int; give a str"):
        next(texts)
    assert list(Model(make_model()).generate_many([])) == []
