"""README: its commands exist, its list of files is complete, its figures are those measured."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

import chargen
from chargen.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every line of a code block that runs chargen, without pipes, comments and output."""
    found = []
    for block in re.findall(r"```(?:console)?\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            match = re.search(r"(?:^|\$ |\| )(chargen .*)", line)
            if match:
                found.append(re.split(r"\s{2,}|\s[>|]\s", match.group(1))[0])
    return found


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line):
    name, *arguments = shlex.split(line.replace("$'", "'"))[1:]
    if not name.startswith("-"):
        command = importlib.import_module(f"chargen.cli.{name}").command
        with click.Context(cli) as parent:
            command.make_context(name, arguments, parent=parent)


def test_every_command_is_shown():
    shown = {line.split()[1] for line in commands()}
    assert set(COMMANDS) - {"info", "runs", "completion"} <= shown | {"demo", "corpora"}


def test_every_file_has_its_phrase():
    listed = set(re.findall(r"^\| `([\w/]+\.py)` \| .+ \|$", README, re.MULTILINE))
    package = Path(chargen.__file__).parent
    there = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py", "_version.py")
    }
    assert listed == there


def test_library_example_names_exist():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    compile(block, "README.md", "exec")
    for name in re.findall(r"chargen\.(\w+)", block):
        assert hasattr(chargen, name)
    for name in re.findall(r"model\.(\w+)", block):
        assert hasattr(chargen.Model, name)


def test_figures_are_those_of_the_results():
    tables = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks/results").glob("*.md")
    )
    (block,) = re.findall(r"## Measured\n(.*?)\n## ", README, re.DOTALL)
    for figure in (
        "1.378",
        "1.721",
        "2.225",
        "1.346",
        "2.571",
        "2.868",
        "38%",
        "10%",
        "1.6 ms",
        "0.58 s",
        "1.4389",
        "1.4033",
        "1.3636",
        "17,105",
        "5,741",
        "2.52x",
        "22,298",
        "4.82x",
        "59,202",
        "3.34x",
        "22.6 s",
        "13,761",
        "14,968",
        "5,245",
        "31x",
        "127 M",
        "54 MB",
        "49 M",
        "79 MB",
        "428 MB",
    ):
        assert figure in tables, figure
        assert figure in block, figure
    assert "89%" in tables
    assert "89 %" in block


def test_nothing_is_left_to_fill_in():
    assert "@" not in README


def test_the_story_tells_the_figures_that_were_measured():
    page = (ROOT / "docs/understanding.md").read_text(encoding="utf-8")
    story = (ROOT / "benchmarks/results/story.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in story.splitlines() if "healthy" in line
            or "vanishing" in line]  # fmt: skip
    assert {row[0] for row in rows} == {"rnn", "rnn-relu", "gru", "lstm"}
    for cell, _, *figures, verdict in rows:
        assert f"| {cell} | {' | '.join(figures)} ({verdict}) |" in page
    for name in re.findall(r"\]\(([\w.]+\.svg)\)", page):
        assert (ROOT / "docs" / name).is_file()
    for line in re.findall(r"^chargen (.+?)(?:\s{2,}.*)?$", page, re.MULTILINE):
        name, *arguments = shlex.split(line)
        command = importlib.import_module(f"chargen.cli.{name}").command
        with click.Context(cli) as parent:
            command.make_context(name, arguments, parent=parent)
