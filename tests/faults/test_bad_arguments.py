"""Arguments of a program: numbers of numpy are numbers, and what is none is one plain error."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import chargen
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


TINY = {"steps": 2, "hidden_size": 16, "batch_size": 2, "bptt": 8, "threads": 1}


@pytest.fixture
def text() -> str:
    Path("t.txt").write_text("the sea and a boat of old men\n" * 80)
    return "t.txt"


def test_a_training_takes_numbers_of_numpy_and_paths(text):
    list(chargen.train(text, run="a", seed=1, learning_rate=0.01, **TINY))
    numbers = {name: np.int64(value) for name, value in TINY.items()}
    numbers |= {"seed": np.int32(1), "learning_rate": np.float64(0.01)}
    list(chargen.train(text, run=Path("b"), valid_fraction=np.float64(0.1), **numbers))
    first, second = (Path("checkpoints", run, "model.safetensors").read_bytes() for run in "ab")
    assert first == second


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corpus": 3}, "corpus 3: give the name of a file"),
        ({"corpus": [3]}, "corpus 3: is not the name of a file"),
        ({"tokenizer": 1}, "tokenizer 1: must be a text"),
        ({"documents": 1}, "documents 1: must be a text"),
        ({"valid_fraction": "0.1"}, "valid-fraction '0.1': must be a number"),
        ({"valid_fraction": True}, "valid-fraction True: must be a number"),
        ({"chat": "yes"}, "chat 'yes': must be true or false"),
        ({"clean": 3}, "clean 3: must be a list of texts"),
        ({"valid": 3}, "valid 3: must be a text"),
        ({"epochs": "1", "steps": None}, "epochs '1': must be a number"),
        ({"vocab_size": 2.5}, "vocab-size 2.5: must be a whole number"),
    ],
)
def test_a_value_of_a_wrong_type_is_a_usage_error(text, settings, message):
    settings = dict(settings)
    corpus = settings.pop("corpus", text)
    with pytest.raises(UsageError, match=re.escape(message)):
        list(chargen.train(corpus, run="a", **{**TINY, **settings}))
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize("setting", ["float64", "meta", "no_grad", "inference"])
def test_the_settings_of_the_host_do_not_reach_a_training(text, setting):
    import contextlib

    import torch

    list(chargen.train(text, run="a", **TINY))
    contexts = {"no_grad": torch.no_grad, "inference": torch.inference_mode}
    with contexts.get(setting, contextlib.nullcontext)():
        if setting == "float64":
            torch.set_default_dtype(torch.float64)
        if setting == "meta":
            torch.set_default_device("meta")
        try:
            list(chargen.train(text, run="b", **TINY))
            model = chargen.load("b")
            assert model.score("the sea and a boat", "torch").nats_per_token == pytest.approx(
                model.score("the sea and a boat").nats_per_token, rel=1e-3
            )
            assert model.score("the sea and a boat " * 20, "online").nats_per_token > 0
            assert torch.is_grad_enabled() == (setting not in contexts)
            assert torch.get_default_dtype() == (
                torch.float64 if setting == "float64" else torch.float32
            )
            assert torch.get_default_device().type == ("meta" if setting == "meta" else "cpu")
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_default_device(None)
    first, second = (Path("checkpoints", run, "model.safetensors").read_bytes() for run in "ab")
    assert first == second


def test_a_finished_run_without_its_model_can_write_it_again(text):
    from chargen.cli.main import run
    from chargen.errors import ModelFileError

    list(chargen.train(text, run="a", **TINY))
    Path("checkpoints/a/model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"is gone; .*chargen resume \S+ --steps 100"):
        chargen.load("a")
    assert run(["resume", "checkpoints/a", "--steps", "100", "--quiet"]) == 0
    assert chargen.load("a")
    Path("empty").mkdir()
    with pytest.raises(ModelFileError, match="a folder without a run"):
        chargen.load("empty")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"should_stop": None}, "should_stop None: must be a function"),
        ({"on_note": 3}, "on_note 3: must be a function"),
        ({"on_reading": "x"}, "on_reading 'x': must be a function"),
        ({"run": 5}, "run 5: must be a text or a path"),
        ({"out": b"x"}, "out b'x': must be a text or a path"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named_before_anything_is_made(given, told):
    Path("text.txt").write_text("abc " * 100, encoding="utf-8")
    for begin in (
        partial(chargen.train, "text.txt"),
        partial(chargen.finetune, "tiny", "text.txt"),
        partial(chargen.distil, "tiny"),
        *([partial(chargen.resume)] if "out" not in given else []),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            begin(**given)
    assert not Path("checkpoints").exists()
