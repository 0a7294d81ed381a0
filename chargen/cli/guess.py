"""chargen guess: Shannon's guessing game, a person beside a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.answers import Answers, opened_answers
from chargen.cli.options import (
    MODEL,
    encoding_option,
    json_option,
    named_model_and_file,
    terminal_options,
    write_json,
)
from chargen.errors import CorpusError, UsageError
from chargen.model.runs import run_name
from chargen.terminal.context import Terminal
from chargen.terminal.progress import plural

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.guessing import Passage
    from chargen.terminal.guess_display import Guessed

GIVE_UP = "?"
_MAX_CHARACTERS = 1000
_MIN_CONTEXT = 100
"""Characters before a passage that is chosen by chance."""
_SHOWN_CHARACTERS, _SHOWN_LINES = 600, 6
_TAIL_CHARACTERS = 30
_MAX_TEXT_CHARACTERS = 20_000_000
_GUESS_HELP = """Guess a text character by character, beside a model.

You see a piece of FILE up to a point and type its next character until you are right. The program
tells how many guesses you and the model needed, and at the end what that says of the entropy of the
text (Shannon, 1951). With one argument, the model is the newest run.

\b
  chargen guess bard scene.txt
  chargen guess english novel.txt --characters 50 --seed 3
  chargen guess bard scene.txt --json < guesses.txt     an empty line guesses a line end

Enter guesses a line end. ? gives up on a character, which then counts as the last of all guesses
that are possible. Ctrl-D or Ctrl-C ends the game with the card so far. Capital letters count.
"""


@click.command(help=_GUESS_HELP)
@click.argument("names", metavar="[MODEL] FILE", nargs=-1, required=True, type=MODEL)
@click.option(
    "--characters",
    type=int,
    default=20,
    show_default=True,
    metavar="N",
    help="Characters to guess.",
)
@click.option("--start", type=int, metavar="N", help="The first character to guess, from 1.")
@click.option("--seed", type=int, metavar="N", help="Seed that chooses the passage.")
@encoding_option
@json_option
@terminal_options
def command(
    names: tuple[str, ...],
    characters: int,
    start: int | None,
    seed: int | None,
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
) -> None:
    """Play; see _GUESS_HELP."""
    from chargen.api import draw_seed
    from chargen.insight.guessing import choose_passage
    from chargen.terminal.guess_display import card_lines

    if not 1 <= characters <= _MAX_CHARACTERS:
        raise UsageError(f"--characters {characters}: must be from 1 to {_MAX_CHARACTERS:,}")
    if seed is not None and seed < 0:
        raise UsageError(f"--seed {seed}: must be at least 0")
    if names[-1] == "-":
        raise UsageError("-: name a FILE to read; standard input holds the guesses")
    model, file = named_model_and_file(names, needs_file=True)
    assert file is not None
    text = _read_text(model, file, encoding)
    first = _first_character(text, file, characters, start, draw_seed() if seed is None else seed)
    passage = choose_passage(model.stepper, model.tokenizer, text, first, characters)
    if not passage.positions:
        raise CorpusError(f"{file}: the model knows no character of this passage")
    name = "model" if model.path is None else run_name(model.path)
    guessed: list[Guessed] = []
    try:
        with opened_answers(terminal) as answers:
            for one in _play(passage, answers, name, terminal):
                guessed.append(one)
    except KeyboardInterrupt:
        terminal.err.write("\n")
    if not guessed:
        terminal.note("no character was guessed")
    elif as_json:
        write_json(terminal, _card(guessed, file, first))
    else:
        for line in card_lines(guessed, name, ascii=terminal.ascii):
            terminal.write_line(line)
    terminal.note(f"it began at character {first + 1:,}; --start {first + 1} plays it again")


def _read_text(model: Model, file: str, encoding: str | None) -> str:
    """The text of a file in the form that the model reads.

    Raises:
        CorpusError: it cannot be read, or is too long.
    """
    from chargen.text.corpus import open_corpus
    from chargen.text.corpus_tokenizer import form_of
    from chargen.text.letters import Letters
    from chargen.text.reading import Reading

    letters = Letters(normalize=form_of(model.tokenizer))
    corpus = open_corpus([file], reading=Reading(encoding=encoding, letters=letters))
    parts, size = [], 0
    for piece in corpus.pieces():
        if isinstance(piece, str):
            parts.append(piece)
            size += len(piece)
        if size > _MAX_TEXT_CHARACTERS:
            raise CorpusError(f"{file}: longer than {_MAX_TEXT_CHARACTERS:,} characters")
    return "".join(parts)


def _first_character(text: str, file: str, characters: int, start: int | None, seed: int) -> int:
    """Where the passage begins, from 0: where the person says, else by chance.

    Raises:
        UsageError: --start is outside of the text.
        CorpusError: the text is too short.
    """
    import numpy as np

    if start is not None:
        if not 2 <= start <= len(text):
            raise UsageError(f"--start {start}: must be from 2 to {len(text):,}, the text's length")
        return start - 1
    last = len(text) - characters
    if last < 1:
        raise CorpusError(
            f"{file}: has {plural(len(text), 'character')}; give a text of at least "
            f"{characters + 1}, or fewer --characters"
        )
    return int(np.random.default_rng(seed).integers(min(_MIN_CONTEXT, last), last + 1))


def _play(passage: Passage, answers: Answers, name: str, terminal: Terminal) -> Iterator[Guessed]:
    """Asks for one character after the other until the answers end; yields each that is done."""
    from chargen.terminal.guess_display import Guessed
    from chargen.terminal.safetext import safe, safe_line

    out, arrow = terminal.err, "->" if terminal.ascii else "→"
    last = len(passage.characters)
    terminal.complain(
        f"Type the next character; Enter is a line end. {GIVE_UP} gives up: it counts as guess "
        f"{last}, the last one possible."
    )
    terminal.complain("Ctrl-D ends the game. A line shows the end of the text, then your guesses.")
    begin = passage.text[: passage.positions[0].at][-_SHOWN_CHARACTERS:]
    out.write("\n" + safe("\n".join(begin.split("\n")[-_SHOWN_LINES:])) + "\n\n")
    for position in passage.positions:
        out.write(f"{_tail(passage.text[: position.at], terminal)}_ ")
        out.flush()
        tried: set[str] = set()
        while (guess := answers.next()) not in (None, position.character, GIVE_UP):
            assert guess is not None
            answers.drop_line()
            shown = _marked(guess, terminal)
            if guess not in passage.characters:
                out.write(f"({shown} never comes) ")
            elif guess not in tried:
                tried.add(guess)
                out.write(f"{shown} ")
            out.flush()
        if guess is None:
            out.write("\n")
            return
        gave_up = guess != position.character
        yours = "you gave up" if gave_up else f"your guess {len(tried) + 1}"
        out.write(
            f"{arrow} {_marked(position.character, terminal)}  {yours}; {safe_line(name)}: guess "
            f"{position.model_guess}, {position.model_bits:.1f} bits\n"
        )
        if gave_up:
            answers.drop_line()
        guesses = last if gave_up else len(tried) + 1
        yield Guessed(position=position, guesses=guesses, gave_up=gave_up)


def _tail(text: str, terminal: Terminal) -> str:
    """The end of the last line of a text."""
    from chargen.terminal.heatmap import one_line

    line = text[-_TAIL_CHARACTERS:].rpartition("\n")[2]
    return f"{one_line(line, ascii=terminal.ascii):>{_TAIL_CHARACTERS}}"


def _marked(character: str, terminal: Terminal) -> str:
    from chargen.terminal.guess_display import visible_character

    return visible_character(character, ascii=terminal.ascii)


def _card(guessed: list[Guessed], file: str, first: int) -> dict[str, Any]:
    """The card as plain values for JSON."""
    from chargen.terminal.guess_display import model_bits, score_of

    def score(guesses: list[int]) -> dict[str, Any]:
        at_once, mean, bounds = score_of(guesses)
        return {
            "right_at_first": at_once,
            "mean_guesses": mean,
            "lower_bits": bounds.lower,
            "upper_bits": bounds.upper,
        }

    its = score([one.position.model_guess for one in guessed])
    return {
        "file": file,
        "start": first + 1,
        "characters": [
            {
                "character": one.position.character,
                "guesses": one.guesses,
                "gave_up": one.gave_up,
                "model_guesses": one.position.model_guess,
                "model_bits": one.position.model_bits,
            }
            for one in guessed
        ],
        "you": score([one.guesses for one in guessed]),
        "model": {**its, "bits": model_bits(guessed)},
    }
