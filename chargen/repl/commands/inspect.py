"""Commands that look inside the model, hold its units, and find what it copied.

Commands that explain: why a token, how a step, which units have names.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chargen.errors import ModelFileError, UsageError
from chargen.inference.engine import check_finite, log_softmax
from chargen.insight.views import (
    ORDERS,
    VIEWS,
    Grid,
    alone,
    build_view,
    find_view,
    surprise_view,
    unit_view,
    views_for,
)
from chargen.insight.why import CAUSES, cause_view, find_cause
from chargen.model.unit_names import Unit
from chargen.repl.commands import Context, whole_number
from chargen.repl.live import HEAT_ROWS
from chargen.repl.session import LONGEST_TRACE, PIN_LIMIT
from chargen.terminal.charts import spark_line
from chargen.terminal.safetext import safe
from chargen.terminal.step_display import StepView, why_lines
from chargen.text.overlap import CopyWatch, lines_before

_AROUND = 9
"""Rows of a screen that stay for text and prompt beside a heatmap."""


def heat_words(context: Context) -> tuple[str, ...]:
    """What can stand after `/heat`."""
    config = context.session.model.config
    maps = [one for one in views_for(config.cell_row) if VIEWS[one].every]
    layers = [f"L{one + 1}" for one in range(config.num_layers)]
    return ("on", "off", *maps, *layers, *ORDERS)


def heat(context: Context, argument: str) -> None:
    """Units over the text: now, or live."""
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
    if not VIEWS[view].every:
        shows = "chargen heatmap --view entropy" if view == "entropy" else f"/{view}"
        raise UsageError(f"heat {view}: is no map of units; {shows} shows it")
    if not 0 <= layer < config.num_layers:
        raise UsageError(f"heat L{layer + 1}: the model has layers 1 to {config.num_layers}")
    session.heat.look(view=view, layer=layer, order=order)
    if live is not None:
        session.heat_on = live
        screen.line(f"heat {'on' if live else 'off'}", "dim")
    if live is not False and session.position:
        draw_heat(context)
    elif live is None:
        raise UsageError("there is no text yet; write something first")


def draw_heat(context: Context) -> None:
    """The heatmap of the text's end, once."""
    session, screen = context.session, context.screen
    if not session.position:
        return
    trace, options = session.trace(screen.width)
    look = session.heat
    rows = max(2, min(HEAT_ROWS, screen.size().lines - _AROUND)) * (
        2 if screen.palette.paints and not screen.palette.ascii else 1
    )
    options = replace(options, layer=look.layer, order=look.order, rows=rows)
    screen.picture(build_view(look.view, trace, options))


def unit_grid(context: Context, argument: str) -> Grid:
    """The text coloured by a unit; by the most active one when none is named."""
    session = context.session
    nodes = _nodes(context)
    if argument:
        unit = session.unit(argument)
    else:
        states = np.array([session.tree.state(one)[:, 0] for one in nodes[-200:]])
        place = int(states.std(0).argmax())
        unit = Unit(*divmod(place, session.model.config.hidden_size))
    name = session.unit_name(unit)
    relu = session.model.config.cell == "rnn-relu"
    return unit_view(session.unit_values(unit, nodes), session.labels(nodes), name, relu=relu)


def unit(context: Context, argument: str) -> None:
    """The whole text, coloured by one unit."""
    context.screen.picture(unit_grid(context, argument))


def gates(context: Context, argument: str) -> None:
    """The gates of the last step."""
    _picture(context, "gates", 1)


def predict(context: Context, argument: str) -> None:
    """The likeliest continuations under each token."""
    _picture(context, "predict", context.screen.width)


def surprise(context: Context, argument: str) -> None:
    """The text, coloured by what each token cost."""
    context.screen.picture(surprise_grid(context))


def surprise_grid(context: Context) -> Grid:
    """The text coloured by what each token cost."""
    nodes = _nodes(context)
    return surprise_view(context.session.surprise(nodes), context.session.labels(nodes))


def unit_words(context: Context) -> tuple[str, ...]:
    """Names of units, for completion."""
    try:
        return tuple(context.session.names())
    except ModelFileError:
        return ()


def watch(context: Context, argument: str) -> None:
    """Show units' courses while it writes; without names, now."""
    session, screen = context.session, context.screen
    if argument == "off":
        session.watched = []
    elif argument:
        session.watched = [session.unit(one) for one in argument.split()]
    if not session.watched:
        screen.line("nothing is watched" if argument else "/watch L1:41 watches a unit", "dim")
    nodes = session.tree.path(session.tree.tip, screen.width)
    for one in session.watched:
        name = session.unit_name(one)
        values = session.unit_values(one, nodes)
        screen.lines([spark_line(name, values, screen.width, ascii=screen.palette.ascii)])


def pin(context: Context, argument: str) -> None:
    """Hold units at a value, or let them go."""
    session = context.session
    wanted: list[tuple[Unit, float | None]] = []
    if argument == "off":
        wanted = [(one, None) for one in list(session.pinned)]
    for word in argument.split() if argument != "off" else ():
        name, _, value = word.partition("=")
        one = session.unit(name)
        if value == "off":
            wanted.append((one, None))
            continue
        if not value:
            now = session.tree.state(session.tree.tip)
            wanted.append((one, float(now[one.layer, one.state, one.index])))
            continue
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not -PIN_LIMIT <= number <= PIN_LIMIT:
            raise UsageError(
                f"pin {word}: the value must be a number from {-PIN_LIMIT:g} to {PIN_LIMIT:g}, "
                "or off"
            )
        wanted.append((one, number))
    for one, held in wanted:
        session.hold(one, held)
    show_pins(context)


def ablate(context: Context, argument: str) -> None:
    """Hold units at zero."""
    if not argument:
        raise UsageError("ablate: name a unit, as L1:41; /pin off lets all go")
    for one in [context.session.unit(word) for word in argument.split()]:
        context.session.hold(one, 0.0)
    show_pins(context)


def show_pins(context: Context) -> None:
    """What is held."""
    session = context.session
    held = [f"{session.unit_name(one)} = {value:g}" for one, value in session.pinned.items()]
    context.screen.line(f"held: {', '.join(held)}" if held else "nothing is held", "dim")


def source(context: Context, argument: str) -> None:
    """Where the longest copy stands in the training text."""
    session, screen = context.session, context.screen
    known = session.copies(context.note_once)
    if known is None:
        raise UsageError(
            "source: the training text is not on this machine"
            if session.settings.copies
            else "source: copies are not looked for; /set copies on"
        )
    found, tree = CopyWatch(known.index), session.tree
    found.feed([tree.token(one) for one in tree.path(tree.tip)])
    if not found.longest:
        screen.line("nothing in this text is a copy of more than 30 characters", "dim")
        return
    index, place = found.index, found.place
    start = place - found.longest
    copied, before = index.spell(index.symbols[start:place]), max(0, start - 60)
    line = 1 + lines_before(index.symbols, start, index.newline)
    corpora = session.model.card.get("corpus")
    names = (
        [str(one.get("name")) for one in corpora if isinstance(one, dict)]
        if isinstance(corpora, list)
        else []
    )
    where = names[0] if len(names) == 1 else f"the training text ({len(names)} files)"
    screen.line(f"{found.longest} characters, in {where}, line {line:,}:", "dim")
    screen.write(safe(index.spell(index.symbols[before:start])))
    screen.out.write(screen.styled(safe(copied), "underlined"))
    screen.write(safe(index.spell(index.symbols[place : place + 60]) + "\n"))


def view_grid(context: Context, name: str) -> Grid:
    """A view of the text's end, for `/export`.

    Raises:
        UsageError: there is no such view, or no text.
    """
    session = context.session
    if name == "unit" or name.upper().startswith("L"):
        return unit_grid(context, "" if name == "unit" else name)
    if name == "surprise":
        return surprise_grid(context)
    find_view(name, session.model.config.cell_row)
    trace, options = session.trace(200)
    look = session.heat
    return build_view(name, trace, replace(options, layer=look.layer, order=look.order))


def _picture(context: Context, view: str, count: int) -> None:
    find_view(view, context.session.model.config.cell_row)
    trace, options = context.session.trace(count)
    context.screen.picture(build_view(view, trace, options))


def _nodes(context: Context) -> list[int]:
    """The nodes of the text that pictures of the whole text show.

    Raises:
        UsageError: there is no text.
    """
    session = context.session
    nodes = session.tree.path(session.tree.tip, LONGEST_TRACE)
    if not nodes:
        raise UsageError("there is no text yet; write something first")
    if session.position > len(nodes):
        context.screen.line(f"the last {LONGEST_TRACE} of {session.position} tokens", "dim")
    return nodes


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
    view = StepView(
        session.model.stepper,
        session.model.tokenizer,
        ids,
        lambda place: tree.state(tree.parent(nodes[place])),
    )
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
