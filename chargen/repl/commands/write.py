"""The commands that change the text: how does a person write, take back and branch?

The text is a path in a tree (chargen/inference/tree.py): a branch is a name for its end. What was
written stays in the tree; taking back only moves the end. How text reaches the screen is in
chargen/repl/stream.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from chargen.errors import UsageError
from chargen.inference.composer import most_likely
from chargen.inference.lookahead import likeliest_words
from chargen.inference.tree import MAIN, ROOT
from chargen.repl.commands import Context, whole_number
from chargen.repl.commands.inspect import draw_heat
from chargen.repl.commands.learn import learn_accepted
from chargen.repl.session import branches_by_age
from chargen.repl.stream import Stream, shown_whitespace
from chargen.terminal.heatmap import column_label, one_line
from chargen.terminal.progress import plural, reading_line
from chargen.terminal.safetext import SafeText, safe
from chargen.text.tokenizer import utf8

_MAX_LINE_TOKENS = 60
"""Tokens of the text's last line that are shown again before a continuation."""
_GUESSES = 10
"""Tokens or words in a list, unless the person asks for more."""
_MAX_GUESSES = 100
_SPARE_WORDS = 50
"""Words searched beyond those shown, because several may differ in their blanks only."""
_MAX_LISTED_LABELS = 100
_GLIMPSE_TOKENS = 40
"""Tokens of a text's end that a table shows; a separate line shows twice as many."""


def read_and_write(context: Context, text: str) -> None:
    """Reads what the person typed, then writes on."""
    session, tree = context.session, context.session.tree
    learn_accepted(session)
    before, start = _last_line(context), tree.tip
    size = len(utf8(text))
    with reading_line(context.screen.terminal) as report:
        lines = session.append(text, lambda share: report("reading", int(share * size), size))
    for line in lines:
        context.screen.line(line, "dim")
    read = "".join(session.labels(tree.path(tree.tip, after=start)))
    _write_on(context, before, read)


def more(context: Context, argument: str) -> None:
    """Writes on."""
    learn_accepted(context.session)
    _write_on(context, _last_line(context), "")


def regen(context: Context, argument: str) -> None:
    """Takes the last continuation back and writes another."""
    session = context.session
    start = session.last_start()
    if start is None or not start[1]:
        raise UsageError("regen: no continuation stands here; press Enter to write one")
    session.tree.move(start[0])  # the text was not accepted, so it is not learned
    _write_on(context, _last_line(context), "")


def _write_on(context: Context, before: str, read: str) -> None:
    """Writes a continuation to the screen, after the last line `before` and the text just read."""
    session, screen = context.session, context.screen
    stream = Stream(session, screen, context.keys, context.note_once)
    shown = safe(read)
    if session.settings.whitespace:
        shown = shown_whitespace(shown, ascii=screen.palette.ascii)
    screen.write(SafeText(screen.styled(safe(before), "dim") + screen.styled(shown, "bold")))
    if stream.run() == "end":
        screen.line("(the document ends here; Enter begins the next one)", "dim")
    if session.heat_on and screen.interactive:
        draw_heat(context)


def _last_line(context: Context) -> str:
    """Returns the text's last line, or its end where it is long."""
    line = context.session.text(_MAX_LINE_TOKENS).rpartition("\n")[2]
    return line if len(line) < _MAX_LINE_TOKENS else f"…{line[1:]}"


def seed(context: Context, argument: str) -> None:
    """Starts the random draws again from a seed; without an argument, shows the seed."""
    session = context.session
    if argument:
        if not (argument.isdecimal() and argument.isascii() and len(argument) < 19):
            raise UsageError(f"seed {argument}: must be a whole number, at least 0")
        session.reseed(int(argument))
    context.screen.line(f"seed {session.seed}", "dim")


def label(context: Context, argument: str) -> None:
    """Shows the labels of the model, or lets texts begin with one; reads the text again."""
    session, screen = context.session, context.screen
    if not session.model.labels:
        raise UsageError("label: this model learned no labels; train one with --label-from")
    if argument:
        for line in session.change_model(session.model.labelled(argument)):
            screen.line(line, "dim")
    mixture = session.model.mixture
    shown = [
        f"{name} {mixture[name]:.0%}" if name in mixture and len(mixture) > 1 else name
        for name in session.model.labels
    ]
    chosen = ", ".join(sorted(mixture))
    screen.line(f"labels: {', '.join(shown[:_MAX_LISTED_LABELS])}")
    screen.line(f"texts begin as {chosen if len(mixture) <= 3 else 'all alike'}", "dim")


def words(context: Context, argument: str) -> None:
    """Lists the likeliest next words; the same word after another blank counts as one word."""
    session = context.session
    count = whole_number(argument, "words", _GUESSES, _MAX_GUESSES)
    chances: dict[str, float] = {}
    for text, chance in likeliest_words(session.composer, session.tree.tip, count + _SPARE_WORDS):
        word = text.strip() or text
        chances[word] = chances.get(word, 0.0) + chance
    best = sorted(chances.items(), key=lambda item: -item[1])[:count]
    ascii = context.screen.palette.ascii
    rows = [(f"{chance:.1%}", one_line(word, ascii=ascii)) for word, chance in best]
    if not rows:
        raise UsageError("words: no next word is likely enough; /choose lists the next tokens")
    context.screen.table(("", "next word"), rows)


def choose(context: Context, argument: str) -> None:
    """Lets the person pick the next token: the Nth likeliest, by keys, or from a printed list."""
    if argument:
        guesses = next_tokens(context, _MAX_GUESSES)
        number = whole_number(argument, "choose", 1, len(guesses))
        write_token(context, guesses[number - 1][0])
    elif context.pick_token is not None:
        context.pick_token(context)
    else:
        rows = [
            (number, f"{chance:.1%}", token_label(context, token))
            for number, (token, chance) in enumerate(next_tokens(context, _GUESSES), 1)
        ]
        context.screen.table(("", "", "next token"), rows)
        context.screen.line("/choose N writes token N")
        return
    context.screen.line(_last_line(context), "dim")


def next_tokens(context: Context, count: int) -> list[tuple[int, float]]:
    """Returns the likeliest next tokens and their probabilities, the likeliest first."""
    session = context.session
    return most_likely(session.composer.next_logits(session.tree.tip), count)


def token_label(context: Context, token: int) -> SafeText:
    """Returns a token's text for a list."""
    tokenizer = context.session.model.tokenizer
    if token == tokenizer.eos_id:
        return SafeText("(end)")
    text = tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")
    return column_label(text, ascii=context.screen.palette.ascii)[0]


def write_token(context: Context, token: int) -> None:
    """Appends a token that the person picked."""
    session = context.session
    start = session.composer.start(session.tree.tip, empty=True)
    session.tree.branches[session.tree.branch] = session.composer.read(start, [token])


def undo(context: Context, argument: str) -> None:
    """Takes back the last N tokens; without an argument, what was typed or written last."""
    session = context.session
    tree = session.tree
    if session.position == 0:
        raise UsageError("undo: the text is empty; /branches lists the texts that you left")
    start = session.last_start()
    if not argument and start is not None:
        tree.move(start[0])
    else:
        tree.move(tree.back(tree.tip, whole_number(argument, "undo", 1)))
    show_position(context)


def goto(context: Context, argument: str) -> None:
    """Goes to a branch, or to the first N tokens of this one."""
    session = context.session
    tree = session.tree
    if not argument:
        raise UsageError("goto: name a branch (/branches lists them) or a number of tokens")
    if argument.isdecimal() and argument.isascii():
        position = int(argument)
        if position > session.position:
            length = plural(session.position, "token")
            raise UsageError(
                f"goto {argument}: the text has only {length}; give a number up to that"
            )
        tree.move(tree.back(tree.tip, session.position - position))
    else:
        tree.switch(argument)
    show_position(context)


def fork(context: Context, argument: str) -> None:
    """Starts a branch at the end of the text and continues in it."""
    session = context.session
    left = session.tree.branch
    session.tree.fork(argument)
    context.screen.line(
        f"branch {argument} starts at {plural(session.position, 'token')}; "
        f"/goto {left} goes back, /branches lists all",
        "dim",
    )


@dataclass(frozen=True)
class _BranchRow:
    """A line of `/branches`."""

    depth: int
    """Branches on the way to it; 0 for a branch that shares no text with those before."""
    name: str
    origin: int
    """The node where it leaves the branch that it hangs on; `ROOT` at depth 0."""
    end: int


def branches(context: Context, argument: str) -> None:
    """Draws the tree of branches: where each branch leaves the one above it."""
    session, screen = context.session, context.screen
    tree = session.tree
    ascii = screen.palette.ascii
    rows: list[_BranchRow] = []
    for name, end in sorted(branches_by_age(tree), key=lambda item: (item[0] != MAIN, item[1])):
        origin, depth = ROOT, 0
        for row in rows:
            shared = tree.common(end, row.end)
            if shared > origin:
                origin, depth = shared, row.depth + 1
        rows.append(_BranchRow(depth, name, origin, end))
    table = []
    for row in _in_tree_order(rows):
        lead = ("`- " if ascii else "└─ ") if row.depth else ""
        mark = "*" if row.name == tree.branch else " "
        glimpse = one_line(session.text(_GLIMPSE_TOKENS, row.end), ascii=ascii)
        start = tree.position(row.origin) if row.depth else 0
        table.append(
            (
                f"{mark} {'   ' * max(0, row.depth - 1)}{lead}{row.name}",
                f"{start}-{tree.position(row.end)}",
                f"…{glimpse}",
            )
        )
    screen.table(("branch", "tokens", "ends with"), table)


def _in_tree_order(rows: list[_BranchRow]) -> list[_BranchRow]:
    """Puts each row after the row that it hangs on; in `rows` parents stand before children."""
    ordered: list[_BranchRow] = []
    for row in rows:
        index = len(ordered)
        if row.depth:
            parent = max(k for k, other in enumerate(ordered) if other.depth == row.depth - 1)
            index = parent + 1
            while index < len(ordered) and ordered[index].depth >= row.depth:
                index += 1
        ordered.insert(index, row)
    return ordered


def diff(context: Context, argument: str) -> None:
    """Shows two branches side by side, from where they part."""
    session = context.session
    tree = session.tree
    names = argument.split()
    if len(names) == 1:
        names.insert(0, tree.branch)
    if len(names) != 2:
        raise UsageError("diff: name two branches; /branches lists them")
    for name in names:
        if name not in tree.branches:
            tree.switch(name)  # raises the error that suggests the nearest name
    first, second = (tree.branches[name] for name in names)
    shared = tree.common(first, second)
    texts = ["".join(session.labels(tree.path(end, after=shared))) for end in (first, second)]
    glimpse = one_line(session.text(_GLIMPSE_TOKENS, shared), ascii=context.screen.palette.ascii)
    length = plural(tree.position(shared), "token")
    context.screen.line(f"both begin with the same {length}: …{glimpse}", "dim")
    context.screen.columns(texts[0], texts[1], (names[0], names[1]))


def text(context: Context, argument: str) -> None:
    """Prints the text, or its last N tokens."""
    session, screen = context.session, context.screen
    count = whole_number(argument, "text", session.position, 1_000_000_000) if argument else None
    screen.write(safe(session.text(count)))
    screen.write(SafeText("\n"))


def clear(context: Context, argument: str) -> None:
    """Begins a new text; the old one stays in the tree."""
    context.session.tree.move(ROOT)
    context.screen.line("a new text begins; /branches lists the old one", "dim")


def show_position(context: Context) -> None:
    """Prints the branch, the length of the text and its end."""
    session = context.session
    tokens = 2 * _GLIMPSE_TOKENS
    glimpse = one_line(session.text(tokens), ascii=context.screen.palette.ascii)
    cut = "…" if session.position > tokens else ""
    context.screen.line(
        f"[{session.tree.branch}, {plural(session.position, 'token')}] {cut}{glimpse}",
        "dim",
    )
