"""Which slash commands are there, and how does a typed line become a call of one?

`COMMANDS` is the table. The functions of most rows are in write.py, inspect.py, files.py and
learn.py; those about the session as a whole (help, settings, history) are here. What a row
contains, and how to add one, is explained at `Command`.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from chargen.errors import UsageError
from chargen.inference.writer import impossible_stops
from chargen.insight.why import CAUSES
from chargen.repl.commands import (
    Command,
    Context,
    compose,
    files,
    inspect,
    learn,
    memory,
    write,
)
from chargen.repl.settings import TABLE, Settings, find_setting, set_value, setting_name
from chargen.steering.config import ASKED
from chargen.terminal.progress import plural

_INTRODUCTION = """Type a text and press Enter: the model reads it and writes on.
Enter alone lets the model write more.
The model reads exactly what you type, spaces included. Alt-Enter begins a new line.
Three quotes (\"\"\") begin and end a text of several lines.
Two slashes (//) begin a text whose first character is a slash.
Ctrl-G opens your editor.
While the model writes: space pauses, + and - change the speed, [ and ] change the temperature, \
Ctrl-C stops."""


def help_command(context: Context, argument: str) -> None:
    """Lists all commands, or explains one."""
    screen = context.screen
    if argument:
        name = argument.lstrip("/").split()[0] if argument.strip("/ ") else "help"
        row = find_command(name)
        screen.line(f"/{name} {row.arguments}".rstrip(), "bold")
        screen.line(row.help)
        for line in row.more:
            screen.line(f"  {line}")
        return
    screen.line(_INTRODUCTION)
    screen.line()
    rows = [(f"/{name} {row.arguments}".rstrip(), row.help) for name, row in COMMANDS.items()]
    screen.table(("", ""), rows)


def set_command(context: Context, argument: str) -> None:
    """Changes a setting; without a value shows it, without a name lists all."""
    name, _, value = argument.partition(" ")
    name = setting_name(name)
    settings, screen = context.session.settings, context.screen
    if not name:
        rows = [(key, row.read(settings), row.help) for key, row in TABLE.items()]
        screen.table(("setting", "value", "what it does"), rows)
        return
    row = find_setting(name)
    if not value.strip():
        screen.line(f"{name} {row.read(settings)}: {row.help}")
        return
    # A stop text may begin with a blank.
    set_value(settings, name, value if name == "stop" else value.strip())
    screen.set_background(settings.background)
    screen.line(f"{name} {row.read(settings)}", "dim")
    if name == "stop":
        for line in impossible_stops(settings.sample.stop, context.session.model.tokenizer):
            screen.line(line)


def show_command(context: Context, argument: str) -> None:
    """Shows the model, the text and all settings."""
    session = context.session
    config, card = session.model.config, session.model.card
    settings, tree = session.settings, session.tree
    length = plural(session.position, "token")
    rows: list[tuple[str, object]] = [
        ("model", f"{session.name}: {config.cell_row.label}, {config.units_label}"),
        ("tokenizer", f"{session.model.file.tokenizer.kind}, {config.vocab_size} tokens"),
        ("text", f"{length}; branch {tree.branch}, one of {len(tree.branches)}"),
        ("seed", f"{session.seed}; {plural(session.drawn, 'text')} written with it"),
        ("clamped", session.spell_clamped() or "no unit"),
        *_shown_settings(settings),
    ]
    score = card.get("validation")
    if isinstance(score, dict) and isinstance(score.get("bits_per_byte"), float):
        rows.insert(2, ("validation", f"{score['bits_per_byte']:.4f} bits per byte"))
    context.screen.table(("", ""), rows)


def _shown_settings(settings: Settings) -> Iterator[tuple[str, object]]:
    """The settings and their values; of what may be asked of a text, only what is asked."""
    for name, row in TABLE.items():
        value = row.read(settings)
        if value != "off" or name.replace("-", "_") not in ASKED:
            yield name, value


def history_command(context: Context, argument: str) -> None:
    """Lists the lines that the person typed in this session."""
    for number, line in enumerate(context.session.history, 1):
        context.screen.line(f"{number:>3}  {line}")


def quit_command(context: Context, argument: str) -> None:
    """Ends the session."""
    raise EOFError


def _branch_names(context: Context) -> tuple[str, ...]:
    return tuple(context.session.tree.branches)


COMMANDS: dict[str, Command] = {
    "help": Command("[COMMAND]", "list all commands, or explain one", help_command,
        complete=lambda context: tuple(COMMANDS)),
    "set": Command("[NAME [VALUE]]", "list or change settings", set_command,
        complete=lambda context: tuple(TABLE),
        more=("/set temperature 0.5 changes a setting, /set temperature explains it",)),
    "ab": Command("[MODEL]", "compare with another model, same draws", learn.ab,
        complete=files.model_names,
        more=("both models continue the text with the same random draws",
              "without MODEL, the other model is the base that this one was fine-tuned from")),
    "learn": Command("on|off|forget", "learn from the text that you continue", learn.learn,
        complete=lambda context: ("on", "off", "forget"),
        more=("learning changes the weights in memory only; forget restores them",)),
    "show": Command("", "show the model, the text and all settings", show_command),
    "more": Command("", "write on, as Enter alone does", write.more),
    "regen": Command("", "replace the last continuation by another", write.regen),
    "seed": Command("[N]", "show or set the seed of the random draws", write.seed),
    "choose": Command("[N]", "pick the next token yourself", write.choose,
        more=("arrows move, Enter takes the marked token, Backspace takes one back, Esc ends",
              "a character that you type is written as it is",
              "/choose N takes the Nth likeliest token")),
    "label": Command("[LABEL]", "write as documents of a label, or list the labels", write.label,
        complete=lambda context: context.session.model.labels,
        more=("a:0.7,b:0.3 mixes two; the text is read again after the label",)),
    "memory": Command("[text]", "show what the counts beside the network know here", memory.memory,
        complete=lambda context: ("text",),
        more=("/memory text colours the text by the length of the context that decided",
              "/set memory off|text|session says what helps to write")),
    "words": Command("[N]", "list the likeliest next words", write.words),
    "undo": Command("[N]", "take back N tokens, or the last text", write.undo,
        more=("without N, it takes back what the model wrote or you typed last",)),
    "goto": Command("NAME|N", "go to a branch, or back to token N", write.goto,
        complete=_branch_names),
    "fork": Command("NAME", "start a branch here and continue in it", write.fork),
    "branches": Command("", "draw the tree of branches", write.branches),
    "diff": Command("A [B]", "show two branches side by side", write.diff,
        complete=_branch_names, more=("without B, this branch and A",)),
    "edit": Command("", "change the text in your editor", compose.edit,
        more=("EDITOR or VISUAL names it; the model goes on from the first change",
              "the old text stays as a branch")),
    "between": Command("TEXT", "write a passage that leads to TEXT", compose.between,
        more=("it writes several and keeps the one after which TEXT is likeliest",)),
    "chat": Command("ME [OTHER]|off", "talk: you are ME, the model answers as OTHER", compose.chat,
        complete=lambda context: ("off",),
        more=("for models of chats and plays, whose turns begin with a name",)),
    "text": Command("[N]", "show the text, or its last N tokens", write.text),
    "clear": Command("", "begin a new text, keep the old as a branch", write.clear),
    "heat": Command("[on|off] [VIEW] [LN] [ORDER]", "show the units as a heatmap", inspect.heat,
        complete=inspect.heat_words,
        more=("/heat forget shows the forget gates once",
              "/heat on cell L2 shows the cell states of layer 2, also while the model writes",
              "ORDER of the units: similar (units that act alike stand together), activity, "
              "index")),
    "unit": Command("[L1:41|NAME]", "colour the text by one unit", inspect.unit,
        complete=inspect.unit_words, more=("without an argument, by the most active unit",)),
    "units": Command("", "list the units that have names", inspect.units,
        more=("chargen units finds units that track something, and names them",)),
    "step": Command("[N]", "show a step, equation by equation", inspect.step,
        more=("without N, it begins with the last step",
              "arrows move through the text and the layers, q leaves")),
    "gates": Command("", "show the gates of the last step", inspect.gates),
    "predict": Command("", "show the likeliest tokens at each position", inspect.predict),
    "surprise": Command("", "colour the text by surprise, in bits", inspect.surprise),
    "why": Command("[N] [WAY]", "show what a prediction rests on", inspect.why,
        complete=inspect.why_words,
        more=("N is the token that was predicted; without N, the last token",
              *(f"/why {name}: {cause.help}" for name, cause in CAUSES.items()))),
    "watch": Command("[L1:41|NAME ...|off]", "plot units, also while the model writes",
        inspect.watch, complete=inspect.unit_words),
    "pin": Command("[L1:41=0.9 ...|off]", "clamp units to a value", inspect.pin,
        complete=inspect.unit_words,
        more=("/pin L1:41 clamps the unit to the value that it has now",
              "/pin L1:41.cell=1 clamps a cell state",
              "/pin L1:41=off releases the unit; /pin off releases all")),
    "ablate": Command("L1:41 ...", "clamp units to zero", inspect.ablate,
        complete=inspect.unit_words),
    "source": Command("", "show where the longest copy comes from", learn.source),
    "save": Command("FILE.json", "save texts, branches and settings", files.save),
    "load": Command("MODEL|FILE.json", "load a session or another model", files.load,
        complete=files.model_names,
        more=("another model reads the text of every branch; a session replaces the present one",)),
    "sessions": Command("[N|forget]", "list earlier sessions, or load one", files.sessions,
        complete=lambda context: ("forget",),
        more=("a session keeps itself, whatever happens to its window; the last 20 stay",
              "/sessions 1 brings back the last one; it replaces the present text",
              "/sessions forget removes them all")),
    "models": Command("", "list the runs that you can load", files.models),
    "export": Command("FILE [VIEW]", "write the text or a view to a file", files.export,
        more=("FILE ends in .txt for the text, in .md or .html for the text with its branches",
              "/export FILE.svg VIEW, .html or .png draws a view",
              "a file that chargen did not write stays, unless --overwrite stands at the end")),
    "copy": Command("", "copy the text to the clipboard (OSC 52)", files.copy),
    "history": Command("", "list what you typed in this session", history_command),
    "quit": Command("", "leave; Ctrl-D leaves too", quit_command),
}  # fmt: skip
"""The commands by name, in the order of `/help`; `Command` explains a row."""


def find_command(name: str) -> Command:
    """Returns the row of a command; the beginning of a name is enough when only one fits.

    Raises:
        UsageError: no command or several fit.
    """
    if name in COMMANDS:
        return COMMANDS[name]
    matches = [command for command in COMMANDS if name and command.startswith(name)]
    if len(matches) == 1:
        return COMMANDS[matches[0]]
    if matches:
        listing = ", ".join(f"/{match}" for match in matches)
        raise UsageError(f"command /{name}: could be {listing}; type more letters")
    near = get_close_matches(name.lower(), COMMANDS, n=1)
    hint = f": did you mean /{near[0]}?" if near else ";"
    raise UsageError(
        f"unknown command /{name}{hint} /help lists all; type // for a text that begins with /"
    )


def run_command(context: Context, line: str) -> None:
    """Runs a line that begins with a slash.

    Raises:
        ChargenError: the command is unknown, or it failed.
        EOFError: the person wants to leave.
    """
    name, _, argument = line[1:].partition(" ")
    find_command(name.strip()).run(context, argument.strip())
