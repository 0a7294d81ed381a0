"""What a prediction rests on, in words: below the picture that `why` draws."""

from __future__ import annotations

from collections.abc import Sequence

from chargen.insight.causes import Cause
from chargen.insight.passages import Passage
from chargen.terminal.heatmap import one_line
from chargen.terminal.safetext import SafeText, safe_line


def why_lines(
    token: str,
    chance: float,
    cause: Cause,
    guesses: Sequence[tuple[str, float]],
    passages: Sequence[Passage],
    *,
    ascii: bool = False,
) -> list[SafeText]:
    """A line each: how likely the token was, what was likelier, where the model was as it was here.

    Args:
        token: the one asked about.
        chance: its probability.
        cause: how was asked.
        guesses: the likeliest tokens in its place.
        passages: of the training text.
        ascii: without other characters.
    """
    likely = ", ".join(f"'{one_line(one, ascii=ascii)}' {share:.1%}" for one, share in guesses)
    lines = [
        f"'{one_line(token, ascii=ascii)}' had a probability of {chance:.1%}; {cause.says}",
        f"likeliest there: {likely}",
    ]
    for one in passages:
        before, after = (one_line(text, ascii=ascii) for text in (one.before, one.after))
        lines.append(
            f"training text, line {one.line:,} (cosine {one.cosine:.2f}): {before}|{after}"
        )
    return [safe_line(one) for one in lines]
