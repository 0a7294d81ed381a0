"""README and docs: their commands parse, their files exist, their figures are those measured."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import FrameType

import click
import pytest

import chargen
from chargen.cli.main import COMMANDS, cli, main

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
MAX_README_LINES = 150
MAX_RECORDING_BYTES = 400_000
MAX_CHAIN_FRAMES, MAX_CHAIN_FILES = 12, 8
REPOSITORY = "https://github.com/chargen/chargen/blob/main/"
RAW = "https://raw.githubusercontent.com/chargen/chargen/main/"
SVG = "{http://www.w3.org/2000/svg}"
NUMBER = re.compile(r"(?<![\w.,])\d(?:[\d,.]*\d)?")


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of a code block that runs chargen, without its output."""
    commands = []
    for page, text in PAGES.items():
        for block in re.findall(r"```(?:console)?\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                match = re.search(r"^(?:.*\| |\$ |torchrun .*-m (?:-- )?)?(chargen .*)", line)
                if match:
                    command = re.split(r"\s{2,}|\s[>|]\s", match.group(1))[0]
                    commands.append((page, command))
    return commands


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_parse(page, line):
    name, *arguments = shlex.split(line.replace("$'", "'"))[1:]
    assert name in COMMANDS, f"{page}: {line}"
    command = importlib.import_module(f"chargen.cli.{name}").command
    with click.Context(cli) as parent:
        command.make_context(name, arguments, parent=parent)


def test_every_page_with_code_blocks_has_its_commands_checked():
    assert {page for page, _ in commands()} == {
        "README.md",
        "docs/models.md",
        "docs/guide.md",
        "docs/understanding.md",
    }


def test_every_command_is_shown():
    shown = {line.split()[1] for _, line in commands()}
    named = set(re.findall(r"`chargen (\w+)[^`]*`", PAGES["docs/guide.md"]))
    assert set(COMMANDS) <= shown | named


def test_readme_is_short():
    assert len(README.splitlines()) <= MAX_README_LINES


def test_the_map_names_every_module_and_nothing_else():
    package = Path(chargen.__file__).parent
    files = {
        f"chargen/{path.relative_to(package).as_posix()}"
        for path in (*package.rglob("*.py"), *package.rglob("*.c"))
    }
    # A folder's __init__.py may hold a line of description only; then the map may leave it out.
    empty = {
        f"chargen/{path.relative_to(package).as_posix()}"
        for path in package.rglob("__init__.py")
        if len(path.read_text(encoding="utf-8").splitlines()) <= 1
    }
    (table,) = re.findall(r"## The map of files\n(.*)", PAGES["docs/architecture.md"], re.DOTALL)
    listed = re.findall(r"^\| `(chargen/[\w/.]+)` \| .+ \|$", table, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert files - empty <= set(listed) <= files


def test_the_chain_of_calls_is_the_measured_one(prose, monkeypatch):
    """The stack at the first product of a training step is the table in architecture.md."""
    torch = pytest.importorskip("torch")
    from chargen.training.kernels import native

    if native.library() is None:
        pytest.skip("the table is for a machine with a C compiler")
    page = PAGES["docs/architecture.md"]
    (table,) = re.findall(r"<!-- chain: .*? -->\n\n((?:\|.*\n)+)", page)
    described = re.findall(r"^\| `(chargen/[\w/.]+)` \| `([\w.]+)` \|", table, re.MULTILINE)
    linear, measured = torch.nn.functional.linear, []

    def linear_with_stack(*arguments):
        if not measured:
            measured.extend(chargen_frames(sys._getframe(1)))
        return linear(*arguments)

    monkeypatch.setattr(torch.nn.functional, "linear", linear_with_stack)
    Path("novel.txt").write_text(prose, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["train", "novel.txt", "--steps", "1", "--valid-fraction", "0"])
    assert ended.value.code == 0
    assert described == measured
    assert len(measured) <= MAX_CHAIN_FRAMES
    assert len({file for file, _ in measured}) <= MAX_CHAIN_FILES


def chargen_frames(frame: FrameType | None) -> list[tuple[str, str]]:
    """(file, function) of each frame of the package, the outermost first."""
    package, frames = Path(chargen.__file__).parent, []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(package):
            name = frame.f_code.co_qualname.rpartition("<locals>.")[2]
            frames.append((f"chargen/{path.relative_to(package).as_posix()}", name))
        frame = frame.f_back
    return frames[::-1]


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_backticks_exist(page):
    paths = re.findall(r"`((?:chargen|tests|docs|benchmarks)/[\w/.]+)`", PAGES[page])
    assert [path for path in paths if not (ROOT / path).exists() and "NAME" not in path] == []


@pytest.mark.parametrize("page", PAGES)
def test_names_of_tables_are_there(page):
    """ "`VIEWS` in `chargen/insight/views.py`": the file defines the name."""
    claims = re.findall(r"`(\w+)` in `(chargen/[\w/]+\.py)`", PAGES[page])
    assert claims or page != "docs/architecture.md"
    for name, path in claims:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(?:class |def )?{name}\b", source, re.MULTILINE), (name, path)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", PAGES[page], re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith((REPOSITORY, RAW)):
            path = ROOT / target.removeprefix(REPOSITORY).removeprefix(RAW)
            assert path.exists(), target
        elif target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("https://"):
            assert (folder / target).exists(), target


def test_readme_links_are_absolute():
    """A relative link breaks where README is shown without the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []


def figure_tables() -> list[tuple[str, list[str]]]:
    """(page, cells) of each row of the tables that are marked as measured."""
    rows = []
    for page, text in PAGES.items():
        for table in re.findall(r"<!-- figures: .*? -->\n\n((?:\|.*\n)+)", text):
            header, _, *lines = table.splitlines()
            assert header == "| what | chargen | for comparison | measured in |"
            rows += [
                (page, [cell.strip() for cell in line.strip("|").split("|")]) for line in lines
            ]
    return rows


@pytest.mark.parametrize(("page", "cells"), figure_tables())
def test_figures_are_those_of_the_results(page, cells):
    what, *columns, source = cells
    # Footnotes, and words that happen to hold a number.
    text = re.sub(r"\[\d\]|3 minutes (?:on|of) an A100|`[^`]*`", "", " ".join(columns))
    numbers = NUMBER.findall(text)
    if what.startswith("**") and not source:
        assert not numbers  # a heading within the table
        return
    assert numbers
    (path,) = re.findall(r"benchmarks/results/\w+\.md", source)
    measured = set(NUMBER.findall((ROOT / path).read_text(encoding="utf-8")))
    assert set(numbers) <= measured, f"{page}: {what}"


def test_both_tables_of_figures_are_found():
    assert {page for page, _ in figure_tables()} == {"README.md", "docs/benchmarks.md"}


def test_library_example_names_exist():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    compile(block, "README.md", "exec")
    for name in re.findall(r"chargen\.(\w+)", block):
        assert hasattr(chargen, name), name
    for name in re.findall(r"model\.(\w+)", block):
        assert hasattr(chargen.Model, name), name


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_left_to_fill_in(page):
    assert "@" not in PAGES[page]


def test_the_story_tells_the_figures_that_were_measured():
    page = PAGES["docs/understanding.md"]
    story = (ROOT / "benchmarks/results/story.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in story.splitlines() if "healthy" in line
            or "vanishing" in line]  # fmt: skip
    assert {row[0] for row in rows} == {"rnn", "rnn-relu", "gru", "lstm"}
    for cell, _, *figures, verdict in rows:
        assert f"| {cell} | {' | '.join(figures)} ({verdict}) |" in page


def test_the_recording_is_one_animated_file():
    path = ROOT / "docs/repl.svg"
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert path.stat().st_size <= MAX_RECORDING_BYTES
    # Nothing outside is referred to: no address but the namespace, no link, import, script.
    assert re.findall(r"\w+://[^\"' )]+", text) == ["http://www.w3.org/2000/svg"]
    names = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert names == {"svg", "title", "style", "rect", "g", "path", "text"}
    assert not re.search(r"href|@import|url\(", text)
    style = root.findtext(f"{SVG}style")
    assert "@media (prefers-reduced-motion: reduce)" in style
    assert len(re.findall("@keyframes", style)) >= 20
    stills = [group for group in root.iter(f"{SVG}g") if group.get("class") == "f z"]
    assert any("JULIET" in (text.text or "") for group in stills for text in group.iter())


@pytest.fixture(scope="module")
def recorder():
    pytest.importorskip("pexpect", reason="pseudo-terminals need a POSIX system")
    pytest.importorskip("pyte")
    spec = importlib.util.spec_from_file_location("record", ROOT / "docs/record.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["record"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["record"]


def test_a_recording_is_drawn_with_all_that_it_shows(recorder):
    outputs = [
        recorder.Output(0.0, b"<b>&\"'"),
        recorder.Output(0.5, b"\r\n\x1b[38;2;1;2;3m\x1b[48;2;255;0;0m\xe2\x96\x80\x1b[0m same"),
        recorder.Output(0.6, b"\x1b[?25l half drawn"),
        recorder.Output(0.9, b"\x1b[?25h, done"),
    ]
    frames = list(recorder.replay(outputs, columns=30, rows=3, interval=0.25))
    assert ["".join(cell.text for cell in frame.rows[1]).strip() for frame in frames] == [
        "",
        "▀ same",
        "▀ same half drawn, done",
    ]
    assert [frame.seconds for frame in frames] == [0.0, 0.5, 1.0]
    drawn = recorder.draw(frames)
    assert drawn == recorder.draw(frames)
    root = ElementTree.fromstring(drawn)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == ["<b>&\"'", "same", "same half drawn, done"]  # the first row once
    strokes = {element.get("stroke") for element in root.iter(f"{SVG}path")}
    assert strokes == {"#010203", "#f00"}  # the upper half and the lower half of one cell
