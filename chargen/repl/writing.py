"""Commands that write: more, regen, seed, choose, words; and what a typed text does."""

from __future__ import annotations

from chargen.errors import UsageError
from chargen.repl.command import Context, whole_number
from chargen.repl.stream import Stream, shown_whitespace
from chargen.repl.tuning import accept
from chargen.sampling.composer import likeliest
from chargen.sampling.words import likeliest_words
from chargen.terminal.heatmap import column_label, one_line
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
        from chargen.repl.looking import draw_heat

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
    return likeliest(session.composer.next_logits(session.tree.tip), count)


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
