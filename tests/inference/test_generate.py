"""Streams of steps: seeds, stops, batches, prompts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.inference.engine import Stepper, log_softmax
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import beginning, generate, generate_batch
from chargen.inference.writer import StopMatcher
from chargen.model.config import ModelConfig
from chargen.text.char import CharTokenizer
from chargen.text.tokenizer import ByteTokenizer
from tests.conftest import CELLS, make_model


@pytest.fixture(params=CELLS)
def parts(request):
    model = make_model(request.param, 2)
    return Stepper(model.config, model.weights), model.build_tokenizer()


def text_of(steps) -> str:
    return "".join(step.text for step in steps)


def writer_of(order: str) -> tuple[Stepper, CharTokenizer]:
    """A model that writes `order` in a circle: each character predicts the next with certainty."""
    tokenizer = CharTokenizer("".join(sorted(set(order))))
    size = tokenizer.vocab_size
    config = ModelConfig(
        vocab_size=size, cell="rnn", hidden_size=size, num_layers=1, embedding_size=size
    )
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    weights["embedding.weight"] = np.eye(size, dtype=np.float32) * 9
    weights["layers.0.weight_ih"] = np.eye(size, dtype=np.float32)
    for character, following in zip(order, order[1:] + order[0], strict=True):
        weights["head.weight"][tokenizer.encode(following)[0], tokenizer.encode(character)[0]] = 90
    return Stepper(config, weights), tokenizer


def test_the_same_seed_writes_the_same_text(parts):
    stepper, tokenizer = parts
    prompt = tokenizer.encode("abc")
    texts = [
        text_of(generate(stepper, tokenizer, prompt, SampleConfig(length=80, seed=seed)))
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 80


def test_steps_have_the_log_probability_entropy_and_rank_of_the_model(parts):
    stepper, tokenizer = parts
    prompt = tokenizer.encode("abc")
    steps = list(generate(stepper, tokenizer, prompt, SampleConfig(length=30, temperature=2)))
    ids = np.concatenate([prompt, [step.token_id for step in steps]])
    logits, state = stepper.logits_of(ids, stepper.zero_state())
    logprobs = log_softmax(logits)
    for number, step in enumerate(steps):
        row = logprobs[len(prompt) - 1 + number].astype(np.float64)
        assert step.logprob == pytest.approx(row[step.token_id], abs=1e-4)
        assert step.entropy == pytest.approx(-(np.exp(row) * row).sum(), abs=1e-4)
        assert step.rank == (row > row[step.token_id] + 1e-6).sum()
    assert np.allclose(steps[-1].state, state, atol=1e-4)
    assert [step.finish for step in steps] == [None] * 29 + ["length"]


def test_greedy_takes_the_likeliest(parts):
    stepper, tokenizer = parts
    steps = generate(
        stepper, tokenizer, tokenizer.encode("a"), SampleConfig(length=50, temperature=0)
    )
    assert all(step.rank == 0 for step in steps)


@pytest.mark.parametrize("settings", [{}, {"top_k": 3}, {"repetition_penalty": 1.5, "min_p": 0.1}])
def test_a_text_does_not_depend_on_the_size_of_its_batch(parts, settings):
    stepper, tokenizer = parts
    prompt, config = tokenizer.encode("ab"), SampleConfig(length=40, seed=5, **settings)

    def texts(count):
        written = [""] * count
        for number, step in generate_batch(stepper, tokenizer, prompt, config, count):
            written[number] += step.text
        return written

    four = texts(4)
    assert texts(2) == four[:2]
    assert text_of(generate(stepper, tokenizer, prompt, config)) == four[0]
    assert len(set(four)) == 4


def test_a_state_continues_the_text_that_it_comes_from(parts):
    stepper, tokenizer = parts
    greedy = SampleConfig(length=20, temperature=0)
    steps = list(generate(stepper, tokenizer, tokenizer.encode("abc"), greedy))
    middle = steps[9]
    again = generate(
        stepper,
        tokenizer,
        np.array([steps[10].token_id]),
        SampleConfig(length=9, temperature=0),
        state=middle.state,
    )
    assert [step.token_id for step in again] == [step.token_id for step in steps[11:]]


def test_long_prompts_are_read_whole(parts):
    stepper, tokenizer = parts
    prompt = tokenizer.encode("abcdefgh\n" * 300)
    (step,) = generate(stepper, tokenizer, prompt, SampleConfig(length=1, temperature=0))
    logits, _ = stepper.logits_of(prompt, stepper.zero_state())
    assert step.token_id == logits[-1].argmax()


@pytest.mark.parametrize("stop", ["cd", "d", "abcabc", "cda"])
def test_stop_texts_split_over_tokens(stop):
    stepper, tokenizer = writer_of("abcd")
    config = SampleConfig(length=50, stop=(stop, "never"))
    steps = list(generate(stepper, tokenizer, tokenizer.encode("d"), config))
    circle = "abcd" * 20
    assert text_of(steps) == (circle[: circle.find(stop)] if stop in circle else circle[:50])
    assert steps[-1].finish == ("stop" if stop in circle else "length")


@given(
    st.lists(st.binary(max_size=4), max_size=12),
    st.lists(st.binary(min_size=1, max_size=3), max_size=3),
)
def test_stop_matcher_cuts_before_the_first_stop(pieces, stops):
    matcher, written, stopped = StopMatcher(stops), b"", False
    for piece in pieces:
        certain, stopped = matcher.feed(piece)
        written += certain
        if stopped:
            break
    else:
        written += matcher.flush()
    text = b"".join(pieces)
    starts = [text.find(stop) for stop in stops if stop in text]
    if not starts:
        assert written == text
        assert not stopped
    else:
        # A stop is found when it is complete: maybe before a longer stop that starts earlier.
        assert stopped
        assert text.startswith(written)
        assert any(text[len(written) :].startswith(stop) for stop in stops)
        assert not any(stop in written for stop in stops)


def test_characters_split_over_byte_tokens_are_never_broken():
    tokenizer = ByteTokenizer()
    data = "né😀".encode()
    config = ModelConfig(
        vocab_size=256, cell="rnn", hidden_size=len(data), embedding_size=len(data)
    )
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    for unit, byte in enumerate(data):
        weights["embedding.weight"][byte, unit] = 9
        weights["head.weight"][data[(unit + 1) % len(data)], unit] = 90
    weights["layers.0.weight_ih"] = np.eye(len(data), dtype=np.float32)
    stepper = Stepper(config, weights)
    prompt = tokenizer.encode(data[-1:])
    config = SampleConfig(length=len(data) * 3 - 2, raw_bytes=True)
    steps = list(generate(stepper, tokenizer, prompt, config))
    assert [step.text for step in steps[:7]] == ["n", "", "é", "", "", "", "😀"]
    assert text_of(steps) == "né😀né😀né\ufffd"
    assert b"".join(step.data for step in steps) == (data * 3)[:-2]


def test_the_end_of_a_document_ends_the_text():
    model = make_model(documents=True)
    tokenizer = model.build_tokenizer()
    model.weights["head.bias"][:] = -50
    model.weights["head.bias"][tokenizer.eos_id] = 50
    stepper = Stepper(model.config, model.weights)
    prompt = tokenizer.encode("ab")
    assert beginning(prompt, tokenizer).tolist() == [tokenizer.eos_id, *prompt.tolist()]
    (step,) = generate(stepper, tokenizer, tokenizer.encode(""), SampleConfig(length=9))
    assert (step.finish, step.text) == ("end", "")
    going_on = SampleConfig(length=9, stop_at_end=False)
    assert len(list(generate(stepper, tokenizer, tokenizer.encode(""), going_on))) == 9


def test_the_unknown_piece_is_never_written(prose):
    from chargen.text.subword import SubwordBuilder

    builder = SubwordBuilder(330)
    builder.feed(prose)
    tokenizer = builder.finish(documents=False)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, cell="gru", hidden_size=4, embedding_size=4
    )
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    weights["head.bias"][0] = 50
    stepper = Stepper(config, weights)
    steps = list(generate(stepper, tokenizer, tokenizer.encode("a"), SampleConfig(length=40)))
    assert 0 not in {step.token_id for step in steps}
    assert all(math.isfinite(step.logprob) and math.isfinite(step.entropy) for step in steps)


def test_top_k_beyond_the_vocabulary_keeps_all(parts):
    stepper, tokenizer = parts
    texts = [
        text_of(generate(stepper, tokenizer, tokenizer.encode("a"), SampleConfig(top_k=top_k)))
        for top_k in (0, 11)
    ]
    assert texts[0] == texts[1]


def test_texts_without_a_prompt_begin_like_a_line():
    with_lines, without = CharTokenizer("\nab"), CharTokenizer("ab")
    empty = with_lines.encode("")
    assert beginning(empty, with_lines).tolist() == [0]
    assert with_lines.decode(beginning(empty, with_lines)) == "\n"
    assert beginning(empty, without).tolist() == [0]
    assert beginning(without.encode("b"), without).tolist() == [1]
