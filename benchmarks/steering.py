"""What is asked of a text: how often it is kept, what it costs, and how natural the text stays.

    python benchmarks/steering.py bard=english zh=chinese python=code

Each argument is a model and the row of `ASKED` that suits its text. For every constraint, so many
texts are written with it; an independent check says how many keep it. `bits` is their mean
surprise under the model itself, without the constraint. Its reference is rejection: texts are
written freely until enough of them keep the constraint by chance, where that happens at all.
Speeds are those of one text at a time, free and constrained in turn.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import report

import chargen
from chargen.inference.choice import whole_texts
from chargen.steering.verse import english

TEXTS = 1_000
FREE_TEXTS = 6_000
MIN_ACCEPTED = 30
LENGTH = 160
SPEED_ROUNDS = 7
RHYMED_TEXTS = 60


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """What is asked, and how a text of its own tells that it was kept."""

    settings: dict[str, Any]
    kept: Callable[[str], str | None]
    """The beginning of a text that keeps the constraint; None if it does not."""


def matches(pattern: str) -> Constraint:
    """A pattern; a free text keeps it if its beginning does."""

    def kept(text: str) -> str | None:
        found = re.match(pattern, text)
        return found[0] if found else None

    return Constraint(settings={"match": pattern}, kept=kept)


def bans(*words: str, blanks: bool = True) -> Constraint:
    """Words that must not come."""
    edge = r"(?<!\w)(?:{})(?!\w)" if blanks else "(?:{})"
    pattern = re.compile(edge.format("|".join(map(re.escape, words))), re.IGNORECASE)
    return Constraint(
        settings={"ban": words}, kept=lambda text: None if pattern.search(text) else text
    )


def acrostic(letters: str) -> Constraint:
    """Letters that begin the lines."""

    def kept(text: str) -> str | None:
        lines = text.split("\n")[: len(letters)]
        whole = len(lines) == len(letters) and all(lines)
        firsts = "".join(line[0] for line in lines) if whole else ""
        return "\n".join(lines) if firsts == letters else None

    return Constraint(settings={"acrostic": letters, "line_length": (1, 60)}, kept=kept)


ASKED: dict[str, dict[str, Constraint]] = {
    "english": {
        "match": matches(r"[A-Z][a-z]+(?: [a-z]+){2,4}[,.]\n"),
        "ban": bans("the", "and", "to"),
        "acrostic": acrostic("TA"),
    },
    "code": {
        "match": matches(r"(?:    |        )[a-z_]+ = [a-z_.]+\(.{0,30}\)\n"),
        "ban": bans("self", "return", "if"),
        "acrostic": acrostic("di"),
    },
    "chinese": {
        "match": matches(r"[\u4e00-\u9fff]{2,6}，[\u4e00-\u9fff]{2,12}。?\n"),
        "ban": bans("的", "文件", blanks=False),
        "acrostic": acrostic("无不"),
    },
}


def written(model: chargen.Model, count: int, **settings: Any) -> list[Any]:
    """Texts after a line end, side by side."""
    steps = model.generate_batch(
        "\n", count, seed=1, temperature=1.0, length=LENGTH, memory="off", **settings
    )
    return list(whole_texts(steps))


def bits(model: chargen.Model, texts: list[str]) -> float:
    """Their mean surprise under the model, in bits a character."""
    nats, characters = 0.0, 0
    for text in texts:
        ids = model.encode("\n" + text)
        logits, _ = model.stepper.logits_of(ids[:-1], model.stepper.zero_state())
        shifted = logits - logits.max(1, keepdims=True)
        logprobs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        nats -= float(logprobs[np.arange(len(ids) - 1), ids[1:]].sum())
        characters += len(ids) - 1
    return nats / characters / np.log(2)


def speed(model: chargen.Model, **settings: Any) -> float:
    """Characters a second of one text."""
    began, characters = time.perf_counter(), 0
    for seed in range(6):
        for _ in model.generate(
            "\n", seed=seed, length=LENGTH, temperature=1.0, memory="off", **settings
        ):
            characters += 1
    return characters / (time.perf_counter() - began)


def row(model: chargen.Model, free: list[Any], name: str, constraint: Constraint) -> list[str]:
    """One line of the table."""
    texts = written(model, TEXTS, **constraint.settings)
    kept = [text for text in texts if constraint.kept(text.text) == text.text]
    accepted = [text for candidate in free if (text := constraint.kept(candidate.text))]
    reference = bits(model, accepted) if len(accepted) >= MIN_ACCEPTED else None
    ours = bits(model, [text.text for text in texts])
    rates = [(speed(model), speed(model, **constraint.settings)) for _ in range(SPEED_ROUNDS)]
    ratio = median(constrained / plain for plain, constrained in rates)
    return [
        name,
        f"{100 * len(kept) / len(texts):.1f}%",
        f"{ours:.3f}",
        "-" if reference is None else f"{reference:.3f}",
        "-" if reference is None else f"{100 * (ours / reference - 1):+.1f}%",
        f"{100 * len(accepted) / len(free):.2f}%",
        f"{median(plain for plain, _ in rates):,.0f}",
        f"{ratio:.2f}",
    ]


def rhyming(model: chargen.Model) -> list[str]:
    """How many pairs of lines rhyme by the dictionary, in texts that were completed."""
    words, pairs, complete = english(), [], 0
    for seed in range(RHYMED_TEXTS):
        steps = list(
            model.generate(
                "The night.\n", seed=seed, rhyme="AABB", temperature=0.7, length=500, memory="off"
            )
        )
        if steps[-1].finish != "form":
            continue
        complete += 1
        lines = "".join(step.text for step in steps).split("\n")
        ends = [re.findall(r"[A-Za-z']+", line)[-1] for line in lines]
        pairs += [words.do_rhyme(ends[0], ends[1]), words.do_rhyme(ends[2], ends[3])]
    share = f"{100 * sum(pairs) / len(pairs):.1f}%"
    told = f"{complete} of {RHYMED_TEXTS} texts complete"
    return ["english: rhyme AABB, by pairs", share, "-", "-", "-", told, "-", "-"]


def main() -> None:
    """Writes the table."""
    rows = []
    for argument in sys.argv[1:]:
        name, _, kind = argument.rpartition("=")
        model = chargen.load(name)
        free = written(model, FREE_TEXTS)
        for label, constraint in ASKED[kind].items():
            rows.append(row(model, free, f"{kind}: {label}", constraint))
            print(rows[-1], flush=True)
    rows.append(rhyming(chargen.load("english")))
    header = (
        "asked", "kept", "bits", "by rejection", "difference", "kept by chance",
        "characters a second, free", "constrained / free",
    )  # fmt: skip
    note = (
        f"{TEXTS:,} texts of at most {LENGTH} characters each, temperature 1, without counts; "
        f"rejection from {FREE_TEXTS:,} free texts, the beginnings of which are compared."
    )
    report.write("steering", "What is asked of a text", header, rows, note)


if __name__ == "__main__":
    main()
