"""Commands that write: more, regen, seed, choose, words; and what a typed text does.

Commands that move in the tree of texts: undo, goto, fork, branches, diff, text, clear.
"""

from __future__ import annotations

from chargen.errors import UsageError
from chargen.inference.composer import most_likely
from chargen.inference.lookahead import likeliest_words
from chargen.inference.tree import ROOT
from chargen.repl.commands import Context, whole_number
from chargen.repl.commands.learn import accept
from chargen.repl.session import tips
from chargen.repl.stream import Stream, shown_whitespace
from chargen.terminal.heatmap import column_label, one_line
from chargen.terminal.progress import plural
from chargen.terminal.safetext import SafeText, safe

_CONTEXT = 60
"""Characters of the line so far that stand before a continuation."""
_GUESSES = 10
_VARIANTS = 50


def read_and_write(context: Context, text: str) -> None:
    """Read what was typed, and write on."""
    session, tree = context.session, context.session.tree
    accept(session)
    before, start = _line_so_far(context), tree.tip
    for line in session.append(text):
        context.screen.line(line, "dim")
    read = "".join(session.labels(tree.path(tree.tip, after=start)))
    _go_on(context, before, read)


def more(context: Context, argument: str) -> None:
    """Write on."""
    accept(context.session)
    _go_on(context, _line_so_far(context), "")


def _go_on(context: Context, before: str, text: str) -> None:
    """Write a continuation to the screen, after the line so far and what was just read."""
    session, screen = context.session, context.screen
    stream = Stream(session, screen, context.keys, context.note_once)
    shown = safe(text)
    if session.settings.whitespace:
        shown = shown_whitespace(shown, ascii=screen.palette.ascii)
    screen.write(SafeText(screen.styled(safe(before), "dim") + screen.styled(shown, "bold")))

    if stream.run() == "end":
        screen.line("(the document ends here; Enter begins the next one)", "dim")
    if session.heat_on and screen.interactive:
        from chargen.repl.commands.inspect import draw_heat

        draw_heat(context)


def regen(context: Context, argument: str) -> None:
    """Take the last continuation back and write another."""
    session = context.session
    start = session.last_start()
    if start is None or not start[1]:
        raise UsageError("there is no continuation to write anew; press Enter to write one")
    session.tree.move(start[0])  # not accepted, and so not learned
    _go_on(context, _line_so_far(context), "")


def seed(context: Context, argument: str) -> None:
    """Draw from a seed, from its beginning."""
    session = context.session
    if argument:
        if not (argument.isdecimal() and argument.isascii() and len(argument) < 19):
            raise UsageError(f"seed {argument}: must be a whole number, at least 0")
        session.reseed(int(argument))
    context.screen.line(f"seed {session.seed}", "dim")


def words(context: Context, argument: str) -> None:
    """The likeliest next words."""
    session = context.session
    most = whole_number(argument, "words", _GUESSES, 100)
    ascii = context.screen.palette.ascii
    # The same word after one space or four is one word here.
    chances: dict[str, float] = {}
    for text, chance in likeliest_words(session.composer, session.tree.tip, most + _VARIANTS):
        word = text.strip() or text
        chances[word] = chances.get(word, 0.0) + chance
    best = sorted(chances.items(), key=lambda one: -one[1])[:most]
    rows = [(f"{chance:.1%}", one_line(word, ascii=ascii)) for word, chance in best]
    if not rows:
        raise UsageError("no word is likely enough to be found by looking ahead")
    context.screen.table(("", "next word"), rows)


def choose(context: Context, argument: str) -> None:
    """The next token, picked by the person."""
    if argument:
        guesses = next_tokens(context, 100)
        number = whole_number(argument, "choose", 1, len(guesses))
        take(context, guesses[number - 1][0])
        context.screen.line(_line_so_far(context), "dim")
    elif context.pick is not None:
        context.pick(context)
        context.screen.line(_line_so_far(context), "dim")
    else:
        rows = [
            (number, f"{chance:.1%}", spelled(context, token))
            for number, (token, chance) in enumerate(next_tokens(context, _GUESSES), 1)
        ]
        context.screen.table(("", "", "next token"), rows)
        context.screen.line("/choose N takes one")


def next_tokens(context: Context, count: int) -> list[tuple[int, float]]:
    """The likeliest next tokens and their probabilities."""
    session = context.session
    return most_likely(session.composer.next_logits(session.tree.tip), count)


def spelled(context: Context, token: int) -> SafeText:
    """A token as it stands in a list."""
    tokenizer = context.session.model.tokenizer
    if token == tokenizer.eos_id:
        return SafeText("(end)")
    text = tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")
    return column_label(text, ascii=context.screen.palette.ascii)[0]


def take(context: Context, token: int) -> None:
    """Write a token that a person chose."""
    session = context.session
    start = session.composer.start(session.tree.tip, empty=True)
    session.tree.branches[session.tree.branch] = session.composer.read(start, [token])


def _line_so_far(context: Context) -> str:
    """What stands on the text's last line, or its end."""
    line = context.session.text(_CONTEXT).rpartition("\n")[2]
    return line if len(line) < _CONTEXT else f"…{line[1:]}"


_GLIMPSE = 40


def undo(context: Context, argument: str) -> None:
    """Take back tokens."""
    session = context.session
    tree = session.tree
    if tree.position(tree.tip) == 0:
        raise UsageError("there is nothing to undo")
    start = session.last_start()
    if not argument and start is not None:
        tree.move(start[0])
    else:
        tree.move(tree.back(tree.tip, whole_number(argument, "undo", 1)))
    show_place(context)


def goto(context: Context, argument: str) -> None:
    """To a branch, or to a place in this one."""
    session = context.session
    tree = session.tree
    if not argument:
        raise UsageError("goto: name a branch (/branches lists them) or a number of tokens")
    if argument.isdecimal() and argument.isascii():
        position = int(argument)
        if position > session.position:
            raise UsageError(
                f"goto {argument}: the text has {session.position} tokens, and can go no farther"
            )
        tree.move(tree.back(tree.tip, session.position - position))
    else:
        tree.switch(argument)
    show_place(context)


def fork(context: Context, argument: str) -> None:
    """Begin a branch."""
    context.session.tree.fork(argument)
    context.screen.line(
        f"branch {argument}, at {context.session.position} tokens; "
        "/branches lists all, /goto leads back",
        "dim",
    )


def branches(context: Context, argument: str) -> None:
    """The tree: where each branch leaves the one before it."""
    session, screen = context.session, context.screen
    tree = session.tree
    ascii = screen.palette.ascii
    drawn: list[tuple[str, int]] = []
    rows: list[tuple[int, str, int, int]] = []
    for name, end in sorted(tips(tree), key=lambda one: (one[0] != "main", one[1])):
        origin, depth = ROOT, 0
        for number, (_, other) in enumerate(drawn):
            shared = tree.common(end, other)
            if shared > origin:
                origin, depth = shared, rows[number][0] + 1
        drawn.append((name, end))
        rows.append((depth, name, origin, end))
    table = []
    for depth, name, origin, end in _in_tree_order(rows):
        lead = ("`- " if ascii else "└─ ") if depth else ""
        mark = "*" if name == tree.branch else " "
        glimpse = one_line(session.text(_GLIMPSE, end), ascii=ascii)
        at = tree.position(origin)
        span = f"{at}-{tree.position(end)}" if depth else f"0-{tree.position(end)}"
        table.append((f"{mark} {'   ' * max(0, depth - 1)}{lead}{name}", span, f"…{glimpse}"))
    screen.table(("branch", "tokens", "ends with"), table)


def _in_tree_order(
    rows: list[tuple[int, str, int, int]],
) -> list[tuple[int, str, int, int]]:
    """Each row after the one that it hangs on; rows come with parents before children."""
    ordered: list[tuple[int, str, int, int]] = []
    for row in rows:
        place = len(ordered)
        if row[0]:
            above = max(k for k, one in enumerate(ordered) if one[0] == row[0] - 1)
            place = above + 1
            while place < len(ordered) and ordered[place][0] >= row[0]:
                place += 1
        ordered.insert(place, row)
    return ordered


def diff(context: Context, argument: str) -> None:
    """Two branches side by side, from where they part."""
    session = context.session
    tree = session.tree
    names = argument.split()
    if len(names) == 1:
        names.insert(0, tree.branch)
    if len(names) != 2:
        raise UsageError("diff: name two branches; /branches lists them")
    for name in names:
        if name not in tree.branches:
            tree.switch(name)  # complains, with the nearest name
    first, second = (tree.branches[one] for one in names)
    shared = tree.common(first, second)
    texts = ["".join(session.labels(tree.path(one, after=shared))) for one in (first, second)]
    at = tree.position(shared)
    glimpse = one_line(session.text(_GLIMPSE, shared), ascii=context.screen.palette.ascii)
    context.screen.line(f"both begin with {at} tokens: …{glimpse}", "dim")
    context.screen.columns(texts[0], texts[1], (names[0], names[1]))


def text(context: Context, argument: str) -> None:
    """The text so far."""
    session, screen = context.session, context.screen
    count = whole_number(argument, "text", session.position, 1_000_000_000) if argument else None
    screen.write(safe(session.text(count)))
    screen.write(SafeText("\n"))


def clear(context: Context, argument: str) -> None:
    """Begin a new text."""
    tree = context.session.tree
    tree.move(ROOT)
    context.screen.line("a new text; /branches shows where the old one is", "dim")


def show_place(context: Context) -> None:
    """Where the text is now: its end, and how long it is."""
    session = context.session
    glimpse = one_line(session.text(2 * _GLIMPSE), ascii=context.screen.palette.ascii)
    cut = "…" if session.position > 2 * _GLIMPSE else ""
    context.screen.line(
        f"[{session.tree.branch}, {plural(session.position, 'token')}] {cut}{glimpse}",
        "dim",
    )
