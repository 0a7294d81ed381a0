"""Arguments of a program: numbers of numpy are numbers, and what is none is one plain error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chargen.api import Model
from chargen.errors import UsageError
from tests.conftest import make_model


@pytest.fixture
def model() -> Model:
    return Model(make_model(characters="\n abcdefghé"), Path("m.safetensors"))


def test_numbers_of_numpy_are_numbers(model):
    def text(**settings: object) -> str:
        return "".join(step.text for step in model.generate("abc", **settings))

    plain = text(length=4, top_k=3, temperature=0.5, top_p=0.5, seed=1)
    assert plain == text(
        length=np.int64(4),
        top_k=np.int32(3),
        temperature=np.float32(0.5),
        top_p=np.float64(0.5),
        seed=np.int64(1),
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": "5"}, "length '5': must be a whole number"),
        ({"length": 1.5}, "length 1.5: must be a whole number"),
        ({"length": True}, "length True: must be a whole number"),
        ({"temperature": None}, "temperature None: must be a number"),
        ({"length": 0}, "length 0: must be at least 1"),
        ({"temperature": float("nan")}, "temperature nan: must be at least 0"),
        ({"stop": [1]}, "stop 1: must be a text"),
        ({"stop": b"x"}, "stop b'x': must be a text"),
        ({"stop": None}, "stop None: must be a text"),
        ({"stop": ""}, "stop '': must be a text of at least one character"),
        ({"seed": "a"}, "seed 'a': must be a whole number"),
        ({"seed": 1.5}, "seed 1.5: must be a whole number"),
        ({"unknown": "foo"}, "unknown unknown 'foo'"),
        ({"unknown": None}, "unknown unknown 'None'"),
        ({"memory": 1}, "unknown memory '1'"),
    ],
)
def test_a_wrong_setting_is_a_usage_error(model, settings, message):
    with pytest.raises(UsageError, match=message):
        list(model.generate("abc", **settings))


@pytest.mark.parametrize("prompt", [None, 3, Path("a")])
def test_a_prompt_is_a_text(model, prompt):
    for call in (model.generate, model.encode, model.trace, model.score):
        with pytest.raises(UsageError, match=r"the text is a .*; give a str"):
            call(prompt)


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", None])
def test_a_count_is_a_whole_number(model, count):
    with pytest.raises(UsageError, match=r"count .*: must be a whole number, at least 1"):
        list(model.generate_batch("abc", count))


@pytest.mark.parametrize(
    "ids", [np.array([-1, 2]), [1.7, 2.2], [1, 99], np.zeros((2, 2), int), "12", [[1], [2]]]
)
def test_ids_are_those_of_the_model(model, ids):
    with pytest.raises(UsageError, match="ids must be whole numbers below"):
        model.score_tokens(ids)


@pytest.mark.parametrize("way", ["x", None])
def test_ways_to_score_are_all_listed(model, way):
    with pytest.raises(UsageError, match="there are: auto, numpy, online, torch"):
        model.score("abc", way)
