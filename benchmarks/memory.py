"""What counts beside the network bring: on several texts, and in writing.

    python benchmarks/memory.py TEXT... [--minutes 2 5] [--seeds 1]

Each TEXT (a file, or builtin:NAME) is trained on with default settings. The gate between network
and counts is fitted on every other block of 256 tokens of the validation part; the figures are
those of the blocks between, which fitted nothing. The network's own best weights were chosen on
the whole validation part, as always. `growing` lets the counts grow with what was read before.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

import report

import chargen
from chargen.own_corpus import training_text

_WRITTEN = 4000
_TEMPERATURE = 0.8
_MODES = ("off", "text", "session")


def train(text: str, minutes: float, seed: int, folder: Path) -> tuple[chargen.Model, float]:
    """A model, and the seconds that its memory took after training."""
    ended = 0.0
    for event in chargen.train(text, minutes=minutes, seed=seed, run="a", out=folder):
        if isinstance(event, chargen.Finished):
            ended = event.seconds
    assert ended
    began = time.perf_counter()
    from chargen.own_corpus import validation_text
    from chargen.remember import remember

    model = chargen.load(folder / "a")
    store, valid = training_text(model), validation_text(model)
    assert store is not None
    assert valid is not None
    remember(model, store.tokens, valid)
    return model, time.perf_counter() - began


def figures_row(text: str, minutes: float, seeds: int) -> list[str]:
    """A row of the first table: medians over the seeds."""
    cards, seconds, size = [], [], 0
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            model, took = train(text, minutes, seed, Path(folder))
            assert model.memory is not None
            cards.append(model.memory.card)
            seconds.append(took)
            size = model.memory.counts.bytes

    def figure(kind: str, name: str) -> float:
        return median(card[kind][name] for card in cards)

    network, together = figure("static", "network"), figure("static", "together")
    return [
        Path(text).name,
        f"{minutes:g}",
        f"{network:.4f}",
        f"{figure('static', 'counts'):.4f}",
        f"{together:.4f}",
        f"{network - together:.4f}",
        f"{figure('growing', 'together'):.4f}",
        f"{size / 1e6:.1f} MB",
        f"{median(seconds):.1f}",
    ]


def writing_rows(text: str, minutes: float) -> list[list[str]]:
    """The rows of the second table: what is written with each memory."""
    with tempfile.TemporaryDirectory() as folder:
        model, _ = train(text, minutes, 0, Path(folder))
        store = training_text(model)
        assert store is not None
        learned = model.tokenizer.decode(store.tokens.tolist())
        known = set(_words(learned))
        rows = []
        for mode in _MODES:
            began = time.perf_counter()
            texts = [
                "".join(
                    step.text
                    for step in model.generate(
                        length=_WRITTEN, temperature=_TEMPERATURE, seed=seed, memory=mode
                    )
                )
                for seed in range(3)
            ]
            seconds = time.perf_counter() - began
            words = [word for written in texts for word in _words(written)]
            parts = Counter(
                written[at : at + 20] for written in texts for at in range(len(written) - 20)
            )
            copied = [
                written[at : at + 40] in learned
                for written in texts
                for at in range(0, len(written) - 40, 20)
            ]
            rows.append(
                [
                    mode,
                    f"{sum(word in known for word in words) / len(words):.1%}",
                    f"{sum(n - 1 for n in parts.values()) / parts.total():.2%}",
                    f"{sum(copied) / len(copied):.2%}",
                    f"{len(set(words)) / len(words):.3f}",
                    f"{3 * _WRITTEN / seconds:,.0f}",
                ]
            )
    return rows


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text.lower())


def main() -> None:
    """Measures and writes results/memory.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.0, 5.0])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    rows = [
        figures_row(text, minutes, options.seeds)
        for minutes in options.minutes
        for text in options.texts
    ]
    written = writing_rows(options.texts[0], options.minutes[0])
    report.write(
        "memory",
        "Counts beside the network",
        [
            "text",
            "minutes",
            "network",
            "counts",
            "together",
            "gain",
            "growing",
            "memory",
            "seconds",
        ],
        rows,
        f"Nats per token on text that fitted nothing; {options.seeds} seed(s), default settings.",
        "`seconds` is what counting, fitting and scoring take after training.",
        "",
        f"Writing with a model of the first row: 3 texts of {_WRITTEN:,} tokens at temperature "
        f"{_TEMPERATURE}. A real word stands in the training text.",
        "",
        "| memory | real words | repeated 20-grams | copied 40-grams | distinct words "
        "| tokens a second |",
        f"|{'---|' * 6}",
        *(f"| {' | '.join(row)} |" for row in written),
    )


if __name__ == "__main__":
    main()
