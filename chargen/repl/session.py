"""What lasts from one prompt to the next? The model, its tree of texts, the settings.

The commands change a `Session`, and stream.py writes with it. This file knows no screen and no
keys. Shape letters: T tokens, L layers, S states, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chargen.api import Model, draw_seed
from chargen.errors import ModelFileError, UsageError
from chargen.inference.batched_read import ProgressCallback, ignore_progress
from chargen.inference.composer import Composer, Writing
from chargen.inference.engine import Array, Stepper
from chargen.inference.tree import ROOT, TextTree
from chargen.insight.trace import Trace, record
from chargen.insight.views import ViewOptions, token_labels
from chargen.insight.why import Passage, Passages, build_passages, quote_passage
from chargen.model.bases import base_path, is_base
from chargen.model.runs import MODEL, list_runs, run_name
from chargen.model.unit_names import Unit, is_unit_spelling, load_names, names_path, parse_unit
from chargen.own_corpus import place_of, training_text
from chargen.repl.live import LiveHeat
from chargen.repl.settings import Settings, change_sample
from chargen.text.overlap import CopyIndex, CopyWatch, build_index
from chargen.text.tokenizer import Tokens
from chargen.text.unseen import Unseen, unseen_lines
from chargen.trained_text import Recalled, recalled

if TYPE_CHECKING:
    from chargen.scoring import Learner

MAX_CLAMP_VALUE = 1e6
"""Units can be clamped to values from minus this to this."""
MAX_SHOWN_TOKENS = 4000
"""A picture of the whole text shows at most this many of its last tokens."""
NO_TEXT = "there is no text yet; write something first"
"""The error of commands that need a text."""
_LARGE_TEXT_TOKENS = 50_000_000
"""A larger training text takes long to index, so a note says that."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Who speaks in a chat."""

    me: str
    """The person's name in it."""
    other: str
    """Who answers; empty: whoever the model chooses."""


class Session:
    """A model, its texts and the settings, from the first prompt to the last.

    Args:
        model: the model that writes.
        seed: the seed of the random draws; None chooses one.
    """

    def __init__(self, model: Model, seed: int | None = None) -> None:
        self.settings = Settings()
        self.seed = draw_seed() if seed is None else seed
        self.drawn = 0
        """How many continuations were begun with this seed."""
        self.history: list[str] = []
        """The lines that the person typed."""
        self.heat_on = False
        """Whether the heatmap is shown while the model writes."""
        self.watched: list[Unit] = []
        self.pinned: dict[Unit, float] = {}
        """The clamped units and their values."""
        self.starts: list[tuple[int, bool]] = []
        """The nodes after which texts were added, and whether the model wrote them: for undo."""
        self.learner: Learner | None = None
        """Trains a copy of the weights for `/learn`; the model file does not change."""
        self.chat: Chat | None = None
        """The chat in which what is typed is a turn; None outside of one."""
        self.kept_as: Path | None = None
        """The file in which this session keeps itself; see kept.py."""
        self.opened: dict[str, Path] = {}
        """Where the models that were opened in this session lie, by their names."""
        self.model = model
        self.use(model)

    def use(self, model: Model) -> None:
        """Starts again with this model and an empty text; keeps settings, seed and history."""
        if self.learner is not None:  # drop what the previous model learned
            self.model.stepper = self.model.fresh_stepper()
        self.model = model
        if model.path is not None:
            self.opened[self.name] = model.path.absolute()
        self.tree = TextTree(model.stepper)
        self.composer = Composer(model.stepper, model.tokenizer, self.tree)
        self.composer.on_step = self._update_heat
        self.composer.remember = lambda: self.model.memory_reader(self.settings.memory)
        self.heat = LiveHeat(model.config)
        self.pinned, self.watched, self.starts = {}, [], []
        self.learner = None
        self.learning = False
        self.learned_tip = ROOT
        """The end of the text up to which `/learn` has learned."""
        self.learned_tokens = 0
        self._copies: CopyWatch | None = None
        self._index: CopyIndex | str | None = None
        self._names: dict[str, Unit] | None = None
        self._passages: tuple[Tokens, Passages | None] | None = None

    def change_model(self, model: Model) -> list[str]:
        """Replaces the model; the new one reads the text of every branch.

        Returns:
            Lines that name the characters that the new model has never seen.
        """
        texts = {name: self.text(node=end) for name, end in self.tree.branches.items()}
        branch = self.tree.branch
        self.use(model)
        unseen = Unseen(model.tokenizer)
        children: dict[tuple[int, int], int] = {}
        for name, text in texts.items():
            node = self.composer.start(ROOT, empty=False)
            unseen.feed(text)
            ids = [int(token) for token in model.tokenizer.encode(text)]
            while ids and (node, ids[0]) in children:  # read already, for another branch
                node = children[node, ids.pop(0)]
            start, node = node, self.composer.read(node, ids)
            for child in self.tree.path(node, after=start):
                children[self.tree.parent(child), self.tree.token(child)] = child
            self.tree.branches[name] = node
        self.tree.branch = branch
        return unseen.lines()

    def swap(self, stepper: Stepper) -> None:
        """Replaces the weights by others of the same shape; keeps the texts and their states."""
        self.model.stepper = self.composer.stepper = stepper
        self.tree.use(stepper)

    @property
    def name(self) -> str:
        """The name of the model: that of its run, or else of its file."""
        return "model" if self.model.path is None else run_name(self.model.path)

    def places_of(self, name: str) -> list[Path]:
        """Returns where a model may lie that a file names: one opened here, or a run of that name.

        A file may come from anybody, so it can name a model but never a place.
        """
        places = [self.opened[name]] if name in self.opened else []
        places += [run / MODEL for run in list_runs() if run.name == name]
        boxed = base_path(name)
        return places if boxed is None else [*places, boxed]

    @property
    def position(self) -> int:
        """The length of the text in tokens."""
        return self.tree.position(self.tree.tip)

    def text(self, count: int | None = None, node: int | None = None) -> str:
        """Returns the text up to a node, or its last `count` tokens.

        Args:
            count: how many tokens; None is all.
            node: the end of the text; None is the end of the present branch.
        """
        node = self.tree.tip if node is None else node
        return "".join(self.labels(self.tree.path(node, count)))

    def labels(self, nodes: list[int]) -> tuple[str, ...]:
        """Returns the text of each node's token."""
        return token_labels(self.model.tokenizer, (self.tree.token(node) for node in nodes))

    def append(self, text: str, progress: ProgressCallback = ignore_progress) -> list[str]:
        """Reads a text at the end of the branch.

        Args:
            text: what to read.
            progress: called with the share that is read.

        Returns:
            Lines that name the characters that the model has never seen.

        Raises:
            UsageError: there are such characters, and the setting `unknown` is `error`.
        """
        tokenizer, policy = self.model.tokenizer, self.settings.unknown
        ids = tokenizer.encode(text, policy)
        self.starts.append((self.tree.tip, False))
        tip = self.composer.read(self.tree.tip, ids.tolist(), progress=progress)
        self.tree.branches[self.tree.branch] = tip
        return unseen_lines(tokenizer, [text], policy)

    def begin(self) -> Writing:
        """Begins a continuation at the end of the branch, with the next draws of the seed."""
        self.starts.append((self.tree.tip, True))
        sample = change_sample(self.settings.sample, seed=self.seed)
        writing = self.composer.write(self.tree.tip, sample, self.drawn)
        self.drawn += 1
        return writing

    def last_start(self) -> tuple[int, bool] | None:
        """Returns where the last text of this branch was added, and whether the model wrote it.

        None when no added text is left. Forgets the texts that are no longer in the branch.
        """
        tip = self.tree.tip
        while self.starts:
            start, written = self.starts[-1]
            if start != tip and self.tree.is_before(start, tip):
                return start, written
            self.starts.pop()
        return None

    def reseed(self, seed: int) -> None:
        """Sets the seed; the next continuation uses its first draws."""
        self.settings.sample = change_sample(self.settings.sample, seed=seed)
        self.seed, self.drawn = seed, 0

    def clamp(self, unit: Unit, value: float | None) -> None:
        """Clamps a unit to a value from the next step on; None releases the unit."""
        if value is None:
            self.pinned.pop(unit, None)
        else:
            self.pinned[unit] = value
        self.composer.clamp(self.pinned)

    def spell_clamped(self) -> str:
        """Lists the clamped units and their values: `L1:4 = 0.9, L1:5.cell = -1`."""
        return ", ".join(f"{self.unit_name(unit)} = {value:g}" for unit, value in
                         self.pinned.items())  # fmt: skip

    def trace(self, count: int, node: int | None = None) -> tuple[Trace, ViewOptions]:
        """Computes states and gates of the last `count` tokens again, and labels them for a view.

        Args:
            count: how many tokens at most.
            node: the end of the text; None is the end of the present branch.

        Raises:
            UsageError: there is no text.
        """
        node = self.tree.tip if node is None else node
        nodes = self.tree.path(node, count)
        if not nodes:
            raise UsageError(NO_TEXT)
        ids = np.array([self.tree.token(node) for node in nodes])
        before = self.tree.state(self.tree.parent(nodes[0]))
        clamps = [self.tree.clamps(node) for node in nodes]
        trace = record(self.model.stepper, ids, before, clamps)
        options = ViewOptions(labels=self.labels(nodes), tokenizer=self.model.tokenizer)
        return trace, options

    def unit_values(self, unit: Unit, nodes: list[int]) -> Array:
        """Returns the values (T,) of a unit after each node."""
        state = self.tree.state
        values = [state(node)[unit.layer, unit.state, unit.index] for node in nodes]
        return np.array(values, np.float32)

    def surprise(self, nodes: list[int]) -> Array:
        """Returns the surprise (T,) of each node's token in bits: -log2 of its probability.

        The first token of a text has NaN, because nothing predicted it.
        """
        bits = [-self.tree.logprob(node) / np.log(2) for node in nodes]
        if nodes and self.tree.parent(nodes[0]) == ROOT:
            bits[0] = np.nan
        return np.array(bits, np.float32)

    def names(self) -> dict[str, Unit]:
        """Returns the units that `chargen units` named.

        Raises:
            ModelFileError: the file with the names is damaged, or belongs to other weights.
        """
        if self._names is None:
            file, path = self.model.file, self.model.path
            self._names = (
                {} if path is None else load_names(names_path(path), file.weights, file.config)
            )
        return self._names

    def unit(self, text: str) -> Unit:
        """Returns the unit that a person wrote as a number (`L1:41`) or a name.

        Raises:
            UsageError: there is no such unit.
            ModelFileError: the text is a name, and the file with the names cannot be used.
        """
        config = self.model.config
        return parse_unit(text, config, None if is_unit_spelling(text) else self.names())

    def unit_name(self, unit: Unit) -> str:
        """Returns how a unit is shown: `L1:41`, or `in-quotes L1:41` when it has a name."""
        spelled = unit.spelled(self.model.config)
        try:
            names = {named: name for name, named in reversed(self.names().items())}
        except ModelFileError:  # reported when the person asks for a name
            return spelled
        return f"{names[unit]} {spelled}" if unit in names else spelled

    def passages(self, state: Array, count: int) -> list[Passage]:
        """Returns passages of the training text after which the state was most similar.

        Args:
            state: the state (L, S, H) to compare with.
            count: how many passages.

        Returns:
            The passages, the most similar first; none when the training text is not here.
        """
        if self._passages is None:  # opened once, because opening checks the whole text
            text = training_text(self.model)
            tokens = np.empty(0, np.uint8) if text is None else text.tokens
            index = None if text is None else build_passages(self.model.stepper, tokens)
            self._passages = tokens, index
        tokens, index = self._passages
        nearest = [] if index is None else index.nearest(state, count)
        quoted = [
            quote_passage(tokens, self.model.tokenizer, position, cosine)
            for position, cosine in nearest
        ]
        return [
            replace(passage, place=place_of(self.model, passage.around, **passage.context))
            for passage in quoted
        ]

    def recalled(self, node: int, network: Array) -> Recalled | None:
        """What the counts beside the network say of a token; None without counts.

        Args:
            node: the token's.
            network: the network's log-likelihoods (V,) before it.
        """
        if self.model.memory is None:
            return None
        longest = self.model.memory.counts.longest
        before = self.tree.tokens(self.tree.parent(node), longest).tolist()
        text = training_text(self.model)
        return recalled(self.model, before, self.tree.token(node), network, text)

    def copies(self, note: Callable[[str], None] = lambda text: None) -> CopyWatch | None:
        """Returns what finds copies from the training text; indexes that text at the first call.

        Args:
            note: receives a line when the training text is missing or large; called once.

        Returns:
            None when the training text is not here, or the setting `copies` is off.
        """
        if not self.settings.copies:
            return None
        if self._index is None:
            store = training_text(self.model)
            if store is None:
                self._index = "the training text is not on this machine: copies cannot be found"
                # That of a model in the box is on no machine but its maker's.
                if self.model.path is None or not is_base(self.model.path):
                    note(self._index)
            else:
                if len(store.tokens) > _LARGE_TEXT_TOKENS:
                    note("indexing the training text; this happens only once")
                self._index = build_index(store.tokens, self.model.tokenizer, store.path.parent)
                self._copies = CopyWatch(self._index)
        return self._copies

    @property
    def longest_copy(self) -> int:
        """The length of the longest copy from the training text so far, in symbols."""
        return self._copies.longest if self._copies is not None else 0

    def _update_heat(self, node: int) -> None:
        if self.heat_on:
            self.heat.add_step(node, self.model.stepper, self.tree.state(node))


def branches_by_age(tree: TextTree) -> list[tuple[str, int]]:
    """Returns the branches and their ends, the oldest end first."""
    return sorted(tree.branches.items(), key=lambda branch: branch[1])
