"""A regular expression as an automaton over characters.

Python's own parser reads the expression, and its matcher says which characters each of its sets
holds, so it means here what it means in `re`. Its parts become the states of a nondeterministic
automaton (Thompson, 1968). Which of these states a text has reached is found while it is written,
so an expression whose deterministic automaton would be huge costs no more than another.

Shape letters: A characters of the alphabet, R different sets of characters, S states.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from re import _compiler, _parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import UsageError

MAX_STATES = 50_000
SUPPORTED = (
    "literals, sets as [a-z], classes as \\w, the dot, groups, alternatives with | and "
    "repetitions with * + ? {2,5}"
)
_UNSUPPORTED = {
    "ASSERT": "looking ahead or behind",
    "ASSERT_NOT": "looking ahead or behind",
    "GROUPREF": "back references",
    "GROUPREF_EXISTS": "conditional groups",
    "POSSESSIVE_REPEAT": "possessive repetitions",
    "ATOMIC_GROUP": "atomic groups",
    "AT": "\\b, and anchors inside",
}
_STARTS, _ENDS = ("AT_BEGINNING", "AT_BEGINNING_STRING"), ("AT_END", "AT_END_STRING")
_ALL = "every character"

Members = npt.NDArray[np.bool_]


class Pattern:
    """The automaton of a regular expression, which a whole text has to match.

    State 0 is the start; `end` is the only state in which a text is complete.

    Args:
        source: the regular expression.
        option: how a person knows it, for messages.

    Raises:
        UsageError: it is no regular expression, has a part that is not supported, or is too large.
    """

    def __init__(self, source: str, option: str = "--match") -> None:
        self._name = f"{option} {source!r}"
        try:
            re.compile(source)
            parsed = _parser.parse(source)
        except (re.error, OverflowError, RecursionError) as error:
            reason = str(error) or "it is nested too deeply"
            raise UsageError(f"{self._name}: not a regular expression: {reason}") from error
        self.literals: set[str] = set()
        """The characters that are named one by one."""
        self._sets: dict[str, tuple[int, Any]] = {}
        self.free: list[list[int]] = []
        """Per state: the states that are reached without a character."""
        self.reads: list[tuple[int, int] | None] = []
        """Per state: a set of characters, and the state after one of them."""
        parts = list(parsed)
        if parts and str(parts[0][0]) == "AT" and str(parts[0][1]) in _STARTS:
            parts = parts[1:]
        if parts and str(parts[-1][0]) == "AT" and str(parts[-1][1]) in _ENDS:
            parts = parts[:-1]
        self.end = self._sequence(self._state(), parts, parsed.state.flags)

    def _state(self) -> int:
        if len(self.free) >= MAX_STATES:
            raise UsageError(
                f"{self._name}: it needs more than {MAX_STATES:,} states; shorten its repetitions"
            )
        self.free.append([])
        self.reads.append(None)
        return len(self.free) - 1

    def _sequence(self, state: int, parts: Iterable[tuple[Any, Any]], flags: int) -> int:
        for kind, value in parts:
            state = self._part(state, kind, value, flags)
        return state

    def _part(self, state: int, kind: Any, value: Any, flags: int) -> int:
        """Adds the states of one part after `state`; the state at its end."""
        name = str(kind)
        if name in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            return self._set(state, kind, value, flags)
        if name == "BRANCH":
            end = self._state()
            for parts in value[1]:
                first = self._state()
                self.free[state].append(first)
                self.free[self._sequence(first, parts, flags)].append(end)
            return end
        if name == "SUBPATTERN":
            _, added, removed, parts = value
            return self._sequence(state, parts, (flags | added) & ~removed)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, repeated = value
            return self._repeated(state, least, most, repeated, flags)
        raise UsageError(
            f"{self._name}: {_UNSUPPORTED.get(name, name)} cannot be followed while a text is "
            f"written; use {SUPPORTED}"
        )

    def _repeated(self, state: int, least: int, most: Any, parts: Any, flags: int) -> int:
        for _ in range(least):
            state = self._sequence(state, parts, flags)
        end = self._state()
        if most == _parser.MAXREPEAT:
            loop = self._state()
            self.free[state].append(loop)
            self.free[loop].append(end)
            first = self._state()
            self.free[loop].append(first)
            self.free[self._sequence(first, parts, flags)].append(loop)
            return end
        for _ in range(most - least):
            self.free[state].append(end)
            first = self._state()
            self.free[state].append(first)
            state = self._sequence(first, parts, flags)
        self.free[state].append(end)
        return end

    def _set(self, state: int, kind: Any, value: Any, flags: int) -> int:
        """Adds the reading of one character of a set; equal sets have one number."""
        if str(kind) == "LITERAL":
            self.literals.add(chr(value))
        everything = str(kind) == "ANY" and flags & re.DOTALL
        key = _ALL if everything else f"{kind} {value} {flags}"
        part = None
        if not everything:
            parser_state = _parser.State()
            parser_state.flags = flags
            character = _parser.SubPattern(parser_state, [(kind, value)])
            # Repeated, it finds stretches of an alphabet, which are fewer than characters.
            repeated = (_parser.MAX_REPEAT, (1, _parser.MAXREPEAT, character))
            part = _parser.SubPattern(parser_state, [repeated])
        number, _ = self._sets.setdefault(key, (len(self._sets), part))
        after = self._state()
        self.reads[state] = number, after
        return after

    def members(self, alphabet: str) -> Members:
        """Which characters each set holds: (R, A)."""
        members = np.ones((len(self._sets), len(alphabet)), bool)
        for number, part in self._sets.values():
            if part is not None:
                members[number] = False
                for run in _compiler.compile(part).finditer(alphabet):
                    members[number, run.start() : run.end()] = True
        return members

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """These states and all that are reached from them without a character.

        Those that neither read a character nor end the text are left out.
        """
        seen = set(states)
        waiting = list(seen)
        while waiting:
            for state in self.free[waiting.pop()]:
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
        return frozenset(s for s in seen if self.reads[s] is not None or s == self.end)

    def costs(self, prices: Sequence[float]) -> npt.NDArray[np.float64]:
        """The least that the rest of a complete text costs from each state (S,); inf: impossible.

        Args:
            prices: of one character of each set (R,).
        """
        before: list[list[tuple[int, float]]] = [[] for _ in self.free]
        for state, following in enumerate(self.free):
            for after in following:
                before[after].append((state, 0.0))
        for state, reading in enumerate(self.reads):
            if reading is not None:
                before[reading[1]].append((state, prices[reading[0]]))
        costs = np.full(len(self.free), np.inf)
        costs[self.end] = 0.0
        queue = [(0.0, self.end)]
        while queue:
            cost, state = heapq.heappop(queue)
            if cost > costs[state]:
                continue
            for earlier, more in before[state]:
                if cost + more < costs[earlier]:
                    costs[earlier] = cost + more
                    heapq.heappush(queue, (cost + more, earlier))
        return costs
