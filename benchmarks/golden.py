"""Golden values: what a refactoring must leave equal, bit for bit, on one machine.

    python benchmarks/golden.py write [FILE]    before the change
    python benchmarks/golden.py check [FILE]    after it: names every value that differs

The values are the losses of 50 training steps for every cell, kernel, precision, optimizer and
one or two groups; the text that each cell writes under each filter; and what every display prints
with `--json` for a small model. Floating point differs between CPUs, so a file is good on the
machine that wrote it. Everything goes through public names, so the script outlives renames.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEFAULT_FILE = Path(__file__).parent / "results" / "golden.json"
CELLS = ("lstm", "gru", "rnn", "rnn-relu")
KERNELS = (
    ("native", "fp32"),
    ("native", "bf16"),
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("stock", "fp32"),
)
FILTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cold": {"temperature": 0.4},
    "greedy": {"temperature": 0.0},
    "top-k": {"top_k": 5},
    "top-p": {"top_p": 0.8},
    "min-p": {"min_p": 0.1},
    "repetition": {"repetition_penalty": 1.5},
}
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_layers": 2,
    "batch_size": 6,
    "bptt": 16,
    "evaluations": 2,
    "threads": 1,
}


FOUND = 4
"""Exit code of `surprise --max-bits` when it lists positions."""


def made_up_text(sentences: int, seed: int = 7) -> str:
    """Sentences that read like English and repeat themselves like English, made on the spot."""
    generator = random.Random(seed)
    subjects = ["The sailor", "A grey cat", "My aunt", "Nobody", "The river", "Old Tom"]
    verbs = ["saw", "kept", "forgot", "carried", "painted", "asked for"]
    objects = ["the lamp", "a letter", "seven apples", "the door", "(her) hat", "a song"]
    ends = [".", "!", "?", ", and then slept.", " in the rain.", '; "well," said he.']
    lines = []
    for _ in range(sentences):
        words = [generator.choice(words) for words in (subjects, verbs, objects)]
        lines.append(" ".join(words) + generator.choice(ends))
    return "\n".join(line + ("\n" if number % 7 == 6 else "") for number, line in enumerate(lines))


def trained_losses(name: str, **settings: Any) -> list[str]:
    """Exact losses of a run, and its final score where it has one."""
    import chargen

    values = []
    for event in chargen.train("book.txt", run=name, overwrite=True, seed=3, **settings):
        if type(event).__name__ == "StepDone":
            values.append(float(event.loss).hex())
        elif type(event).__name__ == "Finished":
            values.append(f"score {event.score.nats_per_token!r}" if event.score else "no score")
    return values


def training_values() -> Iterator[tuple[str, Any]]:
    """Losses for everything that computes them."""
    for cell, (kernel, precision), optimizer, groups in itertools.product(
        CELLS, KERNELS, ("muon", "adamw"), (1, 2)
    ):
        name = f"{cell}-{kernel}-{precision}-{optimizer}-{groups}"
        settings = {**SMALL, "cell": cell, "kernel": kernel, "precision": precision}
        settings |= {"optimizer": optimizer, "groups": groups, "steps": 50}
        settings["threads"] = 2 if kernel == "native" else 1
        try:
            yield f"train {name}", trained_losses(name, **settings)
        except Exception as error:
            yield f"train {name}", f"{type(error).__name__}"
    extras = {
        "dropout": {"dropout": 0.5, "dropout_masks": 2, "embedding_dropout": 0.1},
        "tied": {"tied_head": True, "embedding_size": 32},
        "subword": {"tokenizer": "subword", "vocab_size": 330},
        "lines": {"documents": "lines", "patience": 1, "schedule": "cosine"},
        "planned": {"num_layers": None, "hidden_size": None, "batch_size": None, "bptt": None},
    }
    for name, settings in extras.items():
        yield f"train {name}", trained_losses(f"extra-{name}", **{**SMALL, "steps": 50, **settings})


def continued_values() -> Iterator[tuple[str, Any]]:
    """Fine-tuning and resuming, whose events carry losses too."""
    import chargen

    def losses(events: Iterator[Any]) -> list[str]:
        return [float(event.loss).hex() for event in events if type(event).__name__ == "StepDone"]

    base = "lstm-stock-fp32-muon-1"
    yield (
        "finetune",
        losses(
            chargen.finetune(base, "other.txt", run="tuned", overwrite=True, steps=30, threads=1)
        ),
    )
    yield (
        "finetune with replay",
        losses(
            chargen.finetune(
                base,
                "other.txt",
                run="replayed",
                overwrite=True,
                steps=20,
                threads=1,
                replay="book.txt",
            )
        ),
    )
    yield "resume", losses(chargen.resume("tuned", steps=20))


def sampling_values() -> Iterator[tuple[str, Any]]:
    """Texts, with their log-probabilities, for every cell and filter."""
    import chargen

    for cell, groups, (name, settings) in itertools.product(CELLS, (1, 2), FILTERS.items()):
        model = chargen.load(f"{cell}-stock-fp32-muon-{groups}")
        steps = list(model.generate("The ", length=120, seed=11, **settings))
        yield (
            f"sample {cell} {groups} {name}",
            [
                "".join(step.text for step in steps),
                *(float(step.logprob).hex() for step in steps),
            ],
        )
    model = chargen.load("lstm-stock-fp32-muon-2")
    batch = [
        (number, step.text) for number, step in model.generate_batch("A ", 5, length=40, seed=2)
    ]
    yield "sample batch", batch
    yield "score", repr(model.score(made_up_text(200, seed=5)))
    trace = model.trace("The sailor saw")
    yield (
        "trace",
        {
            key: value.astype("float64").round(12).tolist()
            for key, value in vars(trace).items()
            if hasattr(value, "astype")
        },
    )


def display_values() -> Iterator[tuple[str, Any]]:
    """What every command with `--json` prints."""
    from chargen.cli.main import run

    model, grouped = "lstm-stock-fp32-muon-1", "gru-stock-fp32-muon-2"
    views = (
        "hidden",
        "cell",
        "input",
        "forget",
        "output",
        "candidate",
        "gates",
        "surprise",
        "entropy",
    )
    lines = [
        *(["heatmap", model, "other.txt", "--view", view, "--json"] for view in views),
        ["heatmap", model, "other.txt", "--view", "unit", "--unit", "L2:7", "--json"],
        ["heatmap", grouped, "other.txt", "--view", "reset", "--json"],
        ["heatmap", grouped, "other.txt", "--view", "update", "--json"],
        ["heatmap", grouped, "other.txt", "--view", "predict", "--json"],
        *(["step", name, "-p", "The sailor kept", "--json"] for name in (model, grouped)),
        *(["gradients", name, "--corpus", "book.txt", "--back", "40", "--json"]
          for name in (model, "rnn-stock-fp32-muon-1")),
        ["horizon", model, "book.txt", "--longest", "64", "--json"],
        ["saturation", grouped, "book.txt", "--json"],
        ["units", model, "book.txt", "--json"],
        *(["why", model, "other.txt", "--at", "120", "--by", way, "--json"]
          for way in ("omission", "input", "gradient")),
        ["surprise", model, "other.txt", "--json"],
        ["surprise", model, "other.txt", "--max-bits", "4", "--json"],
        ["eval", model, "other.txt", "--dynamic", "--json"],
        ["eval", grouped, "book.txt", "--json"],
        ["sample", model, "-p", "The ", "-n", "3", "--seed", "4", "--json"],
        ["info", model, "--json"],
    ]  # fmt: skip
    for arguments in lines:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
            code = run([*arguments, "--quiet"])
        name = "chargen " + " ".join(arguments)
        if code not in (0, FOUND) or not output.getvalue():
            raise SystemExit(f"{name}: exit code {int(code)}; a refusal proves nothing")
        yield name, [int(code), output.getvalue().splitlines()]


def collect() -> dict[str, Any]:
    """All values, by name, made in a folder of their own."""
    parts: list[Callable[[], Iterator[tuple[str, Any]]]] = [
        training_values,
        continued_values,
        sampling_values,
        display_values,
    ]
    values: dict[str, Any] = {}
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("book.txt").write_text(made_up_text(1200), encoding="utf-8")
            Path("other.txt").write_text(made_up_text(60, seed=9), encoding="utf-8")
            for part in parts:
                for name, value in part():
                    values[name] = value
                    print(f"{len(values):4d} {name}", file=sys.stderr)
        finally:
            os.chdir(here)
    # Wall time, paths and dates are no part of what must stay.
    return json.loads(json.dumps(values))


def main() -> int:
    """Write the values, or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("write", "check"))
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT_FILE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CHARGEN_CACHE"] = cache
        values = collect()
    if arguments.verb == "write":
        record = {"machine": f"{platform.machine()} {platform.system()}", "values": values}
        arguments.file.write_text(json.dumps(record, indent=0) + "\n", encoding="utf-8")
        print(f"{arguments.file}: {len(values)} values")
        return 0
    before = json.loads(arguments.file.read_text(encoding="utf-8"))["values"]
    different = [name for name in {**before, **values} if before.get(name) != values.get(name)]
    for name in different:
        print(f"{name} differs:")
        print(f"  before {str(before.get(name))[:300]}")
        print(f"  now    {str(values.get(name))[:300]}")
    print(f"{len(values)} values, {len(different)} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
