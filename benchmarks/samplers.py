"""Samplers compared: what a larger model thinks of a smaller one's texts, at equal variety.

    python benchmarks/samplers.py tiny english

The first model writes, the second judges: both learned from the same books. A safer sampler is
liked better and repeats itself more, so a sampler is worth something only where it beats plain
sampling at the temperature that gives the same variety. `bits` are the judge's per character,
`variety` the share of distinct runs of four words among all, `gain` what the judge saves against
plain sampling, read off the line through the plain rows at the same variety.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import report

import chargen
from chargen.inference.choice import whole_texts

TEXTS, LENGTH = 32, 500
PLAIN = tuple({"temperature": t} for t in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0))
SAMPLERS: tuple[dict[str, Any], ...] = (
    {"temperature": 1.0, "top_p": 0.8},
    {"temperature": 1.0, "top_p": 0.6},
    {"temperature": 1.0, "min_p": 0.1},
    {"temperature": 0.8, "min_p": 0.1},
    {"temperature": 1.0, "typical_p": 0.8},
    {"temperature": 0.8, "typical_p": 0.8},
    {"temperature": 1.0, "eta": 0.02},
    {"temperature": 0.8, "eta": 0.02},
    {"temperature": 1.2, "lookahead": 8},
    {"temperature": 1.0, "lookahead": 4},
    {"temperature": 1.0, "lookahead": 8},
    {"temperature": 0.8, "lookahead": 8},
)


def texts_of(model: chargen.Model, settings: dict[str, Any]) -> list[str]:
    """Texts of one sampler."""
    steps = model.generate_batch("\n", TEXTS, seed=1, length=LENGTH, memory="off", **settings)
    return [text.text for text in whole_texts(steps)]


def judged(judge: chargen.Model, texts: list[str]) -> float:
    """The judge's bits per character."""
    batched = judge.stepper.batched(len(texts))
    length = min(map(len, texts))
    ids = np.stack([judge.encode("\n" + text[: length - 8])[: length - 8] for text in texts])
    state, nats = batched.zero_state(), 0.0
    for position in range(ids.shape[1] - 1):
        logits = batched.step(ids[:, position], state, state)
        shifted = logits - logits.max(1, keepdims=True)
        logprobs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        nats -= float(logprobs[np.arange(len(ids)), ids[:, position + 1]].mean())
    return nats / (ids.shape[1] - 1) / float(np.log(2))


def variety(texts: list[str]) -> float:
    """The share of distinct runs of four words."""
    runs = [
        tuple(words[start : start + 4])
        for words in (re.findall(r"\w+", text.lower()) for text in texts)
        for start in range(len(words) - 3)
    ]
    return len(set(runs)) / len(runs)


def main() -> None:
    """Writes the table."""
    writer, judge = map(chargen.load, sys.argv[1:3])
    measured = []
    for settings in (*PLAIN, *SAMPLERS):
        texts = texts_of(writer, settings)
        measured.append((settings, judged(judge, texts), variety(texts)))
        print(measured[-1], flush=True)
    plain = sorted((spread, bits) for _, bits, spread in measured[: len(PLAIN)])
    spreads, line = zip(*plain, strict=True)
    rows = []
    for settings, bits, spread in measured:
        inside = spreads[0] <= spread <= spreads[-1]
        gain = float(np.interp(spread, spreads, line)) - bits if inside else None
        told = ", ".join(f"{name} {value}" for name, value in settings.items())
        shown = "-" if gain is None else f"{gain:+.3f}"
        rows.append([told, f"{bits:.3f}", f"{100 * spread:.1f}%", shown])
    note = (
        f"{sys.argv[1]} writes {TEXTS} texts of {LENGTH} characters with each sampler, "
        f"{sys.argv[2]} judges. No gain is told where the variety lies outside of the plain rows."
    )
    report.write("samplers", "Samplers", ("sampler", "bits", "variety", "gain"), rows, note)


if __name__ == "__main__":
    main()
