"""Many texts in constant memory, written as they are ready; long prompts with their progress."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest

from chargen.api import Model
from chargen.cli.main import run
from chargen.errors import ChargenError
from chargen.inference import batched_read, generate
from chargen.inference.batched_read import read_to_end
from chargen.inference.composer import Composer
from chargen.inference.engine import Stepper
from chargen.inference.tree import ROOT, TextTree
from chargen.inference.writer import Step
from chargen.model.unit_names import Unit
from tests.conftest import CELLS, make_model
from tests.repl.conftest import talk  # noqa: F401 - a fixture

OPTIONS = ("-l", "3", "--seed", "1")


def step_of(text: str, finish: str | None = None, state=None) -> Step:
    state = np.zeros(1, np.float32) if state is None else state
    return Step(0, text, text.encode(), -1.0, 1.0, 0, state, finish)


@pytest.mark.parametrize("options", [["-n", "3"], ["-n", "3", "--json"], ["--json"]])
def test_no_state_is_kept(model_path, monkeypatch, capfd, options):
    alive: list[weakref.ref] = []
    counts = []

    def write(self, prompt, count, **settings):
        for position in range(30):
            for number in range(count):
                state = np.zeros(4, np.float32)
                alive.append(weakref.ref(state))
                counts.append(sum(state() is not None for state in alive))
                yield number, step_of("x", "length" if position == 29 else None, state)
                del state

    monkeypatch.setattr(Model, "generate_batch", write)
    assert run(["sample", str(model_path), *options]) == 0
    assert len(counts) == 30 * (3 if "-n" in options else 1)
    assert max(counts) <= 3
    assert "x" * 30 in capfd.readouterr().out


@pytest.mark.parametrize("as_json", [True, False])
def test_texts_are_written_as_they_are_ready_and_in_order(model_path, monkeypatch, capfd, as_json):
    written: list[str] = []

    def write(self, prompt, count, **settings):
        for number, text, finish in (
            (0, "a", None), (1, "b", "stop"), (0, "A", "length"), (2, "c", "length")
        ):  # fmt: skip
            yield number, step_of(text, finish)
            written.append(capfd.readouterr().out)

    monkeypatch.setattr(Model, "generate_batch", write)
    flag = ["--json"] if as_json else []
    assert run(["sample", str(model_path), "-n", "3", *flag]) == 0
    assert written[:2] == ["", ""]
    if as_json:
        texts = [[json.loads(line)["text"] for line in out.splitlines()] for out in written]
        assert texts == [[], [], ["aA", "b"], ["c"]]
    else:
        assert written[2:] == ["aA\n\nb", "\n\nc"]


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (ChargenError("overflowed"), 1)]
)
@pytest.mark.parametrize("as_json", [True, False])
def test_an_interruption_loses_no_text(model_path, monkeypatch, capfd, error, code, as_json):
    def write(self, prompt, count, **settings):
        yield 0, step_of("a", "stop")
        yield 2, step_of("c")
        yield 1, step_of("b")
        yield 2, step_of("C")
        raise error

    monkeypatch.setattr(Model, "generate_batch", write)
    flag = ["--json"] if as_json else []
    assert run(["sample", str(model_path), "-n", "4", *flag]) == code
    out = capfd.readouterr().out
    if as_json:
        lines = [json.loads(line) for line in out.splitlines()]
        assert [(line["text"], line["finish"]) for line in lines] == [
            ("a", "stop"), ("b", None), ("cC", None)
        ]  # fmt: skip
    else:
        assert out == "a\n\nb\n\ncC"


def test_many_texts_are_written_in_batches_and_stay_the_same(monkeypatch):
    model = Model(make_model("gru", 2))

    def texts(count):
        parts, order = [""] * count, []
        for number, step in model.generate_batch("ab", count, length=12, seed=5):
            parts[number] += step.text
            order.append(number)
        return parts, order

    whole, _ = texts(8)
    monkeypatch.setattr(generate, "TEXTS_PER_BATCH", 3)
    parts, order = texts(8)
    assert parts == whole
    assert len(set(whole)) == 8
    assert [number // 3 for number in order] == sorted(number // 3 for number in order)


@pytest.mark.parametrize("cell", CELLS)
def test_a_prompt_is_read_exactly_up_to_the_length_that_eval_reads_in_rows(cell, monkeypatch):
    model = Model(make_model(cell, 2))
    stepper, shares = model.stepper, []
    ids = np.random.default_rng(0).integers(0, 10, 9_000)
    exact = stepper.read(ids, stepper.zero_state())
    read = read_to_end(stepper, ids, stepper.zero_state(), progress=shares.append)
    assert (read == exact).all()
    assert shares == sorted(shares)
    assert len(shares) == 5
    assert shares[-1] == 1
    # A longer text is read as the last row of `eval` reads it.
    monkeypatch.setattr(batched_read, "MIN_TOKENS_IN_ROWS", 9_000)
    tokens = []
    monkeypatch.setattr(
        stepper, "read", lambda part, state: tokens.append(len(part)) or type(stepper).read(
            stepper, part, state
        ),
    )  # fmt: skip
    read = read_to_end(stepper, ids, stepper.zero_state())
    assert np.allclose(read, exact, atol=1e-5)
    assert sum(tokens) == 2048 + 141


def test_a_long_prompt_tells_how_far_it_is(model_path, monkeypatch, capfd):
    reported = []

    class Line:
        def __init__(self, terminal):
            pass

        def __enter__(self):
            return lambda job, done, total: reported.append((job, done, total))

        def __exit__(self, *error):
            reported.append("closed")

    monkeypatch.setattr("chargen.cli.written.reading_line", Line)
    prompt = "abcdefgh\n" * 800
    for options in ((), ("-n", "2"), ("--json",)):
        reported.clear()
        assert run(["sample", str(model_path), "-p", prompt, *OPTIONS, *options]) == 0
        assert reported[0] == ("reading the prompt", int(2048 / 7199 * 7200), 7200)
        assert reported[-2:] == [("reading the prompt", 7200, 7200), "closed"]
        assert len(reported) == 5
    capfd.readouterr()
    monkeypatch.setattr(batched_read, "MIN_TOKENS_IN_ROWS", 7_000)
    assert run(["sample", str(model_path), "-p", prompt, *OPTIONS]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(prompt)
    assert err == "the prompt has 7,200 tokens; reads the last 2,161\n"


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("before", [[], [1, 2, 3, 4]])
@pytest.mark.parametrize("clamped", [False, True])
def test_a_long_paste_is_read_in_rows(documents, before, clamped, monkeypatch):
    file = make_model("gru", 2, documents=documents)
    text = np.random.default_rng(0).integers(0, 9, 9_000).tolist()
    results = []
    for limit in (9_001, 9_000):
        monkeypatch.setattr(batched_read, "MIN_TOKENS_IN_ROWS", limit)
        stepper = Stepper(file.config, file.weights)
        tree = TextTree(stepper)
        composer = Composer(stepper, file.build_tokenizer(), tree)
        start = composer.read(ROOT, before)
        if clamped:
            composer.clamp({Unit(layer=0, state=0, index=3): 0.9})
        shares: list[float] = []
        end = composer.read(start, text, progress=shares.append)
        path = tree.path(end, after=start)
        assert [tree.token(node) for node in path] == text
        assert tree.position(end) == len(before) + len(text)
        assert all(tree.clamps(node) == composer.clamps for node in path)
        assert shares == sorted(shares)
        assert shares[-1] == 1
        nodes = [start, path[0], path[2047], path[2048], path[5_000], path[-2], end]
        states = [tree.state(node) for node in nodes]
        results.append((states, [tree.logprob(node) for node in path], tree.states_kept))
    (exact, logprobs, _), (states, logprobs_in_rows, kept) = results
    assert kept < 2048 + 30
    np.testing.assert_allclose(states, exact, atol=1e-5)
    np.testing.assert_allclose(logprobs_in_rows, logprobs, atol=1e-4)


def test_a_long_paste_tells_how_far_it_is(talk, monkeypatch):  # noqa: F811
    reported = []

    class Line:
        def __init__(self, terminal):
            pass

        def __enter__(self):
            return lambda job, done, total: reported.append((job, done, total))

        def __exit__(self, *error):
            reported.append("closed")

    monkeypatch.setattr("chargen.repl.commands.write.reading_line", Line)
    talk("abc" * 200)
    assert reported == [("reading", done, 600) for done in (0, 256, 512, 600)] + ["closed"]


def test_a_short_paste_into_a_huge_model_is_read_one_by_one(monkeypatch):
    monkeypatch.setattr(batched_read, "MIN_TOKENS_IN_ROWS", 0)
    file = make_model()
    stepper = Stepper(file.config, file.weights)
    composer = Composer(stepper, file.build_tokenizer(), TextTree(stepper))
    end = composer.read(ROOT, [1, 2, 3] * 700)
    assert composer.tree.position(end) == 2_100
    exact = stepper.read(np.array([1, 2, 3] * 700), stepper.zero_state())
    np.testing.assert_allclose(composer.tree.state(end), exact, atol=1e-5)
