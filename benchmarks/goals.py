"""The goals P1 to P8 and what was reached, from the tables of the other benchmarks.

python benchmarks/goals.py
"""

from __future__ import annotations

from collections.abc import Callable

import report

Row = dict[str, str]


def rows_of(name: str) -> list[Row]:
    """The rows of a table in results/, each by the names of its columns."""
    lines = (report.RESULTS / f"{name}.md").read_text(encoding="utf-8").splitlines()
    cells = [
        [one.strip() for one in line.strip("|").split(" | ")]
        for line in lines
        if line.startswith("| ")
    ]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def row(name: str, **wanted: str) -> Row:
    """The row of a table whose columns say so; spaces are underscores here."""
    return next(
        one
        for one in rows_of(name)
        if all(one[key.replace("_", " ")] == value for key, value in wanted.items())
    )


def quality(minutes: str) -> str:
    """Nats of tiny Shakespeare's last tenth."""
    found = row("quality", minutes_asked=minutes)
    return f"{found['nats a token']} in {found['seconds taken']} s ({found['model']})"


def speed(column: str) -> Callable[[], str]:
    """A column of the three cells at 2x512."""

    def of() -> str:
        names = ("lstm", "gru", "rnn")
        found = [
            row("train_speed", model=f"{one} 2x512, B 64, T 128", kernel="native bf16")
            for one in names
        ]
        return ", ".join(f"{a} {b[column]}" for a, b in zip(names, found, strict=True))

    return of


def writing() -> str:
    """Against torch, and the share of the bandwidth."""
    found = row("sampling_speed", model="lstm 2x512")
    step, whole = found["step's share of it"], found["generate's share"]
    return f"{found['generate / torch.nn']}; step {step}, with the draw {whole}"


def start() -> str:
    """Seconds."""
    column = "seconds (median of 15)"
    help_, first = (
        row("startup", what=one)[column]
        for one in ("chargen --help, to its end", "first sampled character, LSTM 2x512")
    )
    return f"{help_} s; {first} s"


def encoding() -> str:
    """Characters a second, and memory."""
    found = row("encode", text="ASCII", tokenizer="char")
    return f"{found['characters a second']}; {found['peak memory of the process']}"


GOALS: list[tuple[str, str, str, Callable[[], str]]] = [
    ("P1", "nats, 2 minutes", "1.44", lambda: quality("2")),
    ("P2", "nats, 5 minutes", "1.41", lambda: quality("5")),
    ("P3", "nats, 30 minutes", "1.38", lambda: quality("30")),
    ("P4", "training beside torch.nn fp32, 2x512", "LSTM 1.6x, GRU 2.5x, RNN 3x", speed("factor")),
    ("P5", "share of the GEMM peak, 2x512", "0.75",
     speed("share of it")),
    ("P6", "writing beside torch.nn, 2x512; share of gemv", "20x; 80%", writing),
    ("P7", "--help; first character", "0.15 s; 0.5 s", start),
    ("P8", "encoding 1 GB: characters a second; memory", "50 M; 600 MB", encoding),
]  # fmt: skip


def main() -> None:
    """Collect, print and write the table."""
    limits = [f"{one['what']}: {one['rate']}" for one in rows_of("limits")]
    report.write(
        "goals",
        "Goals and what was reached",
        ["", "what", "goal", "reached"],
        [[name, what, goal, reached()] for name, what, goal, reached in GOALS],
        f"The machine's limits when they were measured: {'; '.join(limits)}.",
        "",
        "Each figure is from the table of its own benchmark, with its own date and machine line. "
        "Quality: default settings on tiny Shakespeare, the last tenth scored by `chargen eval`, "
        "static, state carried; the same tenth chooses the weights, as in the figures it is "
        "compared with.",
    )


if __name__ == "__main__":
    main()
