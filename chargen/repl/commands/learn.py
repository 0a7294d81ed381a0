"""Commands beside fine-tuning: two models from the same draws, and learning what is accepted."""

from __future__ import annotations

import numpy as np

from chargen.api import load
from chargen.errors import UsageError
from chargen.inference.engine import Stepper
from chargen.repl.commands import Context
from chargen.repl.session import Session
from chargen.repl.settings import change_sample


def ab(context: Context, argument: str) -> None:
    """Two models write on from the same text and the same draws, side by side."""
    session, screen = context.session, context.screen
    name = argument or str(session.model.card.get("base_path") or "")
    if not name:
        raise UsageError("ab: name the other model; this one was not fine-tuned from any")
    other = load(name)
    sample = change_sample(session.settings.sample, seed=session.seed)
    text = session.text()
    texts = [
        "".join(step.text for step in model.generate(text, **vars(sample)))
        for model in (session.model, other)
    ]
    same = next(
        (k for k, pair in enumerate(zip(*texts, strict=False)) if pair[0] != pair[1]),
        min(map(len, texts)),
    )
    label = (
        other.path.parent.name
        if other.path and other.path.name == "model.safetensors"
        else (other.path.stem if other.path else name)
    )
    if same:
        screen.line(f"both: {texts[0][:same]}", "dim")
    screen.line(f"they part after {same} of {len(texts[0])} characters:", "dim")
    screen.columns(texts[0][same:], texts[1][same:], (session.name, label))


def learn(context: Context, argument: str) -> None:
    """Learn from what is accepted, stop to, or forget what was learned."""
    session, screen = context.session, context.screen
    if argument == "on":
        session.learned = session.tree.tip
        session.learns = True
    elif argument == "off":
        session.learns = False
    elif argument == "forget":
        session.learner, session.lessons = None, 0
        session.swap(Stepper(session.model.config, session.model.file.weights))
    elif argument:
        raise UsageError(f"learn {argument}: must be on, off or forget")
    state = "on: text that you go on from is learned" if session.learns else "off"
    screen.line(f"learning is {state}; {session.lessons:,} tokens learned", "dim")


def accept(session: Session) -> None:
    """Before the text goes on: learn what was added since, where that is wanted."""
    if not session.learns:
        return
    tree = session.tree
    start = tree.common(session.learned, tree.tip)
    nodes = tree.path(tree.tip, after=start)
    session.learned = tree.tip
    if len(nodes) < 2:
        return
    if session.learner is None:
        from chargen.scoring import adapter

        session.learner = adapter(session.model)
        before = tree.path(start, 256)
        if before:
            session.learner.read(np.array([tree.token(one) for one in before]))
    session.learner.read(np.array([tree.token(one) for one in nodes]))
    session.lessons += len(nodes)
    session.swap(Stepper(session.model.config, session.learner.weights()))
