"""A session without a terminal, and what it shows."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from chargen.api import Model
from chargen.model.checkpoint import save_model
from chargen.repl.app import handle
from chargen.repl.commands import Context
from chargen.repl.screen import Screen
from chargen.repl.session import Session
from chargen.terminal.context import Terminal
from tests.conftest import make_cycle_model


class Talk:
    """Types lines into a session and returns what it shows, errors included."""

    def __init__(self, model: Model, seed: int = 1) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        terminal = Terminal(out=self.out, err=self.err, environ={})
        self.session = Session(model, seed)
        self.context = Context(session=self.session, screen=Screen(terminal, interactive=False))

    def __call__(self, line: str, *, quoted: bool = False) -> str:
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        handle(self.context, line, quoted=quoted)
        lines = (self.out.getvalue() + self.err.getvalue()).split("\n")
        return "\n".join(line.rstrip() for line in lines).rstrip("\n")


@pytest.fixture
def talk() -> Talk:
    """A session with the model that writes the alphabet."""
    path = Path("cycle.safetensors")
    save_model(path, make_cycle_model())
    talk = Talk(Model(make_cycle_model(), path))
    talk("/set length 10")
    talk("/set temperature 0")
    return talk
