"""Longer work on a text: an editor, a passage between texts, chats, pages, kept sessions."""

from __future__ import annotations

import html
import json
import os
import re
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from chargen.api import Model
from chargen.inference.between import bridge
from chargen.inference.engine import log_softmax
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate_batch
from chargen.model.checkpoint import ModelFile, save_model
from chargen.repl import story
from chargen.repl.commands import compose
from chargen.repl.ghost import Ghost
from chargen.repl.kept import continued, keep, kept_paths
from chargen.text.char import CharTokenizer
from tests.cli.conftest import cli  # noqa: F401  a fixture
from tests.inference.test_generate import writer_of
from tests.repl.conftest import Talk
from tests.steering.conftest import LETTERS, stepper_for

posix = pytest.mark.skipif(os.name == "nt", reason="modes and shells of POSIX systems")


@pytest.fixture
def writer() -> Talk:
    """A session with a model of all letters."""
    tokenizer = CharTokenizer(LETTERS)
    stepper = stepper_for(tokenizer)
    file = ModelFile(
        config=stepper.config, tokenizer=tokenizer.to_state(), weights=dict(stepper.weights)
    )
    path = Path("writer.safetensors")
    save_model(path, file)
    talk = Talk(Model(file, path))
    talk("/set length 20")
    return talk


def editor(monkeypatch, program: str) -> None:
    """Makes a Python program, which changes `text`, the editor."""
    Path("editor.py").write_text(
        "import sys\nfrom pathlib import Path\npath = Path(sys.argv[-1])\n"
        "text = path.read_bytes().decode()\n" + program,
        encoding="utf-8",
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} editor.py")


@posix
def test_an_edited_text_goes_on_from_the_first_change(writer, monkeypatch):
    writer("The old sea.")
    old = writer.session.text()
    writer.context.screen.interactive = True
    states = [
        writer.session.tree.state(n) for n in writer.session.tree.path(writer.session.tree.tip)
    ]
    editor(monkeypatch, "path.write_bytes(text.replace('old', 'new').encode() + b'\\n')")
    shown = writer("/edit")
    assert "the first 4 tokens are as before; the old text is a branch" in shown
    session = writer.session
    assert session.text() == old.replace("old", "new")
    assert session.text(node=session.tree.branches["main.1"]) == old
    nodes = session.tree.path(session.tree.tip)
    for node, state in zip(nodes[:4], states, strict=False):
        np.testing.assert_array_equal(session.tree.state(node), state)
    expected = session.model.stepper.logits_of(
        session.model.encode(session.text()), session.model.stepper.zero_state()
    )[1]
    np.testing.assert_allclose(session.tree.state(session.tree.tip), expected, atol=1e-6)


@posix
@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("", "the text is unchanged"),
        ("path.write_bytes(text.encode() + b'\\n')", "the text is unchanged"),
        ("sys.exit(3)", "ended with 3; the text is unchanged"),
        ("path.write_bytes(b'\\xff')", "not UTF-8 any more; the text is unchanged"),
        ("path.unlink()", "cannot be used"),
    ],
)
def test_an_editor_that_changes_nothing_or_fails_is_told(writer, monkeypatch, program, told):
    writer("The sea.")
    before = writer.session.text()
    writer.context.screen.interactive = True
    editor(monkeypatch, program)
    assert told in writer("/edit")
    assert writer.session.text() == before


@posix
def test_the_file_of_the_editor_is_private_and_removed(writer, monkeypatch, tmp_path):
    monkeypatch.setattr(compose.tempfile, "tempdir", str(tmp_path))
    writer("The sea.")
    writer.context.screen.interactive = True
    editor(monkeypatch, "import os\nPath('mode').write_text(oct(os.stat(path).st_mode & 0o777))")
    writer("/edit")
    assert Path("mode").read_text(encoding="ascii") == "0o600"
    assert list(tmp_path.glob("chargen-*")) == []


def test_without_an_editor_the_way_out_is_named(writer, monkeypatch):
    writer.context.screen.interactive = True
    for variable in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(compose.shutil, "which", lambda name: None)
    told = "edit: no editor found; set EDITOR to one, for example EDITOR=nano"
    assert told in writer("/edit")
    monkeypatch.setenv("EDITOR", "no-such-editor-here")
    assert "no-such-editor-here cannot be used" in writer("/edit")
    writer.context.screen.interactive = False
    assert "needs a terminal" in writer("/edit")


def cost_of(stepper, before, target) -> float:
    """What a token of `target` costs after `before`, read anew from its beginning."""
    logits, _ = stepper.logits_of(np.array([*before, *target]), stepper.zero_state())
    logprobs = log_softmax(logits[len(before) - 1 : -1])
    return -float(np.mean(logprobs[np.arange(len(target)), target]))


def test_the_passage_between_two_texts_is_the_best_of_its_candidates():
    tokenizer = CharTokenizer(LETTERS)
    stepper = stepper_for(tokenizer, seed=2)
    before, target = tokenizer.encode("The sea "), tokenizer.encode("was gold.")
    logits, state = stepper.logits_of(before, stepper.zero_state())
    config = SampleConfig(length=32, seed=5)
    found = bridge(stepper, tokenizer, state, logits[-1], before, target, config, count=6)
    assert found.nats == pytest.approx(cost_of(stepper, [*before, *found.tokens], target), abs=1e-4)
    assert found.direct_nats == pytest.approx(cost_of(stepper, before, target), abs=1e-4)
    texts: dict[int, list[int]] = {number: [] for number in range(6)}
    for number, step in generate_batch(stepper, tokenizer, before, config, 6):
        texts[number].append(step.token_id)
    costs = []
    for tokens in texts.values():
        for cut in (8, 16, 24, 32):
            ends = [n for n in range(1, cut + 1) if tokenizer.decode(tokens[n - 1 : n]).isspace()]
            if ends:
                costs.append(cost_of(stepper, [*before, *tokens[: ends[-1]]], target))
    assert found.nats == pytest.approx(min(costs), abs=1e-4)


def test_between_adds_the_passage_and_the_text(writer):
    writer("The sea ")
    before = writer.session.text()
    shown = writer("/between the sun rose.")
    text = writer.session.text()
    assert text.startswith(before)
    assert text.endswith("the sun rose.")
    assert "without one" in shown
    writer("/undo")
    assert writer.session.text() == text.removesuffix("the sun rose.")
    assert "give the text to arrive at" in writer("/between")


def test_in_a_chat_a_line_is_a_turn_and_the_model_answers_to_its_end(writer):
    assert "you are ANNA, BEN answers" in writer("/chat ANNA BEN:")
    writer("Hello there.")
    text = writer.session.text()
    assert re.match(r"ANNA:[ \n]Hello there\.\n+BEN:[ \n]", text)
    assert text.endswith("\n")
    writer("And now?")
    turns = re.findall(r"^(ANNA|BEN):", writer.session.text(), re.MULTILINE)
    assert turns[:4] == ["ANNA", "BEN", "ANNA", "BEN"]
    assert writer.session.settings.sample.stop == ()
    writer("/chat off")
    writer("Plain.")
    assert "ANNA: Plain." not in writer.session.text()
    assert "Plain." in writer.session.text()
    assert "never saw" in writer("/chat 中")
    assert "name yourself" in writer("/chat")


def test_a_page_and_markdown_hold_all_branches_and_no_markup_of_the_text(writer, monkeypatch):
    writer("The sea.")
    writer("/fork other")
    writer("A! b")
    writer("/goto main")
    writer("Gold.")
    for name, read in (("a.md", str), ("a.html", html.unescape)):
        assert writer(f"/export {name}") == f"written to {name}"
        content = Path(name).read_text(encoding="utf-8")
        assert "main" in content
        assert "other" in content
        assert "goes on after" in content
        plain = re.sub(r"<[^>]*>", "", content) if name.endswith("html") else content
        plain = read(plain.replace("\\\n", "\n").replace("\\", "").replace("**", ""))
        for end in writer.session.tree.branches.values():
            own = writer.session.text(10, end)
            assert own in plain
    page = Path("a.html").read_text(encoding="utf-8")
    assert "<b>" in page
    assert re.search(r"(?:src|href)=|@import|url\(", page) is None
    Path("mine.md").write_text("mine", encoding="utf-8")
    assert "--overwrite" in writer("/export mine.md")
    assert Path("mine.md").read_text(encoding="utf-8") == "mine"
    monkeypatch.setattr(
        type(writer.session), "labels", lambda self, nodes: ("<script>*x*\x1b[2J",) * len(nodes)
    )
    assert "<script>" not in story.page(writer.session)
    assert "\x1b" not in story.page(writer.session) + story.markdown(writer.session)
    assert "<script>" not in story.markdown(writer.session)


def test_a_session_keeps_itself_in_one_file_and_goes_on(writer):
    writer("The sea.")
    first = keep(writer.session)
    writer("And more.")
    assert keep(writer.session) == first
    assert kept_paths() == [first]
    if os.name != "nt":
        assert stat.S_IMODE(first.stat().st_mode) == 0o600
    later = continued(None, None)
    assert later.text() == writer.session.text()
    assert later.seed == writer.session.seed
    second = keep(later)
    assert second == first  # nothing has changed
    later.append(" x")
    assert keep(later) != first
    assert len(kept_paths()) == 2


def test_what_cannot_go_on_is_told(cli, writer):  # noqa: F811
    code, _, err = cli("repl", "--continue")
    assert (code, err.count("\n")) == (2, 1)
    assert "no session is kept yet" in err
    writer("The sea.")
    path = keep(writer.session)
    Path("writer.safetensors").unlink()
    code, _, err = cli("repl", "--continue")
    assert code == 3
    assert "the model of the last session is not here" in err
    path.write_text(json.dumps({"kind": 1}), encoding="ascii")
    code, _, err = cli("repl", "--continue")
    assert code == 2
    assert "is damaged" in err


class _Line:
    """A line as prompt_toolkit gives it."""

    def __init__(self, text: str) -> None:
        self.text = text


def ghost_of(talk, *lines: str) -> list[str | None]:
    ghost = Ghost(talk.context)
    found = [ghost.get_suggestion(None, _Line(line)) for line in lines]
    return [None if suggestion is None else suggestion.text for suggestion in found]


def test_the_ghost_is_the_likeliest_rest_of_the_word():
    """The model writes `harbour ` in a circle, so the rest is known."""
    stepper, tokenizer = writer_of("harbou ")
    file = ModelFile(
        config=stepper.config, tokenizer=tokenizer.to_state(), weights=dict(stepper.weights)
    )
    talk = Talk(Model(file))
    assert ghost_of(talk, "h", "ha", "harb", "ha", "harbou") == [
        "arbou", "rbou", "ou", "rbou", None,
    ]  # fmt: skip
    assert ghost_of(talk, "/set h", "", "ha ", "a\nh", "中") == [None] * 5
    talk("/set ghost off")
    assert ghost_of(talk, "ha") == [None]


def test_the_ghost_goes_on_from_the_text_and_changes_nothing(writer):
    writer("The sea ")
    before = writer.session.text()
    states = writer.session.tree.state(writer.session.tree.tip).copy()
    ghost_of(writer, *("gold"[:length] for length in range(1, 5)), "gol", "x" * 100)
    assert writer.session.text() == before
    np.testing.assert_array_equal(writer.session.tree.state(writer.session.tree.tip), states)
