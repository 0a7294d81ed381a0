"""The goals P1 to P8 and what was reached, from the tables that the other benchmarks wrote.

python benchmarks/goals.py
"""

from __future__ import annotations

from collections.abc import Callable

import report

Row = dict[str, str]
"""A row of a table: the text of each column, by the column's name."""
CELLS = ("lstm", "gru", "rnn")


def rows_of(table: str) -> list[Row]:
    """The rows of results/TABLE.md."""
    lines = (report.RESULTS / f"{table}.md").read_text(encoding="utf-8").splitlines()
    header, *rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in lines
        if line.startswith("| ")
    ]
    return [dict(zip(header, row, strict=True)) for row in rows]


def find_row(table: str, **wanted: str) -> Row:
    """The first row of results/TABLE.md whose columns have these values.

    Args:
        table: name of the table.
        wanted: a value for each column, whose name has underscores instead of spaces.

    Raises:
        SystemExit: the table has no such row.
    """
    columns = {name.replace("_", " "): value for name, value in wanted.items()}
    for row in rows_of(table):
        if columns.items() <= row.items():
            return row
    raise SystemExit(f"results/{table}.md: no row with {columns}; run benchmarks/{table}.py")


def quality(minutes: str) -> str:
    """Nats of tiny Shakespeare's last tenth after so many minutes."""
    row = find_row("quality", minutes_asked=minutes)
    return f"{row['nats a token']} in {row['seconds taken']} s ({row['model']})"


def speed(column: str) -> str:
    """A column of the training speeds at 2x512, for each of the three cells."""
    rows = {
        cell: find_row("train_speed", model=f"{cell} 2x512, B 64, T 128", kernel="native bf16")
        for cell in CELLS
    }
    return ", ".join(f"{cell} {row[column]}" for cell, row in rows.items())


def writing() -> str:
    """Sampling speed: how many times torch's, and shares of the memory bandwidth."""
    row = find_row("sampling_speed", model="lstm 2x512")
    step, whole = row["step's share of it"], row["generate's share"]
    return f"{row['generate / torch.nn']}; step {step}, with the draw {whole}"


def start() -> str:
    """Seconds of `chargen --help`, and to the first sampled character."""
    column = "seconds (median of 15)"
    help_text = find_row("startup", what="chargen --help, to its end")
    first = find_row("startup", what="first sampled character, LSTM 2x512")
    return f"{help_text[column]} s; {first[column]} s"


def encoding() -> str:
    """Characters encoded in a second, and peak memory."""
    row = find_row("encode", text="ASCII", tokenizer="char")
    return f"{row['characters a second']}; {row['peak memory of the process']}"


GOALS: list[tuple[str, str, str, Callable[[], str]]] = [
    ("P1", "nats, 2 minutes", "1.44", lambda: quality("2")),
    ("P2", "nats, 5 minutes", "1.41", lambda: quality("5")),
    ("P3", "nats, 30 minutes", "1.38", lambda: quality("30")),
    ("P4", "training beside torch.nn fp32, 2x512", "LSTM 1.6x, GRU 2.5x, RNN 3x",
     lambda: speed("factor")),
    ("P5", "share of the GEMM peak, 2x512", "0.75", lambda: speed("share of it")),
    ("P6", "writing beside torch.nn, 2x512; share of gemv", "20x; 80%", writing),
    ("P7", "--help; first character", "0.15 s; 0.5 s", start),
    ("P8", "encoding 1 GB: characters a second; memory", "50 M; 600 MB", encoding),
]  # fmt: skip


def main() -> None:
    """Collects, prints and writes the table."""
    limits = [f"{row['what']}: {row['rate']}" for row in rows_of("limits")]
    report.write(
        "goals",
        "Goals and what was reached",
        ["", "what", "goal", "reached"],
        [[name, what, goal, reached()] for name, what, goal, reached in GOALS],
        f"The machine's limits when they were measured: {'; '.join(limits)}.",
        "",
        "Each figure comes from the table of its own benchmark, which has its own date and machine "
        "line. Quality: default settings on tiny Shakespeare; `chargen eval` scores the last tenth "
        "with fixed weights and a state that is carried. The same tenth chooses the best weights, "
        "as it does for the figures that these are compared with.",
    )


if __name__ == "__main__":
    main()
