"""The commands that look inside the model: what do its units do, and why did it write this?

Most commands find nodes of the text, build a view of them (a `Grid`) and give it to the screen.
`/pin` and `/ablate` clamp units. How a view is computed is in chargen/insight, how it is drawn in
chargen/terminal.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chargen.errors import ModelFileError, UsageError
from chargen.inference.engine import check_finite, log_softmax
from chargen.insight.counted import deciding_lengths, memory_view
from chargen.insight.views import (
    ORDERS,
    VIEWS,
    Grid,
    build_view,
    find_view,
    surprise_view,
    token_label,
    unit_view,
    views_for,
)
from chargen.insight.why import CAUSES, cause_view, find_cause
from chargen.model.unit_names import Unit, describe_layers
from chargen.repl.commands import Context, whole_number
from chargen.repl.live import HEAT_ROWS
from chargen.repl.session import MAX_CLAMP_VALUE, MAX_SHOWN_TOKENS, NO_TEXT
from chargen.terminal.charts import spark_line
from chargen.terminal.step_display import StepView, memory_lines, why_lines

_ROWS_BESIDE_HEAT = 9
"""Rows of a screen that a heatmap leaves to the text and the prompt."""
_MAX_ACTIVITY_TOKENS = 200
"""The most active unit is that of these last tokens."""
_EXPORT_TOKENS = 200
_WHY_TOKENS = 96
"""Tokens of the text that `/why` colours at most."""
_WHY_GUESSES, _WHY_PASSAGES = 5, 3
_TEXT_COMMANDS = {"unit", "gates", "predict", "surprise"}
"""Views that have a command of their own."""


def heat(context: Context, argument: str) -> None:
    """Shows the heatmap of the text; `on` shows it also while the model writes."""
    session, screen = context.session, context.screen
    config = session.model.config
    view, layer, order = session.heat.view, session.heat.layer, session.heat.order
    live = None
    for word in argument.split():
        if word in ("on", "off"):
            live = word == "on"
        elif word in ORDERS:
            order = word
        elif word[:1] in "Ll" and word[1:].isdecimal():
            layer = int(word[1:]) - 1
        else:
            find_view(word, config.cell_row)
            view = word
    if not VIEWS[view].per_unit:
        command = f"/{view}" if view in _TEXT_COMMANDS else f"chargen heatmap --view {view}"
        raise UsageError(f"heat {view}: this view is not a map of units; {command} shows it")
    if not 0 <= layer < config.num_layers:
        raise UsageError(f"heat L{layer + 1}: {describe_layers(config.num_layers)}")
    session.heat.set_view(view=view, layer=layer, order=order)
    if live is not None:
        session.heat_on = live
        screen.line(f"heat {'on' if live else 'off'}", "dim")
    if live is not False and session.position:
        draw_heat(context)
    elif live is None:
        raise UsageError(NO_TEXT)


def heat_words(context: Context) -> tuple[str, ...]:
    """Returns the words that `/heat` takes."""
    config = context.session.model.config
    maps = [name for name in views_for(config.cell_row) if VIEWS[name].per_unit]
    layers = [f"L{number}" for number in range(1, config.num_layers + 1)]
    return ("on", "off", *maps, *layers, *ORDERS)


def draw_heat(context: Context) -> None:
    """Draws the heatmap of the text's end; draws nothing for an empty text."""
    session, screen = context.session, context.screen
    if not session.position:
        return
    units_per_row = 2 if screen.palette.paints and not screen.palette.ascii else 1
    rows = max(2, min(HEAT_ROWS, screen.size().lines - _ROWS_BESIDE_HEAT)) * units_per_row
    screen.picture(_end_view(context, session.heat.view, screen.width, rows))


def unit(context: Context, argument: str) -> None:
    """Shows the text, coloured by one unit."""
    context.screen.picture(_unit_grid(context, argument))


def gates(context: Context, argument: str) -> None:
    """Shows the gates of the last step."""
    context.screen.picture(_end_view(context, "gates", 1))


def predict(context: Context, argument: str) -> None:
    """Shows the likeliest next tokens under each token."""
    context.screen.picture(_end_view(context, "predict", context.screen.width))


def surprise(context: Context, argument: str) -> None:
    """Shows the text, coloured by the surprise of each token."""
    context.screen.picture(view_grid(context, "surprise"))


def view_grid(context: Context, name: str) -> Grid:
    """Builds the view that `/export` names: a view, `unit`, or a unit such as `L1:41`.

    Raises:
        UsageError: there is no such view, or no text.
    """
    if name == "unit" or name.upper().startswith("L"):
        return _unit_grid(context, "" if name == "unit" else name)
    if name == "surprise":
        nodes = _text_nodes(context)
        return surprise_view(context.session.surprise(nodes), context.session.labels(nodes))
    if name == "memory":
        return memory_grid(context)
    return _end_view(context, name, _EXPORT_TOKENS)


def memory_grid(context: Context) -> Grid:
    """The text, coloured by the length of the context whose counts decided each token.

    Raises:
        UsageError: the model has no memory, or there is no text.
    """
    session = context.session
    if session.model.memory is None:
        raise UsageError("memory: this model has none; train it again to count its text")
    nodes = _text_nodes(context)
    counts = session.model.memory.counts
    before = session.tree.tokens(session.tree.parent(nodes[0]), counts.longest).tolist()
    lengths = deciding_lengths(counts, [session.tree.token(node) for node in nodes], before)
    return memory_view(lengths, session.labels(nodes), counts.longest)


def _end_view(context: Context, view: str, tokens: int, rows: int | None = None) -> Grid:
    """Builds a view of the last tokens; `rows` limits the units, None keeps the view's default.

    Raises:
        UsageError: the model has no such view, or there is no text.
    """
    session = context.session
    find_view(view, session.model.config.cell_row)
    trace, options = session.trace(tokens)
    options = replace(options, layer=session.heat.layer, order=session.heat.order)
    return build_view(view, trace, options if rows is None else replace(options, rows=rows))


def _unit_grid(context: Context, name: str) -> Grid:
    """Builds the text coloured by a unit; without a name, by the most active unit."""
    session = context.session
    nodes = _text_nodes(context)
    if name:
        unit = session.unit(name)
    else:
        recent = nodes[-_MAX_ACTIVITY_TOKENS:]
        states = np.array([session.tree.state(node)[:, 0] for node in recent])
        unit = Unit(*divmod(int(states.std(0).argmax()), session.model.config.hidden_size))
    return unit_view(
        session.unit_values(unit, nodes),
        session.labels(nodes),
        session.unit_name(unit),
        relu=session.model.config.cell == "rnn-relu",
    )


def _text_nodes(context: Context) -> list[int]:
    """Returns the nodes that pictures of the whole text show; tells how many are left out.

    Raises:
        UsageError: there is no text.
    """
    session = context.session
    nodes = session.tree.path(session.tree.tip, MAX_SHOWN_TOKENS)
    if not nodes:
        raise UsageError(NO_TEXT)
    if session.position > len(nodes):
        context.screen.line(f"the last {len(nodes):,} of {session.position:,} tokens:", "dim")
    return nodes


def watch(context: Context, argument: str) -> None:
    """Plots units now and while the model writes; without an argument, those watched already."""
    session, screen = context.session, context.screen
    if argument == "off":
        session.watched = []
    elif argument:
        session.watched = [session.unit(word) for word in argument.split()]
    if not session.watched:
        screen.line("no unit is watched; /watch L1:41 watches one", "dim")
    nodes = session.tree.path(session.tree.tip, screen.width)
    for unit in session.watched:
        name, values = session.unit_name(unit), session.unit_values(unit, nodes)
        screen.lines([spark_line(name, values, screen.width, ascii=screen.palette.ascii)])


def units(context: Context, argument: str) -> None:
    """Lists the units that have names."""
    session = context.session
    names = session.names()
    if not names:
        raise UsageError(
            f"no unit of this model has a name; `chargen units {session.name}` names some"
        )
    config = session.model.config
    rows = [(name, unit.spelled(config)) for name, unit in names.items()]
    context.screen.table(("name", "unit"), rows)


def unit_words(context: Context) -> tuple[str, ...]:
    """Returns the names of units, for completion."""
    try:
        return tuple(context.session.names())
    except ModelFileError:
        return ()


def pin(context: Context, argument: str) -> None:
    """Clamps units to values or releases them; without an argument, lists the clamped units."""
    session = context.session
    if argument == "off":
        values: list[tuple[Unit, float | None]] = [(unit, None) for unit in session.pinned]
    else:
        values = [_parse_pin(context, word) for word in argument.split()]
    for unit, value in values:
        session.clamp(unit, value)
    _show_clamped(context)


def _parse_pin(context: Context, word: str) -> tuple[Unit, float | None]:
    """Reads `L1:41=0.9`, `L1:41=off` (None) or `L1:41` (the value that the unit has now).

    Raises:
        UsageError: there is no such unit, or the value is not a number in range.
    """
    session = context.session
    name, _, text = word.partition("=")
    unit = session.unit(name)
    if text == "off":
        return unit, None
    if not text:
        state = session.tree.state(session.tree.tip)
        return unit, float(state[unit.layer, unit.state, unit.index])
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -MAX_CLAMP_VALUE <= value <= MAX_CLAMP_VALUE:
        raise UsageError(
            f"pin {word}: the value must be a number from {-MAX_CLAMP_VALUE:,.0f} to "
            f"{MAX_CLAMP_VALUE:,.0f}, or off"
        )
    return unit, value


def ablate(context: Context, argument: str) -> None:
    """Clamps units to zero."""
    if not argument:
        raise UsageError("ablate: name a unit, for example L1:41; /pin off releases all")
    for unit in [context.session.unit(word) for word in argument.split()]:
        context.session.clamp(unit, 0.0)
    _show_clamped(context)


def _show_clamped(context: Context) -> None:
    clamped = context.session.spell_clamped()
    context.screen.line(f"clamped: {clamped}" if clamped else "no unit is clamped", "dim")


def step(context: Context, argument: str) -> None:
    """Shows the last step, or step N, equation by equation; on a terminal, keys move through it."""
    session, screen = context.session, context.screen
    position, _ = _find_token(context, "step", argument)
    tree = session.tree
    nodes = tree.path(tree.tip)
    view = StepView(
        session.model.stepper,
        session.model.tokenizer,
        np.array([tree.token(node) for node in nodes]),
        lambda index: tree.state(tree.parent(nodes[index])),
    )
    view.position = position - 1
    if context.browse_steps is not None:
        context.browse_steps(view)
    screen.lines(view.lines(screen.palette, screen.width))


def why(context: Context, argument: str) -> None:
    """Shows what the last token, or token N, rests on, what was likely instead, and passages."""
    session, screen = context.session, context.screen
    tree, stepper, tokenizer = session.tree, session.model.stepper, session.model.tokenizer
    number, way = "", "omission"
    for word in argument.split():
        if word.isdecimal():
            number = word
        else:
            way = word
    cause = find_cause(way)
    position, node = _find_token(context, "why", number)
    nodes = tree.path(node, _WHY_TOKENS)
    if len(nodes) < 2:
        raise UsageError(f"why {position}: no token stands before it; choose a later token")
    ids = np.array([tree.token(node) for node in nodes])
    before = tree.state(tree.parent(nodes[0]))
    values = cause.measure(stepper, ids, before)
    screen.picture(cause_view(cause, values, session.labels(nodes)))
    logits = stepper.logits_of(ids[:-1], before)[0][-1]
    check_finite(logits)
    chances = np.exp(log_softmax(logits))
    guesses = [
        (token_label(tokenizer, token), float(chances[token]))
        for token in np.argsort(-chances)[:_WHY_GUESSES]
    ]
    (label,) = session.labels([node])
    passages = session.passages(tree.state(tree.parent(node)), _WHY_PASSAGES)
    chance = float(np.exp(tree.logprob(node)))
    ascii = screen.palette.ascii
    for line in why_lines(label, chance, cause, guesses, passages, ascii=ascii):
        screen.line(line)
    found = session.recalled(node, log_softmax(logits))
    if found is not None:
        for line in memory_lines(
            label, found.counted, found.context, found.occurrences, found.places, ascii=ascii
        ):
            screen.line(line)


def why_words(context: Context) -> tuple[str, ...]:
    """Returns the words that `/why` takes."""
    return tuple(CAUSES)


def _find_token(context: Context, command: str, number: str) -> tuple[int, int]:
    """Returns position and node of token N (from 1); of the last token for an empty `number`.

    Raises:
        UsageError: there is no text, or it has no token N.
    """
    session = context.session
    if not session.position:
        raise UsageError(NO_TEXT)
    position = whole_number(number, command, session.position, session.position)
    return position, session.tree.back(session.tree.tip, session.position - position)
