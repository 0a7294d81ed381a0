"""A session: a model, its tree of texts, the settings, what is held and what is watched.

Knows no screen and no keys; the commands change it, and stream.py writes with it.
Shape letters: T tokens, H hidden_size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chargen.api import Model, draw_seed, training_text
from chargen.errors import ModelFileError, UsageError
from chargen.inference.composer import Composer, Writing
from chargen.inference.engine import Array, Stepper
from chargen.inference.tree import ROOT, TextTree
from chargen.insight.trace import Trace, record
from chargen.insight.views import ViewOptions, labels_of
from chargen.insight.why import Passage, Passages, build_passages, quote
from chargen.model.runs import run_name
from chargen.model.unit_names import Unit, is_spelled, load_names, names_path, parse_unit
from chargen.repl.live import LiveHeat
from chargen.repl.settings import Settings, change_sample
from chargen.text.overlap import CopyIndex, CopyWatch, build_index
from chargen.text.tokenizer import Tokens, describe_unseen

if TYPE_CHECKING:
    from chargen.scoring import Learner

PIN_LIMIT = 1e6
"""The largest value that a unit can be held at."""
LONGEST_TRACE = 4000
"""Tokens of the text's end that a picture of the whole text shows at most."""


class Session:
    """Everything between two prompts.

    Args:
        model: to write with.
        seed: of the draws; None draws one.
    """

    def __init__(self, model: Model, seed: int | None = None) -> None:
        self.settings = Settings()
        self.seed = draw_seed() if seed is None else seed
        self.drawn = 0
        """How many continuations were drawn from this seed."""
        self.history: list[str] = []
        self.heat_on = False
        self.watched: list[Unit] = []
        self.pinned: dict[Unit, float] = {}
        self.starts: list[tuple[int, bool]] = []
        """Where texts were typed or written from, and whether written: what is taken back."""
        self.learner: Learner | None = None
        """What learns; its weights are those that write. Nothing that is saved changes."""
        self.model = model
        self.use(model)

    def use(self, model: Model) -> None:
        """Write with this model from here on, from no text."""
        if self.learner is not None:  # of the model that is left, nothing learned is kept
            self.model.stepper = Stepper(self.model.config, self.model.file.weights)
        self.model = model
        self.tree = TextTree(model.stepper)
        self.composer = Composer(model.stepper, model.tokenizer, self.tree)
        self.composer.on_step = self._stepped
        self.heat = LiveHeat(model.config)
        self.pinned, self.watched, self.starts = {}, [], []
        self.learner = None
        self.learns, self.learned, self.lessons = False, ROOT, 0
        self._copies: CopyWatch | None = None
        self._index: CopyIndex | str | None = None
        self._names: dict[str, Unit] | None = None
        self._passages: tuple[Tokens, Passages | None] | None = None

    def change_model(self, model: Model) -> None:
        """Write with another model, which reads every branch."""
        texts = {name: self.text(node=end) for name, end in self.tree.branches.items()}
        branch = self.tree.branch
        self.use(model)
        known: dict[tuple[int, int], int] = {}
        for name, text in texts.items():
            node = self.composer.start(ROOT, empty=False)
            ids = [int(one) for one in model.encode(text)]
            while ids and (node, ids[0]) in known:  # what another branch begins with as well
                node = known[node, ids.pop(0)]
            start, node = node, self.composer.read(node, ids)
            for one in self.tree.path(node, after=start):
                known[self.tree.parent(one), self.tree.token(one)] = one
            self.tree.branches[name] = node
        self.tree.branch = branch

    def swap(self, stepper: Stepper) -> None:
        """Write with other weights of the same shape; the memory so far stays as it is."""
        self.model.stepper = self.composer.stepper = stepper
        self.tree.use(stepper)

    @property
    def name(self) -> str:
        """What the model is called."""
        return "model" if self.model.path is None else run_name(self.model.path)

    @property
    def position(self) -> int:
        """Tokens of text up to here."""
        return self.tree.position(self.tree.tip)

    def text(self, count: int | None = None, node: int | None = None) -> str:
        """The text that ends at the tip or a node, or the last `count` tokens of it."""
        node = self.tree.tip if node is None else node
        return "".join(self.labels(self.tree.path(node, count)))

    def labels(self, nodes: list[int]) -> tuple[str, ...]:
        """The text of each node."""
        return labels_of(self.model.tokenizer, (self.tree.token(one) for one in nodes))

    def append(self, text: str) -> list[str]:
        """Read a text after the tip; lines that say which characters were never seen.

        Raises:
            UsageError: the policy is `error`, and there are such characters.
        """
        tokenizer, policy = self.model.tokenizer, self.settings.unknown
        ids = self.model.encode(text, policy)
        unseen = tokenizer.unseen(text)
        self.starts.append((self.tree.tip, False))
        self.tree.branches[self.tree.branch] = self.composer.read(self.tree.tip, map(int, ids))
        return list(describe_unseen(unseen, Counter(text), len(text), policy))

    def begin(self) -> Writing:
        """A new continuation after the tip."""
        self.starts.append((self.tree.tip, True))
        sample = change_sample(self.settings.sample, seed=self.seed)
        writing = self.composer.write(self.tree.tip, sample, self.drawn)
        self.drawn += 1
        return writing

    def last_start(self) -> tuple[int, bool] | None:
        """Where the last text of this branch that still stands was typed or written from."""
        tip = self.tree.tip
        while self.starts:
            start, written = self.starts[-1]
            if start != tip and self.tree.is_before(start, tip):
                return start, written
            self.starts.pop()
        return None

    def reseed(self, seed: int) -> None:
        """Draw from this seed from here on, from its beginning."""
        self.settings.sample = change_sample(self.settings.sample, seed=seed)
        self.seed, self.drawn = seed, 0

    def hold(self, unit: Unit, value: float | None) -> None:
        """Hold a unit at a value from the next step on; None lets it go."""
        if value is None:
            self.pinned.pop(unit, None)
        else:
            self.pinned[unit] = value
        self.composer.hold(self.pinned)

    def trace(self, count: int, node: int | None = None) -> tuple[Trace, ViewOptions]:
        """The last tokens of the text, as the engine computed them, and how to see them.

        Raises:
            UsageError: there is no text.
        """
        node = self.tree.tip if node is None else node
        nodes = self.tree.path(node, count)
        if not nodes:
            raise UsageError("there is no text yet; write something first")
        ids = np.array([self.tree.token(one) for one in nodes])
        before = self.tree.state(self.tree.parent(nodes[0]))
        holds = [self.tree.holds(one) for one in nodes]
        trace = record(self.model.stepper, ids, before, holds)
        options = ViewOptions(labels=self.labels(nodes), tokenizer=self.model.tokenizer)
        return trace, options

    def unit_values(self, unit: Unit, nodes: list[int]) -> Array:
        """One unit's values (T,) after each node."""
        state = self.tree.state
        values = [state(one)[unit.layer, unit.state, unit.index] for one in nodes]
        return np.array(values, np.float32)

    def surprise(self, nodes: list[int]) -> Array:
        """What each node cost, (T,) bits; NaN at the very beginning, which nothing predicted."""
        bits = [-self.tree.logprob(one) / np.log(2) for one in nodes]
        if nodes and self.tree.parent(nodes[0]) == ROOT:
            bits[0] = np.nan
        return np.array(bits, np.float32)

    def names(self) -> dict[str, Unit]:
        """The units that `chargen units` named.

        Raises:
            ModelFileError: the file of their names is damaged, or of other weights.
        """
        if self._names is None:
            file, path = self.model.file, self.model.path
            self._names = (
                {} if path is None else load_names(names_path(path), file.weights, file.config)
            )
        return self._names

    def unit(self, text: str) -> Unit:
        """The unit that a person wrote, by its number or by its name.

        Raises:
            UsageError: there is no such unit.
            ModelFileError: it is no number, and the file of names is of no use.
        """
        config = self.model.config
        return parse_unit(text, config, None if is_spelled(text) else self.names())

    def unit_name(self, unit: Unit) -> str:
        """How a unit is shown: with its name, where it has one."""
        spelled = unit.spelled(self.model.config)
        try:
            known = {one: name for name, one in reversed(self.names().items())}
        except ModelFileError:  # said when somebody asks for a name
            return spelled
        return f"{known[unit]} {spelled}" if unit in known else spelled

    def passages(self, state: Array, count: int) -> list[Passage]:
        """Places of the training text with the nearest states; none where it is not here."""
        if self._passages is None:  # looked for once: the whole text is checked when it is opened
            text = training_text(self.model)
            tokens = np.empty(0, np.uint8) if text is None else text.tokens
            index = None if text is None else build_passages(self.model.stepper, tokens)
            self._passages = tokens, index
        tokens, index = self._passages
        near = [] if index is None else index.nearest(state, count)
        return [quote(tokens, self.model.tokenizer, one, cosine) for one, cosine in near]

    def copies(self, note: Callable[[str], None] = lambda text: None) -> CopyWatch | None:
        """What finds copies from the training text; None where that text is not here, or unwanted.

        Args:
            note: is told, once, when the text is not here, or large.
        """
        if not self.settings.copies:
            return None
        if self._index is None:
            found = training_text(self.model)
            if found is None:
                self._index = "the training text is not on this machine: copies cannot be found"
                note(self._index)
            else:
                if len(found.tokens) > 50_000_000:
                    note("indexing the training text, once")
                self._index = build_index(found.tokens, self.model.tokenizer, found.path.parent)
                self._copies = CopyWatch(self._index)
        return self._copies

    @property
    def longest_copy(self) -> int:
        """Symbols of the longest copy from the training text so far."""
        return self._copies.longest if self._copies is not None else 0

    def file_name(self, text: str) -> Path:
        """A file that a person named.

        Raises:
            UsageError: no name, or a folder.
        """
        if not text:
            raise UsageError("name a file")
        path = Path(text).expanduser()
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; name a file")
        return path

    def _stepped(self, node: int) -> None:
        if self.heat_on:
            self.heat.stepped(node, self.model.stepper, self.tree.state(node))


def tips(tree: TextTree) -> Iterator[tuple[str, int]]:
    """Branches and their ends, the oldest end first."""
    yield from sorted(tree.branches.items(), key=lambda one: one[1])
