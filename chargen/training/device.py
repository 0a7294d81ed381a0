"""Where training runs: device, threads, and what would be used here, in words.

torch's settings belong to whoever imports chargen. Training needs its own, so they are swapped in
and out (`preserved_torch_settings`).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch

from chargen.errors import ChargenError
from chargen.hints import any_of, ways
from chargen.model.config import CELLS
from chargen.training.config import TrainConfig
from chargen.training.kernels import candidates, native_problem
from chargen.training.kernels.library import is_parallel
from chargen.training.launch import this_process

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Parameters of glibc's mallopt(3)."""
_MAX_KEPT_BLOCK_BYTES, _MAX_KEPT_BYTES = 1 << 25, 1 << 30
"""Largest block, and memory in all, that waits for the next step."""
_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory"
    r"|(?:CUDA|HIP|XPU|MPS backend) out of memory"
    r"|(?:CUDA|HIP|XPU) error: out of memory"
    r"|Cuda failure (?:\d+ )?'out of memory'"
    r"|\b(?:CUBLAS|CUDNN|CUSOLVER|CUSPARSE)_STATUS_ALLOC_FAILED\b"
    r"|\AInvalid buffer size: "
    r"|\Astd::bad_alloc\Z"
)
"""What torch's plain RuntimeErrors say when memory runs out: CPU, GPUs, NCCL, libraries, C++."""
_SUBNORMAL = np.float32(1e-40)


class _Fork:
    """Whether this process was forked from one that had loaded this module."""

    has_trained = False
    is_child = False
    parent_has_trained = False


def _after_fork() -> None:
    """The threads of OpenMP do not live on in a forked process: waiting for them never ends."""
    _Fork.is_child, _Fork.parent_has_trained = True, _Fork.has_trained
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def begin_training() -> None:
    """Notes that this process trains; refuses to where torch's autograd cannot.

    Raises:
        ChargenError: this process was forked from one that had trained.
    """
    if _Fork.parent_has_trained:
        raise ChargenError(
            "this process was forked from one that had trained, and torch cannot train in such a "
            "process; start it with multiprocessing.get_context('spawn')"
        )
    _Fork.has_trained = True


def prepare_torch(config: TrainConfig) -> torch.device:
    """Sets threads, subnormal numbers, memory and the seed; returns the device to train on.

    Callers keep the host's settings with `preserved_torch_settings`.

    Raises:
        ChargenError: this machine has no such device.
    """
    process = this_process()
    if _Fork.is_child:
        torch.set_num_threads(1)
    elif config.threads or process.count > 1:
        # torchrun leaves each process one thread, however many cores it has.
        shared = max(1, (os.cpu_count() or 1) // process.local_count)
        torch.set_num_threads(config.threads or shared)
    # Subnormal numbers appear in small states and slow recurrent training many times over.
    torch.set_flush_denormal(True)
    torch.manual_seed(config.seed)
    name = device_name(config)
    if name != "cpu" and not _available_gpus()[name]:
        way = "resume the run on a machine that has one"
        if any_of("--device") is not None:
            way = "try cpu"
        raise ChargenError(f"--device {name}: this machine has none that torch can use{ways(way)}")
    if name == "cpu":
        keep_memory()
    if name != "cuda":
        return torch.device(name)
    # The head's products: in float32 as asked for, or with TF32's shorter numbers.
    torch.backends.cuda.matmul.allow_tf32 = config.precision != "fp32"
    torch.backends.cudnn.allow_tf32 = config.precision != "fp32"
    return torch.device(name, process.local_rank)


def device_name(config: TrainConfig) -> str:
    """The device that the config asks for, by torch's name, whether it exists or not."""
    return _default_device() if config.device == "auto" else config.device


def step_seed(seed: int, step: int) -> int:
    """A seed of 63 bits for the random numbers of one step, from any seed of a run."""
    digest = hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def device_generator(device: torch.device) -> torch.Tensor | None:
    """The state of a GPU's generator, bytes on the CPU; None for the CPU, which has another."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def set_device_generator(device: torch.device, state: torch.Tensor) -> None:
    """Puts a GPU's generator back, if the state is one of its kind."""
    with suppress(RuntimeError):  # a run that goes on with a GPU of another make
        if device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        elif device.type == "mps":
            torch.mps.set_rng_state(state)


def keep_memory() -> None:
    """Lets the memory of a step wait for the next step, where the C library can.

    Otherwise it goes to the system and comes back as fresh pages, which must be cleared: a
    twentieth of the time of a step. It stays so for the process; nothing else changes by it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(_MMAP_THRESHOLD, _MAX_KEPT_BLOCK_BYTES)
    mallopt(_TRIM_THRESHOLD, _MAX_KEPT_BYTES)


class TorchSettings:
    """The settings of torch, in this process, that training changes; taken when it is made."""

    def __init__(self) -> None:
        self._generator = torch.get_rng_state()
        cuda = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._cuda_generators = torch.cuda.get_rng_state_all() if cuda else []
        self._threads = torch.get_num_threads()
        # torch tells nobody whether it flushes subnormal numbers; a product of one does.
        self._flushes = bool(_SUBNORMAL * np.float32(1) == 0)
        self._tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        self._dtype, self._device = torch.get_default_dtype(), torch.get_default_device()

    def restore(self) -> None:
        """Puts these settings back."""
        torch.set_rng_state(self._generator)
        if self._cuda_generators:
            torch.cuda.set_rng_state_all(self._cuda_generators)
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        torch.set_flush_denormal(self._flushes)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._tf32
        torch.set_default_dtype(self._dtype)
        if torch.get_default_device() != self._device:
            torch.set_default_device(self._device)


@contextmanager
def preserved_torch_settings() -> Iterator[None]:
    """Whatever happens inside, torch's settings and warnings are afterwards as before.

    Inside, new tensors are float32 on the CPU and have gradients, whatever the host has chosen: the
    kernels in C would read float64 as float32.
    """
    settings = TorchSettings()
    try:
        torch.set_default_dtype(torch.float32)
        if torch.get_default_device() != torch.device("cpu"):
            torch.set_default_device(None)
        with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
            # cuDNN wants the weights in one piece, and copies them there in microseconds.
            warnings.filterwarnings("ignore", message="RNN module weights are not part of single")
            yield
    finally:
        settings.restore()


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out. On the CPU torch raises a plain RuntimeError; only its text tells.

    The words are exact: "illegal memory access" or "unsupported memory format" are other faults,
    and less memory does not help against them.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def smaller_model() -> tuple[str, str | None]:
    """The way out where memory lacks: the options that make a training smaller, if any exist."""
    return "choose a smaller", any_of("--hidden-size", "--batch-size", "--bptt")


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turns the several errors of missing memory into one line.

    Raises:
        ChargenError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise ChargenError(
                "not enough memory for this model" + ways("free some", smaller_model())
            ) from error
        raise


def _available_gpus() -> dict[str, bool]:
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def _default_device() -> str:
    return next((name for name, available in _available_gpus().items() if available), "cpu")


def describe_devices() -> list[tuple[str, str]]:
    """The devices of this machine, and which would be used and why: (label, words) of each row."""
    used = _default_device()
    rows = [("used", f"{used}; --device chooses another" if used != "cpu" else _why_cpu())]
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card = torch.cuda.get_device_properties(number)
        memory = f"{card.total_memory / (1 << 30):.0f} GiB"
        rows.append((f"cuda:{number}", f"{card.name}, {memory}; torch's cuDNN recurrences"))
    if _available_gpus()["mps"]:
        rows.append(("mps", "Apple's GPU; torch's own recurrences"))
    threads = torch.get_num_threads()
    rows.append(("cpu", f"{os.cpu_count()} cores, {threads} thread{'s' if threads > 1 else ''}"))
    problem = native_problem("cpu", "auto")
    if problem is not None:
        rows.append(("native", f"not there: {problem}"))
    elif not is_parallel():
        rows.append(("native", "on one thread only: this torch brings no libgomp"))
    for cell in CELLS:
        labels = [kernel.label for kernel in candidates(cell, "cpu", "auto", "auto")]
        rows.append((f"cpu, {cell}", f"{labels[0]} with --steps; --minutes tries {labels[0]}"
                     f" and the best of another make ({', '.join(labels[1:])})"))  # fmt: skip
    process = this_process()
    if process.count > 1:
        rows.append(("processes", f"this is {process.rank} of {process.count}"))
    return rows


def _why_cpu() -> str:
    built = "this torch is built without CUDA" if torch.version.cuda is None else "no CUDA device"
    return f"cpu: {built}, and there is no Apple GPU"
