"""Messages of the library name no option by hand: whoever reads them may have none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import chargen
from chargen.errors import ChargenError
from chargen.hints import read_by

ROOT = Path(chargen.__file__).parent
FILES = sorted(
    path
    for path in ROOT.rglob("*.py")
    # A command may name its own options; the REPL and exports have words of their own.
    if path.relative_to(ROOT).parts[0] not in ("cli", "repl", "hints.py", "own_files.py")
)
ADVICE = re.compile(
    r"\b(use|give|add|choose|try|leave|lower|raise|with|say|set|name|how long:)\b[^;]*--[a-z]", re.I
)


def texts_of_errors(path: Path) -> list[str]:
    """The texts of each `raise`, its f-strings joined with `{}` for the values."""
    texts = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Raise):
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.JoinedStr):
                values = [value for value in part.values if isinstance(value, ast.Constant)]
                texts.append("".join(str(value.value) for value in values))
            elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                texts.append(part.value)
    return texts


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_advice_to_give_an_option_goes_through_hints(path):
    assert [text for text in texts_of_errors(path) if ADVICE.search(text)] == []


def test_what_is_looked_for_is_found():
    assert ADVICE.search("no text; use --tokenizer byte")
    assert not ADVICE.search("--vocab-size 5: must be from 8")
    assert len(FILES) > 80


def test_a_finished_run_says_in_words_of_the_place_how_it_goes_on():
    Path("a.txt").write_text("a plain text, of words\n" * 200, encoding="utf-8")
    settings = {"steps": 1, "hidden_size": 8, "num_layers": 1, "batch_size": 2, "threads": 1}
    list(chargen.train("a.txt", run="r", bptt=8, **settings))
    with pytest.raises(ChargenError, match=r"for how long: minutes, epochs or steps$"):
        list(chargen.resume("r"))
    with (
        read_by("command", ["--minutes", "--epochs", "--steps"]),
        pytest.raises(ChargenError, match=r"for how long: --minutes, --epochs or --steps$"),
    ):
        list(chargen.resume("r"))
