"""How soon something is on the screen: `chargen --help`, and the first sampled character."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import report

from chargen.model.checkpoint import ModelFile, save_model
from chargen.model.config import ModelConfig
from chargen.text.char import CharTokenizer

ROUNDS = 15
CHARGEN = str(Path(sys.executable).with_name("chargen"))


def first_byte(arguments: list[str]) -> float:
    """Seconds from the start of the process to its first byte on a pseudo-terminal."""
    import pty

    began = time.perf_counter()
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execv(arguments[0], arguments)
    os.read(descriptor, 1)
    took = time.perf_counter() - began
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:
        pass  # Linux ends a pseudo-terminal with an error
    os.close(descriptor)
    os.waitpid(pid, 0)
    return took


def finished(arguments: list[str]) -> float:
    """Seconds from the start of the process to its end."""
    began = time.perf_counter()
    subprocess.run(arguments, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure, print and write the table."""
    tokenizer = CharTokenizer("".join(map(chr, range(32, 97))))
    random = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bare = median([finished([sys.executable, "-c", "pass"]) for _ in range(ROUNDS)])
        rows.append(["python -c pass, for comparison", f"{bare:.3f}", ""])
        helped = median([finished([CHARGEN, "--help"]) for _ in range(ROUNDS)])
        rows.append(["chargen --help, to its end", f"{helped:.3f}", "0.15"])
        for layers, size in ((1, 320), (2, 512)):
            config = ModelConfig(vocab_size=65, hidden_size=size, num_layers=layers)
            weights = {
                name: (random.standard_normal(shape) / 30).astype(np.float32)
                for name, shape in config.tensor_shapes().items()
            }
            path = Path(folder, f"{layers}x{size}.safetensors")
            save_model(
                path, ModelFile(config=config, tokenizer=tokenizer.to_state(), weights=weights)
            )
            arguments = [CHARGEN, "sample", str(path), "--no-echo", "-p", "A", "-l", "50"]
            took = median([first_byte(arguments) for _ in range(ROUNDS)])
            rows.append([f"first sampled character, LSTM {layers}x{size}", f"{took:.3f}", "0.5"])
    header = ["what", "seconds (median of 15)", "goal"]
    report.write("startup", "Start-up", header, rows)


if __name__ == "__main__":
    main()
