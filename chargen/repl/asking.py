"""Commands that explain: why a token, how a step, which units have names."""

from __future__ import annotations

import numpy as np

from chargen.errors import UsageError
from chargen.insight.causes import CAUSES, cause_view, find_cause
from chargen.insight.views import alone
from chargen.repl.command import Context, whole_number
from chargen.repl.stepping import StepView
from chargen.sampling.stepper import check_finite, log_softmax
from chargen.terminal.answers import why_lines

_WHY = 96
"""Tokens before the one asked about."""
_INSTEAD, _PASSAGES = 5, 3


def why(context: Context, argument: str) -> None:
    """What the last token, or the Nth, rests on, what was likely instead, and where it was so."""
    session, screen = context.session, context.screen
    tree = session.tree
    number, way = "", "omission"
    for word in argument.split():
        if word.isdecimal():
            number = word
        else:
            way = word
    cause = find_cause(way)
    position = whole_number(number, "why", session.position, max(1, session.position))
    node = tree.back(tree.tip, session.position - position)
    nodes = tree.path(node, _WHY)
    if len(nodes) < 2:
        raise UsageError("there is too little text before it; write something first")
    ids = np.array([tree.token(one) for one in nodes])
    before = tree.state(tree.parent(nodes[0]))
    values = cause.measure(session.model.stepper, ids, before)
    screen.picture(cause_view(cause, values, session.labels(nodes)))
    state = tree.state(tree.parent(node))
    logits = session.model.stepper.logits_of(ids[:-1], before)[0][-1]
    check_finite(logits)
    chances = np.exp(log_softmax(logits))
    tokenizer = session.model.tokenizer
    guesses = [
        (alone(tokenizer, one), float(chances[one])) for one in np.argsort(-chances)[:_INSTEAD]
    ]
    told = why_lines(
        session.labels([node])[0], float(np.exp(tree.logprob(node))), cause, guesses,
        session.passages(state, _PASSAGES), ascii=screen.palette.ascii,
    )  # fmt: skip
    for line in told:
        screen.line(line)


def why_words(context: Context) -> tuple[str, ...]:
    """What can stand after `/why`."""
    return tuple(CAUSES)


def step(context: Context, argument: str) -> None:
    """The last step, or the Nth, taken apart; with a terminal, to be walked through."""
    session, screen = context.session, context.screen
    tree = session.tree
    if not session.position:
        raise UsageError("there is no text yet; write something first")
    position = whole_number(argument, "step", session.position, session.position)
    nodes = tree.path(tree.tip)
    ids = np.array([tree.token(one) for one in nodes])
    view = StepView(session.model, ids, lambda place: tree.state(tree.parent(nodes[place])))
    view.at = position - 1
    if context.browse is not None:
        context.browse(view)
    screen.lines(view.lines(screen.palette, screen.width))


def units(context: Context, argument: str) -> None:
    """The units that have names."""
    session = context.session
    named = session.names()
    if not named:
        raise UsageError(
            f"no unit of this model has a name; chargen units {session.name} finds some"
        )
    config = session.model.config
    context.screen.table(
        ("name", "unit"), [(name, one.spelled(config)) for name, one in named.items()]
    )
