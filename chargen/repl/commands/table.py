"""The table of slash commands, and how a line becomes one. What they do is in the files beside."""

from __future__ import annotations

from difflib import get_close_matches

from chargen.errors import UsageError
from chargen.insight.why import CAUSES
from chargen.repl.commands import Command, Context, files, inspect, learn, write
from chargen.repl.settings import TABLE, find, set_value
from chargen.terminal.progress import plural

_FOREWORD = """Type text and press Enter: the model reads it and writes on. Enter alone writes on.
What you type is taken exactly, spaces included; Alt-Enter makes a line end, \"\"\" begins and ends
several lines, // a line that begins with a slash. Ctrl-G opens your editor.
While it writes: space pauses, + and - change the speed, [ and ] the temperature, Ctrl-C stops."""


def help_command(context: Context, argument: str) -> None:
    """All commands, or one."""
    screen = context.screen
    if argument:
        name = argument.lstrip("/").split()[0] if argument.strip("/ ") else "help"
        row = find_command(name)
        screen.line(f"/{name} {row.arguments}".rstrip(), "bold")
        screen.line(row.help)
        for line in row.more:
            screen.line(f"  {line}")
        return
    screen.line(_FOREWORD)
    screen.line()
    rows = [(f"/{name} {row.arguments}".rstrip(), row.help) for name, row in COMMANDS.items()]
    screen.table(("", ""), rows)


def set_command(context: Context, argument: str) -> None:
    """Change a setting, or list all."""
    name, _, value = argument.partition(" ")
    name = name.replace("_", "-").lower()
    settings, screen = context.session.settings, context.screen
    if not name:
        rows = [(one, row.read(settings), row.help) for one, row in TABLE.items()]
        screen.table(("setting", "value", "what it does"), rows)
        return
    row = find(name)
    if not value.strip():
        screen.line(f"{name} {row.read(settings)}: {row.help}")
        return
    set_value(settings, name, value if name == "stop" else value.strip())
    screen.set_background(settings.background)
    screen.line(f"{name} {row.read(settings)}", "dim")


def show_command(context: Context, argument: str) -> None:
    """What is loaded, and how it writes."""
    session = context.session
    config, card = session.model.config, session.model.card
    settings, tree = session.settings, session.tree
    held = ", ".join(
        f"{session.unit_name(unit)} = {value:g}" for unit, value in session.pinned.items()
    )
    rows: list[tuple[str, object]] = [
        ("model", f"{session.name}: {config.cell_row.label}, {config.units_label}"),
        ("tokens", f"{session.model.file.tokenizer.kind}, {config.vocab_size} kinds"),
        (
            "text",
            f"{plural(session.position, 'token')}, branch {tree.branch} of {len(tree.branches)}",
        ),
        ("seed", f"{session.seed}, {session.drawn} drawn"),
        ("held", held or "nothing"),
        *((name, row.read(settings)) for name, row in TABLE.items()),
    ]
    score = card.get("validation")
    if isinstance(score, dict) and isinstance(score.get("bits_per_byte"), float):
        rows.insert(2, ("validation", f"{score['bits_per_byte']:.4f} bits per byte"))
    context.screen.table(("", ""), rows)


def quit_command(context: Context, argument: str) -> None:
    """Leave."""
    raise EOFError


def history_command(context: Context, argument: str) -> None:
    """What was typed in this session."""
    for number, line in enumerate(context.session.history, 1):
        context.screen.line(f"{number:>3}  {line}")


_ON_OFF = ("on", "off")
COMMANDS: dict[str, Command] = {
    "help": Command("[COMMAND]", "this, or one command", help_command,
        complete=lambda context: tuple(COMMANDS)),
    "set": Command("[NAME [VALUE]]", "settings: temperature, length, speed, ...", set_command,
        complete=lambda context: tuple(TABLE)),
    "ab": Command("[MODEL]", "this model and another (its base) from the same draws", learn.ab,
        complete=files.model_names),
    "learn": Command("on|off|forget", "learn from text that you go on from, in memory only",
        learn.learn, complete=lambda context: ("on", "off", "forget")),
    "show": Command("", "what is loaded, and all settings", show_command),
    "more": Command("", "write on; as an empty line does", write.more),
    "regen": Command("", "take the last continuation back and write another", write.regen),
    "seed": Command("[N]", "draw from this seed, from its beginning", write.seed),
    "choose": Command("[N]", "pick the next token yourself", write.choose,
        more=("arrows move, Enter takes, Backspace goes back, a typed character is taken, "
              "Escape ends; with N, the Nth likeliest is taken",)),
    "words": Command("[N]", "the likeliest next words, by looking ahead", write.words),
    "undo": Command("[N]", "take back N tokens, or what was written or typed last", write.undo),
    "goto": Command("NAME|N", "to a branch, or to the first N tokens of this one", write.goto,
        complete=lambda context: tuple(context.session.tree.branches)),
    "fork": Command("NAME", "begin a branch here and go on in it", write.fork),
    "branches": Command("", "the tree of texts", write.branches),
    "diff": Command("A [B]", "two branches side by side", write.diff,
        complete=lambda context: tuple(context.session.tree.branches)),
    "text": Command("[N]", "the whole text, or its last N tokens", write.text),
    "clear": Command("", "begin a new text; the old one stays a branch", write.clear),
    "heat": Command("[on|off] [VIEW] [LN] [ORDER]", "units over the text; live while it writes",
        inspect.heat, complete=inspect.heat_words,
        more=("/heat on cell L2 shows cell states of layer 2 while it writes; /heat forget, once",
              "ORDER: similar (units that move together side by side), activity, index")),
    "unit": Command("[L1:41|NAME]", "the text, coloured by one unit", inspect.unit,
        complete=inspect.unit_words),
    "units": Command("", "the units that `chargen units` gave names", inspect.units),
    "step": Command("[N]", "the last step (or the Nth), equation by equation",
        inspect.step, more=("arrows lead through the text and the layers, q leaves",)),
    "gates": Command("", "all gates of the last step: how open, how saturated", inspect.gates),
    "predict": Command("", "the likeliest continuations under each token", inspect.predict),
    "surprise": Command("", "the text, coloured by each token's bits", inspect.surprise),
    "why": Command("[N] [WAY]", "what the last token (or the Nth) rests on", inspect.why,
        complete=inspect.why_words,
        more=tuple(f"/why {name}: {one.help}" for name, one in CAUSES.items())),
    "watch": Command("[L1:41|NAME ...|off]", "show units' courses while it writes",
        inspect.watch, complete=inspect.unit_words),
    "pin": Command("[L1:41=0.9 ...|off]", "hold units at a value", inspect.pin,
        complete=inspect.unit_words,
        more=("/pin L1:41 holds it where it is; /pin L1:41=off lets it go; /pin off, all",
              "/pin L1:41.cell=1 holds a cell state")),
    "ablate": Command("L1:41 ...", "hold units at zero", inspect.ablate,
        complete=inspect.unit_words),
    "source": Command("", "where the longest copy stands in the training text", inspect.source),
    "save": Command("FILE.json", "keep texts, branches and settings", files.save),
    "load": Command("MODEL|FILE.json", "another model, which reads the text; or a session",
        files.load, complete=files.model_names),
    "models": Command("", "the runs that can be loaded", files.models),
    "export": Command("FILE [VIEW]", "the text (.txt), or a view (.svg, .html, .png)",
        files.export),
    "copy": Command("", "the text to the clipboard (OSC 52)", files.copy),
    "history": Command("", "what was typed", history_command),
    "quit": Command("", "leave; Ctrl-D does too", quit_command),
}  # fmt: skip
"""Name, arguments, help and function of every command, in the order of `/help`."""


def find_command(name: str) -> Command:
    """The row of a command; its beginning will do where only one begins so.

    Raises:
        UsageError: there is none.
    """
    if name in COMMANDS:
        return COMMANDS[name]
    begun = [one for one in COMMANDS if name and one.startswith(name)]
    if len(begun) == 1:
        return COMMANDS[begun[0]]
    if begun:
        raise UsageError(f"command /{name}: is it {' or '.join(f'/{one}' for one in begun)}?")
    near = get_close_matches(name.lower(), COMMANDS, n=1)
    hint = f": did you mean /{near[0]}?" if near else ";"
    raise UsageError(
        f"unknown command /{name}{hint} /help lists all (//... is a text that begins with a slash)"
    )


def run_command(context: Context, line: str) -> None:
    """Run a line that begins with a slash.

    Raises:
        ChargenError: the command is unknown, or failed.
        EOFError: the person wants to leave.
    """
    name, _, argument = line[1:].partition(" ")
    find_command(name.strip()).run(context, argument.strip())
