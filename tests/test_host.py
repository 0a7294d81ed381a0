"""Whoever imports chargen keeps what is theirs: random numbers, threads, warnings, environment."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import chargen
from chargen.training import trainer
from chargen.training.device import TorchSettings

SETTINGS = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "dropout": 0.3, "seed": 5, "steps": 12}


def host() -> dict[str, object]:
    """What a library must not change in its host."""
    subnormal = torch.full((4,), 1e-40)
    loggers = logging.root.manager.loggerDict
    return {
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": str(np.random.get_state()),
        "python generator": random.getstate(),
        "threads": torch.get_num_threads(),
        "subnormal numbers": bool((subnormal * 1.0).sum() > 0),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "default type": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "logging": (logging.root.level, logging.root.manager.disable, list(logging.root.handlers)),
        "levels": {
            name: logger.level
            for name, logger in loggers.items()
            if isinstance(logger, logging.Logger) and logger.level
        },
        "folder": os.getcwd(),
        "hook": sys.excepthook,
    }


@pytest.fixture
def text(prose) -> str:
    Path("text.txt").write_text(prose[:6_000], encoding="utf-8")
    return "text.txt"


@pytest.fixture
def busy_host():
    """A host with settings of its own."""
    settings = TorchSettings()
    torch.set_num_threads(1)
    torch.manual_seed(99)
    yield
    settings.restore()


def test_importing_changes_nothing():
    code = (
        "import json, logging, os, random, sys, warnings\n"
        "def host(): return [dict(os.environ), repr(warnings.filters), logging.root.level,"
        " list(logging.root.manager.loggerDict), hash(random.getstate()), repr(sys.excepthook)]\n"
        "before = host(); import chargen; after = host()\n"
        "print(json.dumps([before == after, 'torch' in sys.modules]))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert json.loads(output) == [True, False]


def test_training_leaves_the_host_as_it_was(text, busy_host):
    before = host()
    for _event in chargen.train(text, run="a", threads=2, **SETTINGS):
        assert host() == before  # between two events, too
    assert host() == before
    list(chargen.resume("a", steps=3))
    list(chargen.finetune("a", text, run="b", steps=3))
    assert host() == before


def test_an_error_or_an_end_in_the_middle_leaves_it_too(text, busy_host, monkeypatch):
    before = host()
    events = chargen.train(text, run="a", **SETTINGS)
    next(events)
    events.close()
    assert host() == before

    def fail(*arguments, **options):
        torch.manual_seed(1)
        raise ValueError("a fault")

    monkeypatch.setattr(trainer, "take_step", fail)
    with pytest.raises(ValueError, match="a fault"):
        list(chargen.train(text, run="b", **SETTINGS))
    assert host() == before


def test_learning_while_reading_leaves_it_too(text, busy_host):
    list(chargen.train(text, run="a", **SETTINGS))
    model = chargen.load("a")
    before = host()
    model.score("abc" * 50)
    list(model.generate("abc", length=5))
    from chargen.training.evaluate import OnlineLearner, nats_of_long_text

    ids = model.encode("abc" * 50)
    OnlineLearner(model.config, model.file.weights).read(ids)
    nats_of_long_text(model.config, model.file.weights, ids)
    assert host() == before


def test_what_the_host_does_between_two_events_changes_no_weight(text):
    """It may draw numbers, train another model, or change threads."""

    def losses(events):
        return [event.loss for event in events if isinstance(event, chargen.StepDone)]

    alone = losses(chargen.train(text, run="alone", **SETTINGS))
    disturbed = []
    others = chargen.train(text, run="other", **{**SETTINGS, "seed": 6})
    for event in chargen.train(text, run="disturbed", **SETTINGS):
        torch.rand(3)
        torch.manual_seed(0)
        next(others, None)
        disturbed.append(event)
    assert losses(disturbed) == alone
    assert len(alone) == SETTINGS["steps"]


def test_trainings_in_several_threads_are_each_as_if_alone(text):
    def losses(run):
        events = chargen.train(text, run=run, **SETTINGS)
        return [event.loss for event in events if isinstance(event, chargen.StepDone)]

    alone = losses("alone")
    before = host()
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(losses, ["a", "b", "c"])) == [alone] * 3
    assert host() == before
