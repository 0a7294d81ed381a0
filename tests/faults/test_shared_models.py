"""A model that is used twice at once, copied or sent to another process writes as if alone."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from chargen.api import Model
from tests.conftest import CELLS, make_model

PROMPTS = ("abc", "gh\nfe", "dddd", "")


@pytest.fixture(params=CELLS)
def model(request) -> Model:
    return Model(make_model(request.param, layers=2, groups=2, hidden_size=12))


def write(model, prompt, length=60, seed=3) -> list:
    steps = model.generate(prompt, length=length, seed=seed, temperature=1.3)
    return [(step.token_id, step.logprob) for step in steps]


def alone(model, prompt) -> list:
    return write(Model(model.file), prompt)


@pytest.mark.parametrize(
    "other",
    [
        copy.copy,
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: copy.deepcopy({"model": model})["model"],
    ],
    ids=["copy", "deepcopy", "pickle", "nested"],
)
def test_a_copy_writes_and_scores_as_the_model(model, other):
    twin = other(model)
    for prompt in PROMPTS:
        assert write(twin, prompt) == write(model, prompt) == alone(model, prompt)
    text = "abcdefgh\n" * 9
    assert np.array_equal(twin.trace(text).gates, model.trace(text).gates)
    assert twin.score(text) == model.score(text)
    copied = copy.deepcopy(model.stepper)
    state, again = model.stepper.zero_state(), copied.zero_state()
    for token in (1, 2, 3):
        assert np.array_equal(
            model.stepper.step(token, state, state).copy(), copied.step(token, again, again)
        )


def test_texts_that_are_written_in_turn_are_each_as_if_alone(model):
    pairs = zip(
        *(model.generate(p, length=60, seed=3, temperature=1.3) for p in PROMPTS), strict=True
    )
    columns = list(zip(*pairs, strict=True))
    for prompt, column in zip(PROMPTS, columns, strict=True):
        assert [(step.token_id, step.logprob) for step in column] == alone(model, prompt)


def test_whatever_is_asked_while_a_text_is_written_leaves_it_as_it_is(model):
    expected = alone(model, "abc")
    trace, score = Model(model.file).trace("feed"), Model(model.file).score("abcdefgh" * 9)
    written = []
    for step in model.generate("abc", length=60, seed=3, temperature=1.3):
        written.append((step.token_id, step.logprob))
        assert np.array_equal(model.trace("feed").states, trace.states)
        if len(written) % 20 == 0:
            assert model.score("abcdefgh" * 9) == score
            list(model.generate_batch("a", 3, length=2, seed=0))
    assert written == expected


def test_threads_do_not_share_buffers(model):
    prompts = PROMPTS * 3
    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(lambda prompt: write(model, prompt, length=200), prompts))
        traces = list(pool.map(lambda prompt: model.trace(prompt * 30).logprobs, ["ab", "cd"] * 4))
    expected = [write(Model(model.file), prompt, length=200) for prompt in PROMPTS] * 3
    assert written == expected
    for number, trace in enumerate(traces):
        assert np.array_equal(
            trace, Model(model.file).trace(["ab", "cd"][number % 2] * 30).logprobs
        )


def _write_in_child(model, prompt, results):
    results.put(write(model, prompt))


def test_a_spawned_process_gets_the_same_model():
    model = Model(make_model("gru", layers=2))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_write_in_child, args=(model, "abc", results))
    process.start()
    assert results.get() == write(model, "abc")
    process.join()
