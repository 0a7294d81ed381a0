"""Where training runs: device, threads, and what would be used here, in words."""

from __future__ import annotations

import ctypes
import os
import warnings

import torch

from chargen.errors import ChargenError
from chargen.model.config import CELLS
from chargen.training.config import TrainConfig
from chargen.training.kernels import candidates
from chargen.training.launch import this_process

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""mallopt(3) of glibc."""
_LARGEST_KEPT, _MOST_KEPT = 1 << 25, 1 << 30
"""Bytes of a piece of memory, and of all, that wait for the next step."""


def prepare_torch(config: TrainConfig) -> torch.device:
    """Threads, subnormal numbers, memory and the seed; the device that `config.device` means.

    Raises:
        ChargenError: this machine has no such device.
    """
    process = this_process()
    if config.threads or process.count > 1:
        # torchrun leaves each process one thread, however many cores it has.
        shared = max(1, (os.cpu_count() or 1) // process.local_count)
        torch.set_num_threads(config.threads or shared)
    # Subnormal numbers appear in small states and slow recurrent training many times over.
    torch.set_flush_denormal(True)
    torch.manual_seed(config.seed)
    name = _default() if config.device == "auto" else config.device
    if name != "cpu" and not _there()[name]:
        raise ChargenError(f"--device {name}: this machine has none that torch can use; try cpu")
    if name == "cpu":
        keep_memory()
    if name != "cuda":
        return torch.device(name)
    # cuDNN wants the weights in one piece, and copies them there in microseconds.
    warnings.filterwarnings("ignore", message="RNN module weights are not part of single")
    # The head's products: in float32 as asked for, or with TF32's shorter numbers.
    torch.backends.cuda.matmul.allow_tf32 = config.precision != "fp32"
    torch.backends.cudnn.allow_tf32 = config.precision != "fp32"
    return torch.device(name, process.local_rank)


def keep_memory() -> None:
    """Let what a step gives back wait for the next one, where the C library knows how.

    Otherwise it goes to the system and comes back as fresh pages, each cleared: a twentieth of the
    time of a step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    mallopt(_TRIM_THRESHOLD, _MOST_KEPT)


def _there() -> dict[str, bool]:
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def _default() -> str:
    return next((one for one, there in _there().items() if there), "cpu")


def describe_devices() -> list[tuple[str, str]]:
    """What there is to train on, and which of it would be used and why: label and words."""
    used = _default()
    rows = [("used", f"{used}; --device chooses another" if used != "cpu" else _why_cpu())]
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        found = torch.cuda.get_device_properties(number)
        memory = f"{found.total_memory / (1 << 30):.0f} GiB"
        rows.append((f"cuda:{number}", f"{found.name}, {memory}; torch's cuDNN recurrences"))
    if _there()["mps"]:
        rows.append(("mps", "Apple's GPU; torch's own recurrences"))
    threads = torch.get_num_threads()
    rows.append(("cpu", f"{os.cpu_count()} cores, {threads} thread{'s' if threads > 1 else ''}"))
    for cell in CELLS:
        labels = [one.label for one in candidates(cell, "cpu", "auto", "auto")]
        rows.append((f"cpu, {cell}", f"{labels[0]} with --steps; --minutes tries {labels[0]}"
                     f" and the best of another make ({', '.join(labels[1:])})"))  # fmt: skip
    process = this_process()
    if process.count > 1:
        rows.append(("processes", f"this is {process.rank} of {process.count}"))
    return rows


def _why_cpu() -> str:
    built = "this torch is built without CUDA" if torch.version.cuda is None else "no CUDA device"
    return f"cpu: {built}, and there is no Apple GPU"
