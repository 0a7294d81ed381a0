"""Imports run downwards, and what must start quickly imports nothing slow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chargen

ROOT = Path(chargen.__file__).parent
# A room may import itself and the rooms named here; errors, files and _version are the ground.
BELOW = {
    "text": set(),
    "model": {"text"},
    "training": {"model", "text"},
    "sampling": {"model", "text"},
    "insight": {"sampling", "training", "model", "text"},
    "terminal": {"insight", "sampling", "training", "model", "text"},
    "library": {"insight", "sampling", "model", "text"},
    "repl": {
        "learning",
        "measuring",
        "library",
        "terminal",
        "insight",
        "sampling",
        "model",
        "text",
    },
    "learning": {"library", "training", "sampling", "model", "text"},
    "measuring": {"library", "training", "sampling", "model", "text"},
    "comparing": {"learning", "library", "training", "insight", "sampling", "model", "text"},
    "cli": {
        "comparing",
        "repl",
        "learning",
        "measuring",
        "library",
        "terminal",
        "insight",
        "sampling",
        "training",
        "model",
        "text",
    },
}
GROUND = {"errors", "files", "_version"}
OUTSIDE = {
    "torch": {"training"},
    "rich": {"terminal", "repl", "cli"},
    "click": {"cli"},
    "datasets": {"text"},
    "sentencepiece": {"text"},
    "prompt_toolkit": {"repl"},
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{one.name}" for one in node.names}
    return names


def rooms() -> list[tuple[str, Path]]:
    return [
        (path.relative_to(ROOT).parts[0].removesuffix(".py"), path)
        for path in sorted(ROOT.rglob("*.py"))
        if path.parent != ROOT or path.name in ("library.py", "learning.py", "comparing.py")
    ]


@pytest.mark.parametrize(("room", "path"), rooms(), ids=lambda one: str(one).split("chargen/")[-1])
def test_imports_run_downwards(room, path):
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "chargen" and len(parts) > 1 and parts[1] not in GROUND | {room}:
            assert parts[1] in BELOW[room], f"{path} imports {name}"
        if parts[0] == "torch" and path == ROOT / "insight" / "gradients.py":
            continue  # the one place outside of training where gradients are asked for
        allowed = OUTSIDE.get(parts[0])
        assert allowed is None or room in allowed, f"{path} imports {name}"


def test_training_config_and_events_import_no_torch():
    code = (
        "import chargen.training.config, chargen.training.events, sys; "
        "print('torch' in sys.modules)"
    )
    assert _python(code) == "False"


@pytest.mark.parametrize("arguments", [["--help"], ["sample", "m.safetensors", "--length", "3"],
                                       ["eval", "m.safetensors", "t.txt"]])  # fmt: skip
def test_quick_commands_import_nothing_slow(arguments, model_path):
    model_path.rename("m.safetensors")
    Path("t.txt").write_text("abc abc", encoding="utf-8")
    slow = ["torch", "datasets", "sentencepiece", "rich.console"]
    code = (
        "import sys; from chargen.cli.main import run; sys.stdout = sys.stderr; "
        f"assert run({arguments!r}) == 0; "
        f"sys.__stdout__.write(repr([one for one in {slow!r} if one in sys.modules]))"
    )
    assert _python(code) == "[]"


@pytest.mark.parametrize("arguments", [["repl", "m.safetensors"],
                                       ["heatmap", "m.safetensors", "-p", "abc"]])  # fmt: skip
def test_writing_and_looking_import_no_torch(arguments, model_path):
    model_path.rename("m.safetensors")
    slow = ["torch", "datasets", "sentencepiece", "matplotlib"]
    code = (
        "import io, sys; from chargen.cli.main import run; sys.stdout = sys.stderr; "
        "sys.stdin = io.StringIO('abc\\n/heat\\n/predict\\n/show\\n/save s\\n'); "
        f"assert run({arguments!r}) == 0; "
        f"sys.__stdout__.write(repr([one for one in {slow!r} if one in sys.modules]))"
    )
    assert _python(code) == "[]"


def test_training_does_not_load_torchs_compiler(prose):
    Path("t.txt").write_text(prose, encoding="utf-8")
    code = (
        "import chargen, sys; "
        "list(chargen.train('t.txt', run='a', steps=3, hidden_size=8)); "
        "list(chargen.resume('a', steps=2)); "
        "list(chargen.finetune('a', 't.txt', run='b', steps=3)); "
        "print('torch' in sys.modules, 'torch._dynamo' in sys.modules)"
    )
    assert _python(code) == "True False"


def test_help_does_not_import_numpy():
    code = (
        "import sys; from chargen.cli.main import run; sys.stdout = sys.stderr; run(['--help']); "
        "sys.__stdout__.write(repr('numpy' in sys.modules))"
    )
    assert _python(code) == "False"


def test_public_names_are_sorted_and_there():
    assert sorted(chargen.__all__) == chargen.__all__
    for name in chargen.__all__:
        assert getattr(chargen, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        chargen.nothing  # noqa: B018


def _python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()
