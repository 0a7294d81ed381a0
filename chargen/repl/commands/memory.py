"""The command /memory: what do the counts beside the network know, and what do they decide here?"""

from __future__ import annotations

import numpy as np

from chargen.errors import UsageError
from chargen.inference.count_steps import CountSteps
from chargen.inference.engine import log_softmax
from chargen.inference.mixer import features_of
from chargen.repl.commands import Context
from chargen.repl.commands.inspect import memory_grid
from chargen.terminal.heatmap import one_line
from chargen.terminal.progress import plural

_SHOWN = 5
"""Tokens that may follow, in each row."""


def memory(context: Context, argument: str) -> None:
    """Shows the size of the memory, its figures, and what follows the end of the text by counts.

    With the word `text`, the text is coloured by the length of the context that decided.
    """
    if argument == "text":
        context.screen.picture(memory_grid(context))
        return
    if argument:
        raise UsageError(f"memory {argument}: write /memory, or /memory text")
    session, screen = context.session, context.screen
    model = session.model
    if model.memory is None:
        raise UsageError(
            model.memory_problem or "memory: this model has none; train it again to count its text"
        )
    counts, card = model.memory.counts, model.memory.card
    screen.line(
        f"{counts.bytes / 1e6:.1f} MB of counts, of up to {plural(counts.longest, 'token')}"
    )
    static = card.get("static")
    if isinstance(static, dict):
        figures = {name: f"{static[name]:.4f}" for name in ("network", "counts", "together")}
        shown = ", ".join(f"{name} {figure}" for name, figure in figures.items())
        screen.line(f"nats per token on text that nothing was fitted on: {shown}", "dim")
    tip = session.composer.start(session.tree.tip, empty=True)
    steps = CountSteps(counts, grows=session.settings.memory == "session")
    steps.read(session.tree.tokens(tip, counts.longest))
    found = steps.predict()
    network = log_softmax(session.composer.logits(tip)[None])
    gate = model.memory.gate(grows=session.settings.memory == "session")
    longest = int(np.flatnonzero(found.seen[0]).max(initial=0))
    here = session.text(longest) if longest else ""
    ascii = screen.palette.ascii
    screen.line(
        f"the last {plural(longest, 'token')} ({one_line(here, ascii=ascii)}) stood in the text"
        if longest
        else "no context of this end stood in the text"
    )
    mixed = gate.mix(network, found)
    columns = (np.exp(network)[0], found.likelihoods[0], np.exp(mixed)[0])
    rows = [
        (
            name,
            "  ".join(
                _follower(context, token, column) for token in column.argsort()[::-1][:_SHOWN]
            ),
        )
        for name, column in zip(("network", "counts", "together"), columns, strict=True)
    ]
    screen.table(("", "what may follow"), rows)
    powers = gate.powers(features_of(network, found))[0]
    screen.line(f"weights here: network {powers[0]:.2f}, counts {powers[1]:.2f}", "dim")


def _follower(context: Context, token: int, likelihoods: np.ndarray) -> str:
    from chargen.repl.commands.write import token_label

    return f"{token_label(context, int(token))} {likelihoods[token]:.0%}"
