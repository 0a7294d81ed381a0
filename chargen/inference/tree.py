"""TextTree: every token that was read or written, the one before it, and the memory after it.

The whole memory of a recurrent model is one small array, so every token keeps its own: undo, fork
and goto cost nothing. States are bounded: when there are too many, the oldest are thinned, and one
that is missed is made again from the nearest before it, by the very steps that made it first.

A branch is a name for a node; writing moves the branch along. What a branch moves away from
keeps a name of its own, so nothing that was written is lost. Shape letters: N tokens.
"""

from __future__ import annotations

from array import array

import numpy as np

from chargen.errors import UsageError, unknown_name
from chargen.inference.engine import Array, Clamps, Stepper, TokenIds

ROOT = 0
"""The node before any token: an empty memory."""
MAIN = "main"
_STATES = 64 << 20
_FREE: Clamps = {}
_YOUNG = 4
"""The newest quarter of the states is never thinned."""


def check_branch_name(name: str) -> None:
    """Whether a branch can be called so.

    Raises:
        UsageError: it cannot.
    """
    plain = name.isprintable() and not any(one.isspace() for one in name)
    if not name or name.isdecimal() or len(name) > 40 or not plain:
        raise UsageError(
            f"branch '{name}': a name is one word of at most 40 characters, and no number"
        )


class TextTree:
    """Nodes are numbers; a node's parent has a smaller one.

    Args:
        stepper: the model, to make states again.
        limit: bytes of states to keep.
    """

    def __init__(self, stepper: Stepper, limit: int = _STATES) -> None:
        self._stepper = stepper
        self._parents = array("i", [-1])
        self._tokens = array("i", [-1])
        self._positions = array("i", [0])
        self._logprobs = array("f", [0.0])
        self._holds = array("i", [0])
        self._held: list[Clamps] = [_FREE]
        root = stepper.zero_state()
        self._states: dict[int, Array] = {ROOT: root}
        self._room = max(8, limit // root.nbytes)
        self.branches: dict[str, int] = {MAIN: ROOT}
        self.branch = MAIN

    def use(self, stepper: Stepper) -> None:
        """Make states again by this one from here on; those that are kept stay."""
        self._stepper = stepper

    def __len__(self) -> int:
        return len(self._parents)

    @property
    def tip(self) -> int:
        """Where the current branch ends."""
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
        holds: Clamps | None = None,
        hidden: bool = False,
    ) -> int:
        """A new node.

        Args:
            parent: the node before it.
            token: what was read or written.
            state: (L, S, H) after it; kept, not copied.
            logprob: what the model thought of it, in nats.
            holds: the units that were held in this step.
            hidden: not a part of the text: what a text begins after.
        """
        node = self.restore(parent, token, logprob, holds or _FREE, hidden)
        self._states[node] = state
        if len(self._states) > self._room:
            self._thin()
        return node

    def restore(self, parent: int, token: int, logprob: float, holds: Clamps, hidden: bool) -> int:
        """A new node as `append` makes it, whose state is worked out when it is asked for."""
        held = self._held
        if holds is not held[-1] and holds != held[-1]:
            held.append(holds)
        positions = self._positions
        positions.append(positions[parent] + (not hidden))
        self._parents.append(parent)
        self._tokens.append(token)
        self._logprobs.append(logprob)
        self._holds.append(len(held) - 1)
        return len(positions) - 1

    def parent(self, node: int) -> int:
        """The node before; -1 before the root."""
        return self._parents[node]

    def token(self, node: int) -> int:
        """The token that the node stands for; -1 at the root."""
        return self._tokens[node]

    def position(self, node: int) -> int:
        """Tokens of the text up to this node and with it."""
        return self._positions[node]

    def logprob(self, node: int) -> float:
        """What the model thought of the token, in nats."""
        return self._logprobs[node]

    def holds(self, node: int) -> Clamps:
        """The units that were held when the node was made."""
        return self._held[self._holds[node]]

    def back(self, node: int, count: int) -> int:
        """The node that many tokens of text before, or the root."""
        goal = self._positions[node] - count
        if goal <= 0:
            return ROOT
        while self._positions[node] > goal:
            node = self._parents[node]
        return node

    def path(self, node: int, count: int | None = None, after: int = ROOT) -> list[int]:
        """The nodes of the text that ends here, in order; only the last `count`, or those after."""
        found: list[int] = []
        while node not in (ROOT, after) and (count is None or len(found) < count):
            if self._positions[node] == self._positions[self._parents[node]]:
                break  # what the text begins after
            found.append(node)
            node = self._parents[node]
        return found[::-1]

    def tokens(self, node: int, count: int | None = None) -> TokenIds:
        """Ids (N,) of the text that ends here, or of its last `count` tokens."""
        return np.array([self._tokens[one] for one in self.path(node, count)], np.int64)

    def state(self, node: int) -> Array:
        """The memory (L, S, H) after this node; not to be written to."""
        missing = []
        while node not in self._states:
            missing.append(node)
            node = self._parents[node]
        state = self._states[node]
        if missing:
            state = state.copy()
            for one in reversed(missing):
                self._stepper.step(self._tokens[one], state, state, self.holds(one))
        return state

    def is_before(self, first: int, node: int) -> bool:
        """Whether `first` lies on the way to `node`, or is it."""
        while node > first:
            node = self._parents[node]
        return node == first

    def move(self, node: int) -> None:
        """Let the current branch end here; the end that it had keeps a name of its own."""
        left = self.tip
        self.branches[self.branch] = node
        ends = list(self.branches.values())
        if left != ROOT and not any(self.is_before(left, one) for one in ends):
            stem = self.branch.split(".")[0]
            number = next(n for n in range(1, len(ends) + 2) if f"{stem}.{n}" not in self.branches)
            self.branches[f"{stem}.{number}"] = left

    def fork(self, name: str) -> None:
        """Begin a branch here, and go on in it.

        Raises:
            UsageError: the name is taken or cannot be one.
        """
        if name in self.branches:
            raise UsageError(f"branch '{name}': there is one already; /goto {name} goes there")
        check_branch_name(name)
        self.branches[name] = self.tip
        self.branch = name

    def switch(self, name: str) -> None:
        """Go on in another branch.

        Raises:
            UsageError: there is none of that name.
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

    def _thin(self) -> None:
        """Drop every other state but the newest: the older, the sparser, never the root's."""
        kept = sorted(self._states)
        old = kept[1 : len(kept) - len(kept) // _YOUNG]
        for node in old[::2]:
            del self._states[node]
