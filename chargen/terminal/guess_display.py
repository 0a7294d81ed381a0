"""The card of a guessing game: a person and a model beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chargen.insight.guessing import Bounds, Position, entropy_bounds
from chargen.terminal.heatmap import one_line
from chargen.terminal.safetext import safe_line

_PER_LINE = 20
_CELL = 4
_NAME_COLUMNS = 12


@dataclass(frozen=True, kw_only=True)
class Guessed:
    """A character, and how many guesses the person took."""

    position: Position
    guesses: int
    gave_up: bool = False


def score_of(guesses: Sequence[int]) -> tuple[int, float, Bounds]:
    """How many of the guesses were right at once, their mean, and the bounds in bits."""
    return sum(n == 1 for n in guesses), sum(guesses) / len(guesses), entropy_bounds(guesses)


def model_bits(guessed: Sequence[Guessed]) -> float:
    """What a character cost the model on average, by its probabilities."""
    return sum(one.position.model_bits for one in guessed) / len(guessed)


def card_lines(guessed: Sequence[Guessed], name: str, *, ascii: bool = False) -> Iterator[str]:
    """The card as lines.

    Args:
        guessed: at least one character.
        name: of the model.
        ascii: draw with ASCII characters only.
    """
    name = safe_line(name)[:_NAME_COLUMNS]
    for start in range(0, len(guessed), _PER_LINE):
        part = guessed[start : start + _PER_LINE]
        rows = {
            "": [visible_character(one.position.character, ascii=ascii) for one in part],
            "you": ["?" if one.gave_up else str(one.guesses) for one in part],
            name: [str(one.position.model_guess) for one in part],
        }
        for label, cells in rows.items():
            yield f"{label:<{_NAME_COLUMNS}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
        yield ""
    yours = score_of([one.guesses for one in guessed])
    its = score_of([one.position.model_guess for one in guessed])
    count = len(guessed)
    table = (
        ("", "you", name),
        ("right at the first guess", f"{yours[0]} of {count}", f"{its[0]} of {count}"),
        ("guesses a character", f"{yours[1]:.2f}", f"{its[1]:.2f}"),
        ("bits a character, at least", f"{yours[2].lower:.2f}", f"{its[2].lower:.2f}"),
        ("bits a character, at most", f"{yours[2].upper:.2f}", f"{its[2].upper:.2f}"),
        ("bits by its probabilities", "", f"{model_bits(guessed):.2f}"),
    )
    for row, you, model in table:
        yield f"{row:<28}{you:>12}{model:>14}".rstrip()
    if any(score[2].lower > score[2].upper for score in (yours, its)):
        yield f"({count} characters are few: a lower bound is above its upper bound)"


def visible_character(character: str, *, ascii: bool = False) -> str:
    """A character as a mark that can be seen, also a blank."""
    if character == " ":
        return "_" if ascii else "·"
    return one_line(character, ascii=ascii)
