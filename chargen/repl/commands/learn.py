"""The commands about learning: what did the model learn, from which text, and can it learn more?

`/source` finds the longest copy of this text in the training text. `/ab` writes with two models
from the same random draws. `/learn` trains the model on the text that the person continues; it
changes the weights in memory only, never a file.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from chargen.api import Model, load
from chargen.errors import ChargenError, UsageError
from chargen.inference.engine import Stepper
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.model.runs import CHECKPOINTS, named_model, run_name
from chargen.own_corpus import place_of
from chargen.repl.commands import Context
from chargen.repl.session import Session
from chargen.repl.settings import change_sample
from chargen.terminal.safetext import safe, safe_line
from chargen.text.overlap import MIN_COPY_SYMBOLS, CopyWatch, lines_before
from chargen.text.unseen import unseen_lines

_WARM_UP_TOKENS = 256
"""Tokens before the first learned text that the learner reads as well, to fill its memory."""
_PLACE_CONTEXT_SYMBOLS = 1000
"""Symbols around a copy that tell equal passages apart."""
_SOURCE_CONTEXT_CHARACTERS = 60
"""Characters that `/source` shows before and after a copy."""


def source(context: Context, argument: str) -> None:
    """Shows where the longest copy of this text stands in the training text."""
    session, screen = context.session, context.screen
    watching = session.copies(context.note_once)
    if watching is None:
        raise UsageError(
            "source: the training text is not on this machine"
            if session.settings.copies
            else "source: the search for copies is off; /set copies on starts it"
        )
    watch, tree = CopyWatch(watching.index), session.tree
    watch.feed([tree.token(node) for node in tree.path(tree.tip)])
    if not watch.longest:
        screen.line(
            f"this text contains no copy of more than {MIN_COPY_SYMBOLS - 1} characters", "dim"
        )
        return
    index, end = watch.index, watch.position
    start = end - watch.longest
    symbols = index.symbols
    copied = index.spell(symbols[start:end])
    before = index.spell(symbols[max(0, start - _PLACE_CONTEXT_SYMBOLS) : start])
    after = index.spell(symbols[end : end + _PLACE_CONTEXT_SYMBOLS])
    place = place_of(session.model, copied, before=before, after=after)
    corpora = session.model.card.get("corpus")
    corpora = corpora if isinstance(corpora, list) else []
    names = [str(corpus.get("name")) for corpus in corpora if isinstance(corpus, dict)]
    if place is None:  # the file has changed since, or the text came from elsewhere
        line = 1 + lines_before(symbols, start, index.newline)
        where = names[0] if len(names) == 1 else f"the training text ({len(names)} files)"
        place = f"{where}, line {line:,} of what was read"
    screen.line(f"copied: {watch.longest} characters of {safe_line(place)}:", "dim")
    screen.write(safe(index.spell(symbols[max(0, start - _SOURCE_CONTEXT_CHARACTERS) : start])))
    screen.out.write(screen.styled(safe(copied), "underlined"))
    screen.write(safe(index.spell(symbols[end : end + _SOURCE_CONTEXT_CHARACTERS]) + "\n"))


def ab(context: Context, argument: str) -> None:
    """Shows how two models continue the same text with the same random draws, side by side."""
    session, screen = context.session, context.screen
    other = load(argument) if argument else _load_base(session)
    sample = change_sample(session.settings.sample, seed=session.seed)
    text = session.text()
    first, second = (_continuation(model, text, sample) for model in (session.model, other))
    shared = next(
        (
            index
            for index, (left, right) in enumerate(zip(first, second, strict=False))
            if left != right
        ),
        min(len(first), len(second)),
    )
    label = argument if other.path is None else run_name(other.path)
    for line in unseen_lines(other.tokenizer, [text]):
        screen.line(f"{label}: {line}", "dim")
    if shared:
        screen.line(f"both begin with: {first[:shared]}", "dim")
    if shared:
        screen.line(f"the first {shared} of {len(first)} characters agree; then:", "dim")
    else:
        screen.line("the texts differ from the first character on:", "dim")
    screen.columns(first[shared:], second[shared:], (session.name, label))


def _continuation(model: Model, text: str, sample: SampleConfig) -> str:
    ids = model.tokenizer.encode(text)
    return "".join(step.text for step in generate(model.stepper, model.tokenizer, ids, sample))


def _load_base(session: Session) -> Model:
    """Loads the model that this one was fine-tuned from, found by its name.

    Raises:
        UsageError: it has no base, or its base is not here.
    """
    base = session.model.card.get("base")
    if not isinstance(base, dict):
        raise UsageError("ab: name the other model; this model has no base (it is not fine-tuned)")
    name = named_model(str(base.get("name")))
    for place in session.places_of(name):
        with suppress(ChargenError):
            return load(place)
    raise UsageError(f"ab: the base, {name}, is no run in {CHECKPOINTS}/; name it: /ab MODEL")


def learn(context: Context, argument: str) -> None:
    """Starts or stops learning, or forgets what was learned; without an argument, shows which."""
    session, screen = context.session, context.screen
    if argument == "on":
        session.learned_tip = session.tree.tip
        session.learning = True
    elif argument == "off":
        session.learning = False
    elif argument == "forget":
        session.learner, session.learned_tokens = None, 0
        session.swap(session.model.fresh_stepper())
    elif argument:
        raise UsageError(f"learn {argument}: must be on, off or forget")
    state = "on: the model learns a text once you continue it" if session.learning else "off"
    screen.line(f"learning is {state}; {session.learned_tokens:,} tokens learned", "dim")


def learn_accepted(session: Session) -> None:
    """Learns the text added since the last call, when `/learn` is on.

    Called before the text goes on: the person has accepted a text that they continue.
    """
    if not session.learning:
        return
    tree = session.tree
    start = tree.common(session.learned_tip, tree.tip)
    nodes = tree.path(tree.tip, after=start)
    session.learned_tip = tree.tip
    if len(nodes) < 2:
        return
    if session.learner is None:
        from chargen.scoring import online_learner

        session.learner = online_learner(session.model.stepper)
        before = tree.path(start, _WARM_UP_TOKENS)
        if before:
            session.learner.read(np.array([tree.token(node) for node in before]))
    session.learner.read(np.array([tree.token(node) for node in nodes]))
    session.learned_tokens += len(nodes)
    session.swap(Stepper(session.model.config, session.learner.weights()))
