"""The tree of texts: every token that was read or written, its parent, and the state after it.

The memory of a recurrent model is one small array, so the tree stores a state for every token, and
undo, fork and goto cost nothing. The space for states is limited: when there are too many, every
other old state is dropped. A dropped state is computed again from the nearest state before it, by
the same steps as the first time.

A branch is a name for a node; writing moves the branch along. When a branch moves away from a text,
the end of that text gets a new branch name, so no text is lost. Shape letters: N tokens of a text,
L layers, S states, H hidden_size.
"""

from __future__ import annotations

from array import array

import numpy as np

from chargen.errors import UsageError, unknown_name
from chargen.inference.engine import Array, Clamps, Stepper, TokenIds

ROOT = 0
"""The node before any token: a zero state."""
MAIN = "main"
_MAX_STATE_BYTES = 64 << 20
_MIN_STATES = 8
_MAX_NAME_CHARACTERS = 40
_NO_CLAMPS: Clamps = {}
_NEWEST_PART = 4
"""The newest states, one in four, are never dropped."""


def check_branch_name(name: str) -> None:
    """Checks the name of a branch.

    Raises:
        UsageError: a branch cannot have this name.
    """
    is_one_word = name.isprintable() and not any(character.isspace() for character in name)
    if not name or name.isdecimal() or len(name) > _MAX_NAME_CHARACTERS or not is_one_word:
        raise UsageError(
            f"branch '{name}': a name is one word of at most {_MAX_NAME_CHARACTERS} characters, "
            "and no number"
        )


class TextTree:
    """All texts of a session. Nodes are numbers; a parent has a smaller number than its child.

    Args:
        stepper: the model, to compute dropped states again.
        limit: bytes of states in memory.
    """

    def __init__(self, stepper: Stepper, limit: int = _MAX_STATE_BYTES) -> None:
        self._stepper = stepper
        self._parents = array("i", [-1])
        self._tokens = array("i", [-1])
        self._positions = array("i", [0])
        self._logprobs = array("f", [0.0])
        self._clamp_numbers = array("i", [0])
        self._clamps: list[Clamps] = [_NO_CLAMPS]
        root = stepper.zero_state()
        self._states: dict[int, Array] = {ROOT: root}
        self._max_states = max(_MIN_STATES, limit // root.nbytes)
        self.branches: dict[str, int] = {MAIN: ROOT}
        self.branch = MAIN

    def use(self, stepper: Stepper) -> None:
        """Computes states with this stepper from here on; those in memory stay."""
        self._stepper = stepper

    def __len__(self) -> int:
        return len(self._parents)

    @property
    def tip(self) -> int:
        """The node at which the current branch ends."""
        return self.branches[self.branch]

    @property
    def states_kept(self) -> int:
        """How many states are in memory."""
        return len(self._states)

    def append(
        self,
        parent: int,
        token: int,
        state: Array,
        *,
        logprob: float = 0.0,
        clamps: Clamps | None = None,
        hidden: bool = False,
    ) -> int:
        """Adds a node and returns it.

        Args:
            parent: the node before it.
            token: the token that was read or written.
            state: (L, S, H) after it; the tree keeps this array, not a copy.
            logprob: the token's log-probability, in nats.
            clamps: the units that were clamped in this step.
            hidden: whether the token is not part of the text, but read before a text.
        """
        node = self.restore(parent, token, logprob, clamps or _NO_CLAMPS, hidden)
        self.store_state(node, state)
        return node

    def store_state(self, node: int, state: Array) -> None:
        """Stores the state (L, S, H) after a node; the tree keeps this array, not a copy."""
        self._states[node] = state
        if len(self._states) > self._max_states:
            self._drop_old_states()

    def restore(self, parent: int, token: int, logprob: float, clamps: Clamps, hidden: bool) -> int:
        """Adds a node as `append` does; its state is computed when it is needed."""
        if clamps is not self._clamps[-1] and clamps != self._clamps[-1]:
            self._clamps.append(clamps)
        positions = self._positions
        positions.append(positions[parent] + (not hidden))
        self._parents.append(parent)
        self._tokens.append(token)
        self._logprobs.append(logprob)
        self._clamp_numbers.append(len(self._clamps) - 1)
        return len(positions) - 1

    def parent(self, node: int) -> int:
        """The node before; -1 before the root."""
        return self._parents[node]

    def token(self, node: int) -> int:
        """The token of the node; -1 at the root."""
        return self._tokens[node]

    def position(self, node: int) -> int:
        """How many tokens the text up to this node has."""
        return self._positions[node]

    def logprob(self, node: int) -> float:
        """The log-probability of the node's token, in nats."""
        return self._logprobs[node]

    def clamps(self, node: int) -> Clamps:
        """The units that were clamped when the node was made."""
        return self._clamps[self._clamp_numbers[node]]

    def back(self, node: int, count: int) -> int:
        """The node `count` tokens of text before this one, or the root."""
        position = self._positions[node] - count
        if position <= 0:
            return ROOT
        while self._positions[node] > position:
            node = self._parents[node]
        return node

    def path(self, node: int, count: int | None = None, after: int = ROOT) -> list[int]:
        """The nodes of the text that ends here, in order.

        Args:
            node: the end.
            count: only this many of the last nodes; None: all.
            after: only the nodes after this one.
        """
        nodes: list[int] = []
        while node not in (ROOT, after) and (count is None or len(nodes) < count):
            if self._positions[node] == self._positions[self._parents[node]]:
                break  # a hidden node, which is not part of the text
            nodes.append(node)
            node = self._parents[node]
        return nodes[::-1]

    def tokens(self, node: int, count: int | None = None) -> TokenIds:
        """Ids (N,) of the text that ends here, or of its last `count` tokens."""
        return np.array([self._tokens[step] for step in self.path(node, count)], np.int64)

    def state(self, node: int) -> Array:
        """The state (L, S, H) after this node. The caller must not write to it."""
        missing = []
        while node not in self._states:
            missing.append(node)
            node = self._parents[node]
        state = self._states[node]
        if missing:
            state = state.copy()
            for step in reversed(missing):
                self._stepper.step(self._tokens[step], state, state, self.clamps(step))
        return state

    def is_before(self, first: int, node: int) -> bool:
        """Whether `first` lies on the way to `node`, or is `node`."""
        while node > first:
            node = self._parents[node]
        return node == first

    def move(self, node: int) -> None:
        """Moves the end of the current branch to a node; the old end gets a new branch.

        It gets none if another branch still leads to it.
        """
        old_end = self.tip
        self.branches[self.branch] = node
        ends = list(self.branches.values())
        if old_end != ROOT and not any(self.is_before(old_end, end) for end in ends):
            stem = self.branch.split(".")[0]
            number = next(n for n in range(1, len(ends) + 2) if f"{stem}.{n}" not in self.branches)
            self.branches[f"{stem}.{number}"] = old_end

    def fork(self, name: str) -> None:
        """Begins a branch at the current end, and makes it the current branch.

        Raises:
            UsageError: the name is taken, or a branch cannot have it.
        """
        if name in self.branches:
            raise UsageError(f"branch '{name}': there is one already; /goto {name} goes there")
        check_branch_name(name)
        self.branches[name] = self.tip
        self.branch = name

    def switch(self, name: str) -> None:
        """Makes another branch the current one.

        Raises:
            UsageError: no branch has this name.
        """
        if name not in self.branches:
            raise UsageError(unknown_name("branch", name, self.branches))
        self.branch = name

    def common(self, first: int, second: int) -> int:
        """The last node that two texts share."""
        while first != second:
            if first > second:
                first = self._parents[first]
            else:
                second = self._parents[second]
        return first

    def _drop_old_states(self) -> None:
        """Drops every other old state except the root's; the oldest become the sparsest."""
        nodes = sorted(self._states)
        old = nodes[1 : len(nodes) - len(nodes) // _NEWEST_PART]
        for node in old[::2]:
            del self._states[node]
