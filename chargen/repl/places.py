"""Commands that move in the tree of texts: undo, goto, fork, branches, diff, text, clear."""

from __future__ import annotations

from chargen.errors import UsageError
from chargen.repl.command import Context, whole_number
from chargen.repl.session import tips
from chargen.sampling.tree import ROOT
from chargen.terminal.figures import plural
from chargen.terminal.heatmap import one_line
from chargen.terminal.safetext import SafeText, safe

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
