"""The command line, called without a new process."""

from __future__ import annotations

import pytest

from chargen.cli.main import run


@pytest.fixture
def cli(capfdbinary):
    """A function that runs a command: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return int(code), out.decode("utf-8", "replace"), err.decode()

    return call
