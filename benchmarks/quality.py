"""The quality of default settings: `chargen train FILE --minutes M`, then two scores of the tail.

    python benchmarks/quality.py tinyshakespeare.txt --minutes 2 --minutes 5

The model learns from the first 90 % of the text. Its validation part is the last 10 %, which also
chooses the best weights; nanoGPT divides the text in the same way. The tail is scored by two
protocols, because their scores differ by more than most improvements:

- State carried: `chargen eval` reads the tail once, from its beginning to its end, in another
  process. Each prediction can use all the text before it.
- Cold windows, as nanoGPT scores: random windows of the tail, each read from a zero state. The
  first character of a window is only read; each of the next 256 is predicted from the characters
  of the window before it, so the first predictions have almost no context.

The wall time of the training command includes its start-up.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import report

import chargen

NANOGPT_DRAWS = 200 * 64
"""Windows in one estimate of nanoGPT's loss: `eval_iters` batches of `batch_size` windows."""
BATCH_ROWS = 256
"""Windows that are read side by side."""


def cold_window_nats(
    model: chargen.Model, ids: npt.NDArray[np.integer], length: int, draws: int, seed: int
) -> tuple[float, float]:
    """Mean nats a token over random windows that begin without context, and its standard error.

    The protocol of nanoGPT's `estimate_loss`: a window starts anywhere in the text, reads `length`
    tokens from a zero state, and predicts the token after each of them; all predictions count
    equally. The error is that of drawing windows from this text, not that of the text.

    Args:
        model: a model.
        ids: tokens (N,) of the text; at least `length` + 1.
        length: predictions in a window.
        draws: windows to draw, with replacement.
        seed: of the draw.

    Raises:
        click.ClickException: the text is shorter than a window.
    """
    if len(ids) <= length:
        raise click.ClickException(
            f"--windows {length}: the tail has only {len(ids)} tokens; give a shorter window"
        )
    starts = np.random.default_rng(seed).integers(0, len(ids) - length, draws)
    offsets = np.arange(length + 1)
    window_nats = np.concatenate(
        [
            _nats_of_rows(model, ids[starts[first : first + BATCH_ROWS, None] + offsets])
            for first in range(0, draws, BATCH_ROWS)
        ]
    )
    per_token = window_nats / length
    return float(per_token.mean()), float(per_token.std(ddof=1) / np.sqrt(draws))


def _nats_of_rows(model: chargen.Model, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Nats (N,) of each row of tokens (N, T + 1) after its first, read from a zero state."""
    stepper = model.stepper.batched(len(rows))
    state = stepper.zero_state()
    nats = np.zeros(len(rows))
    numbers = np.arange(len(rows))
    for inputs, targets in zip(rows.T[:-1], rows.T[1:], strict=True):
        logits = stepper.step(inputs, state, state).astype(np.float64)
        highest = logits.max(axis=-1)
        log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=-1))
        nats += log_sum - logits[numbers, targets]
    return nats


def run_once(
    text: str, minutes: float, seed: int, folder: Path, windows: int, draws: int
) -> list[str]:
    """Trains and scores; returns a row of the table.

    Args:
        text: the whole text; its last tenth is the tail.
        minutes: of training.
        seed: of training.
        folder: where the run is made.
        windows: predictions in each cold window.
        draws: cold windows to draw.
    """
    run = folder / f"{minutes}-{seed}"
    tail_text = text[int(len(text) * 0.9) :]
    tail = folder / "tail.txt"
    tail.write_text(tail_text, encoding="utf-8", newline="")
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8", newline="")
    began = time.perf_counter()
    subprocess.run(
        [report.CHARGEN, "train", str(source), "--out", str(run), "--minutes", str(minutes),
         "--seed", str(seed), "--quiet"],
        check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    scored = subprocess.run(
        [report.CHARGEN, "eval", str(run), str(tail), "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    score = json.loads(scored.stdout.splitlines()[-1])
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    config, train = record["model"], record["train"]
    model = chargen.load(run)
    cold, error = cold_window_nats(model, model.encode(tail_text), windows, draws, seed=0)
    return [
        f"{minutes:g}",
        str(seed),
        f"{seconds:.1f}",
        f"{score['nats_per_token']:.4f}",
        f"{cold:.4f} ± {error:.4f}",
        f"{score['bits_per_byte']:.4f}",
        f"{config['cell']} {config['num_layers']}x{config['hidden_size']}",
        f"B {train['batch_size']}, T {train['bptt']}, rate {train['learning_rate']:g}",
        f"{record['steps'] * train['batch_size'] * train['bptt'] / len(text) / 0.9:.1f}",
    ]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--minutes", type=float, multiple=True, default=(2.0,), help="May be given several times."
)
@click.option("--seeds", type=int, default=1, help="Runs for each of these minutes.")
@click.option(
    "--windows",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="T",
    help="Predictions in each cold window; 256 is nanoGPT's for this text.",
)
@click.option(
    "--draws",
    type=click.IntRange(min=2),
    default=NANOGPT_DRAWS,
    show_default=True,
    metavar="N",
    help="Cold windows to draw.",
)
@click.option("--name", default="quality", help="Of the table in results/.")
def main(
    file: Path, minutes: tuple[float, ...], seeds: int, windows: int, draws: int, name: str
) -> None:
    """Measures, prints and writes the table."""
    text = file.read_text(encoding="utf-8")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for run_minutes in minutes:
            for seed in range(seeds):
                rows.append(run_once(text, run_minutes, seed, Path(folder), windows, draws))
                print("  ".join(rows[-1]), flush=True)
    report.write(
        name,
        f"Default settings on {file.name}",
        ["minutes asked", "seed", "seconds taken", "nats a token",
         f"nats a token, cold windows of {windows}", "bits a byte", "model", "plan",
         "passes over the text"],
        rows,
        "Both scores are of the last tenth of the text, from which no weight is learned.",
        "",
        "- *nats a token* and *bits a byte*: `chargen eval` reads the tail once, from an empty "
        "state to its end. The state is carried, so each prediction can use all the text before "
        "it.",
        f"- *cold windows of {windows}*: {draws:,} random windows of the tail (seed 0), each read "
        "from a zero state. The first character is only read; each of the "
        f"next {windows} is predicted from the characters of the window before it. The mean counts "
        "all predictions equally, also the first ones, which have almost no context. ± is the "
        "standard error of drawing the windows. nanoGPT scores in this way: its `estimate_loss` "
        "averages 200 batches of 64 random windows of 256 characters. Its figure compares with "
        "this column.",
        "- The trained model's head is already scaled by one factor (an inverse temperature, Guo "
        "et al., 2017), fitted on the validation part. That part is this same tail, and it also "
        "chooses the best weights. nanoGPT keeps its best weights by the same tail too, and fits "
        "no factor.",
        "",
        "On tiny Shakespeare the goals for nats a token are 1.44 after 2 minutes, 1.41 after 5, "
        "1.38 after 30; nanoGPT's README gives 1.4697 after 3 minutes of an A100.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
