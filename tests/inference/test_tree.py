"""The tree of texts: paths and branches, and dropped states that are computed again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.errors import UsageError
from chargen.inference.engine import Stepper
from chargen.inference.tree import MAIN, ROOT, TextTree
from tests.conftest import make_model


def grow(tree: TextTree, stepper: Stepper, node: int, tokens) -> int:
    for token in tokens:
        state = np.empty_like(tree.state(node))
        stepper.step(token, tree.state(node), state)
        node = tree.append(node, token, state, logprob=-0.5)
    return node


@pytest.fixture
def stepper() -> Stepper:
    file = make_model("lstm", 2)
    return Stepper(file.config, file.weights)


def test_a_text_has_its_tokens_positions_and_nodes(stepper):
    tree = TextTree(stepper)
    end = grow(tree, stepper, ROOT, [1, 2, 3, 4])
    assert tree.tokens(end).tolist() == [1, 2, 3, 4]
    assert tree.tokens(end, 2).tolist() == [3, 4]
    assert [tree.position(node) for node in tree.path(end)] == [1, 2, 3, 4]
    assert tree.back(end, 3) == tree.path(end)[0]
    assert tree.back(end, 99) == ROOT
    other = grow(tree, stepper, tree.back(end, 2), [7, 8])
    assert tree.tokens(other).tolist() == [1, 2, 7, 8]
    assert tree.common(end, other) == tree.back(end, 2)
    assert tree.path(other, after=tree.common(end, other)) == tree.path(other)[2:]
    assert tree.is_before(tree.back(end, 2), other)
    assert not tree.is_before(end, other)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnn-relu"])
def test_dropped_states_are_computed_again_exactly(cell):
    file = make_model(cell, 2)
    stepper = Stepper(file.config, file.weights)
    complete = TextTree(stepper)
    sparse = TextTree(stepper, limit=16 * stepper.zero_state().nbytes)
    tokens = [(7 * k) % 10 for k in range(400)]
    grow(complete, stepper, ROOT, tokens)
    grow(sparse, stepper, ROOT, tokens)
    assert sparse.states_kept <= 16
    assert len(sparse) == len(complete) == 401
    for node in range(401):
        np.testing.assert_array_equal(sparse.state(node), complete.state(node))


def test_memory_stays_within_its_limit_and_the_newest_states_are_kept(stepper):
    tree = TextTree(stepper, limit=100 * stepper.zero_state().nbytes)
    state, node = stepper.zero_state(), ROOT
    for number in range(5000):
        node = tree.append(node, number % 11, state)
        assert tree.states_kept <= 100
    newest = range(node - 10, node + 1)
    assert all(recent in tree._states for recent in newest)


def test_clamped_units_are_clamped_again_when_a_state_is_computed_again(stepper):
    clamps = {0: ([0], [3], [0.5])}
    tree = TextTree(stepper, limit=8 * stepper.zero_state().nbytes)
    node, states = ROOT, []
    for number in range(60):
        state = np.empty_like(tree.state(node))
        step_clamps = clamps if 10 <= number < 20 else {}
        stepper.step(number % 10, tree.state(node), state, step_clamps)
        node = tree.append(node, number % 10, state, clamps=step_clamps)
        states.append(state.copy())
    for number, state in enumerate(states, 1):
        np.testing.assert_array_equal(tree.state(number), state)
    assert tree.clamps(15) == clamps
    assert tree.clamps(25) == {}


def test_the_end_that_a_branch_leaves_gets_a_name(stepper):
    tree = TextTree(stepper)
    first = grow(tree, stepper, ROOT, [1, 2, 3])
    tree.branches[MAIN] = first
    tree.move(tree.back(first, 2))
    assert tree.branches["main.1"] == first
    second = grow(tree, stepper, tree.tip, [5])
    tree.branches[MAIN] = second
    tree.move(ROOT)
    assert tree.branches == {MAIN: ROOT, "main.1": first, "main.2": second}
    tree.fork("poem")
    tree.move(ROOT)
    assert set(tree.branches) == {MAIN, "main.1", "main.2", "poem"}, "nothing new was left"


def test_moving_back_along_a_text_that_another_branch_has_adds_no_name(stepper):
    tree = TextTree(stepper)
    tree.branches[MAIN] = grow(tree, stepper, ROOT, [1, 2, 3])
    tree.fork("a")
    tree.move(tree.back(tree.tip, 1))
    assert set(tree.branches) == {MAIN, "a"}


@pytest.mark.parametrize("name", ["", "12", "two words", "x" * 41, MAIN])
def test_invalid_and_taken_branch_names_are_refused(stepper, name):
    tree = TextTree(stepper)
    with pytest.raises(UsageError, match="branch"):
        tree.fork(name)


def test_an_unknown_branch_is_named_with_the_nearest(stepper):
    tree = TextTree(stepper)
    tree.fork("sonnet")
    with pytest.raises(UsageError, match="did you mean 'sonnet'"):
        tree.switch("sonet")


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 8)), max_size=80))
def test_in_any_tree_each_node_has_its_text(moves):
    file = make_model("rnn", 1, hidden_size=3)
    tree = TextTree(Stepper(file.config, file.weights))
    texts = {ROOT: []}
    for choice, token in moves:
        parent = choice % len(tree)
        node = tree.append(parent, token, tree.state(ROOT))
        texts[node] = [*texts[parent], token]
    for node, tokens in texts.items():
        assert tree.tokens(node).tolist() == tokens
        other = (7 * node) % len(tree)
        shared = tree.common(node, other)
        same = 0
        for a, b in zip(tree.path(node), tree.path(other), strict=False):
            if a != b:
                break
            same += 1
        assert tree.position(shared) == same
