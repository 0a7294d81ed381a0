"""Writing in a tree of texts: compared with generate(), rewound, stopped, with clamped units."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chargen.errors import UsageError
from chargen.inference.composer import Composer, most_likely
from chargen.inference.engine import Stepper, log_softmax
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.inference.tree import ROOT, TextTree
from chargen.model.unit_names import Unit, parse_unit
from tests.conftest import CELLS, make_cycle_model, make_model


def composer_of(file) -> Composer:
    stepper = Stepper(file.config, file.weights)
    return Composer(stepper, file.build_tokenizer(), TextTree(stepper))


def write(composer: Composer, node: int, **settings) -> tuple[list[int], int, str]:
    writing = composer.write(node, SampleConfig(**settings))
    while writing.finish is None:
        writing.advance()
    nodes = composer.tree.path(writing.node, after=writing.first)
    return [composer.tree.token(step) for step in nodes], writing.node, writing.finish


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("prompt", ["", "a", "abc dab"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_composer_writes_the_text_of_generate(cell, prompt, documents):
    file = make_model(cell, 2, documents=documents)
    composer = composer_of(file)
    tokenizer = file.build_tokenizer()
    ids = tokenizer.encode(prompt)
    settings = {"length": 60, "seed": 5, "top_k": 6, "repetition_penalty": 1.1}
    steps = list(generate(composer.stepper, tokenizer, ids, SampleConfig(**settings)))
    node = composer.read(ROOT, map(int, ids))
    tokens, end, finish = write(composer, node, **settings)
    assert tokens == [step.token_id for step in steps]
    assert finish == steps[-1].finish
    np.testing.assert_allclose(composer.tree.state(end), steps[-1].state, atol=1e-5)
    logprobs = [composer.tree.logprob(step) for step in composer.tree.path(end, len(tokens))]
    np.testing.assert_allclose(logprobs, [step.logprob for step in steps], atol=1e-4)


def test_the_same_node_and_seed_write_the_same_text():
    composer = composer_of(make_model("lstm", 2))
    node = composer.read(ROOT, [1, 2, 3])
    first, end, _ = write(composer, node, length=200, seed=9)
    write(composer, end, length=50, seed=1)
    again, _, _ = write(composer, node, length=200, seed=9)
    assert again == first
    assert write(composer, node, length=200, seed=10)[0] != first


def test_after_a_rewind_writing_continues_there_without_the_avoided_token():
    composer = composer_of(make_cycle_model())
    start = composer.read(ROOT, [2])  # a
    writing = composer.write(start, SampleConfig(length=9, temperature=0))
    nodes = [writing.advance() for _ in range(6)]
    text = composer.tokenizer.decode
    assert text(composer.tree.tokens(nodes[-1])) == "abcdefg"
    assert writing.rewind(nodes[2], avoid=composer.tree.token(nodes[3]))
    while writing.finish is None:
        writing.advance()
    assert text(composer.tree.tokens(writing.node)) == "abcdfghijk"
    assert writing.finish == "length"


def test_a_rewind_that_would_avoid_every_token_changes_nothing():
    composer = composer_of(make_model("rnn", 1, characters="ab"))
    writing = composer.write(composer.read(ROOT, [0]), SampleConfig(length=9))
    node = writing.advance()
    parent = composer.tree.parent(node)
    assert not writing.rewind(parent, avoid=0) or not writing.rewind(parent, avoid=1)


@pytest.mark.parametrize(("stop", "expected"), [("fgh", "abcde"), ("e", "abcd"), ("b", "a")])
def test_a_stop_text_is_removed_from_the_end(stop, expected):
    composer = composer_of(make_cycle_model())
    node = composer.read(ROOT, [2])
    _, end, finish = write(composer, node, length=50, temperature=0, stop=(stop,))
    assert composer.tokenizer.decode(composer.tree.tokens(end)) == expected
    assert finish == "stop"


def test_a_stop_text_in_the_prompt_stops_nothing():
    composer = composer_of(make_cycle_model())
    node = composer.read(ROOT, [2, 3, 4])
    tokens, _, finish = write(composer, node, length=5, temperature=0, stop=("cd",))
    assert (len(tokens), finish) == (5, "length")


def test_settings_can_change_while_a_text_is_written():
    composer = composer_of(make_cycle_model(sharpness=4))
    writing = composer.write(composer.read(ROOT, [2]), SampleConfig(length=40, temperature=0))
    for _ in range(10):
        writing.advance()
    writing.change(SampleConfig(length=40, temperature=100))
    for _ in range(20):
        writing.advance()
    text = composer.tokenizer.decode(composer.tree.tokens(writing.node))
    assert text.startswith("abcdefghijk")
    assert text != "abcdefghijklmnopqrstuvwxyz\n ab"[: len(text)]


def torch_states(file, tokens, clamped: dict[Unit, float]) -> list[np.ndarray]:
    """Step by step with torch's own cells, units set by hand: an independent computation."""
    config = file.config
    cells, weights = [], {name: torch.from_numpy(value) for name, value in file.weights.items()}
    for layer in range(config.num_layers):
        kind = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}[config.cell]
        width = config.embedding_size if layer == 0 else config.hidden_size
        cell = kind(width, config.hidden_size)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data = weights[f"layers.{layer}.{name}"]
        cells.append(cell)
    states = [[torch.zeros(config.hidden_size)] * config.state_shape[1] for _ in cells]
    after_each = []
    with torch.no_grad():
        for token in tokens:
            below = weights["embedding.weight"][token]
            for layer, cell in enumerate(cells):
                before = states[layer]
                after = cell(below, tuple(before) if config.cell == "lstm" else before[0])
                after = [vector.clone() for vector in (after if config.cell == "lstm" else [after])]
                for unit, value in clamped.items():
                    if unit.layer == layer:
                        after[unit.state][unit.index] = value
                states[layer], below = after, after[0]
            after_each.append(np.array([[state.numpy() for state in layer] for layer in states]))
    return after_each


@pytest.mark.parametrize(
    ("cell", "clamped"),
    [
        ("lstm", {Unit(0, 3): 0.9, Unit(0, 5): -0.4, Unit(1, 2, 1): 2.0}),
        ("gru", {Unit(0, 0): 0.0, Unit(1, 11): 1.0}),
    ],
)
def test_clamped_units_give_the_states_of_torch(cell, clamped):
    file = make_model(cell, 2)
    composer = composer_of(file)
    composer.clamp(clamped)
    tokens = [1, 4, 2, 8, 5, 7, 3]
    node = composer.read(ROOT, tokens)
    expected = torch_states(file, tokens, clamped)
    for step, state in zip(composer.tree.path(node), expected, strict=True):
        np.testing.assert_allclose(composer.tree.state(step), state, atol=1e-5)
    composer.clamp({})
    node = composer.read(ROOT, tokens)
    free = torch_states(file, tokens, {})
    np.testing.assert_allclose(composer.tree.state(node), free[-1], atol=1e-5)


def test_the_most_likely_tokens_are_those_of_the_softmax():
    composer = composer_of(make_model())
    logits = composer.next_logits(composer.read(ROOT, [1, 2]))
    chances = np.exp(log_softmax(logits))
    best = most_likely(logits, 4)
    assert [token for token, _ in best] == np.argsort(-chances, kind="stable")[:4].tolist()
    assert best[0][1] == pytest.approx(chances.max())


def test_predicting_after_an_empty_text_adds_no_text():
    composer = composer_of(make_model())
    first, second = composer.next_logits(ROOT), composer.next_logits(ROOT)
    np.testing.assert_array_equal(first, second)
    assert len(composer.tree) == 2, "what a text begins after, once"
    assert composer.tree.position(1) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("41", "write it as L1:41"), ("L3:0", "layers 1 to 2"), ("L0:0", "layers 1 to 2"),
        ("L1:12", "units 0 to 11"), ("L1:1.memory", "states are hidden, cell"), ("", "write it"),
    ],
)  # fmt: skip
def test_units_that_do_not_exist_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_unit(text, make_model("lstm", 2).config)


def test_the_spelling_of_a_unit_can_be_parsed_again():
    config = make_model("lstm", 2).config
    for text in ("L1:0", "L2:11", "L2:4.cell"):
        assert parse_unit(text, config).spelled(config) == text
    assert parse_unit(" l2:4.hidden ", config) == Unit(1, 4)
