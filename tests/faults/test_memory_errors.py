"""What an error means is decided by its type or its exact text; a step is never taken twice."""

from __future__ import annotations

import pytest
import torch
from torch import distributed

from chargen.errors import ChargenError
from chargen.training import optimizer
from chargen.training.cuda_graphs import GraphedSteps
from chargen.training.device import enough_memory, is_out_of_memory
from chargen.training.distributed import Ranks, is_peer_error
from chargen.training.events import Recovered
from chargen.training.launch import Process
from chargen.training.optimizer import EMA, AdamW, Muon
from chargen.training.step import take_step
from chargen.training.trainer import Trainer
from tests.training.test_trainer import text, trainer_of

__all__ = ["text"]  # a fixture

NO_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 64 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 4.00 GiB for an array"),
        torch.OutOfMemoryError("a text of a later version"),
        RuntimeError(NO_MEMORY),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: not enough memory: you tried to ..."),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ..."),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.05 GB, ...)."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("Invalid buffer size: 8.00 GB"),
        RuntimeError("std::bad_alloc"),
    ],
    ids=str,
)
def test_missing_memory_is_known_by_its_type_or_its_text(error):
    assert is_out_of_memory(error)
    with pytest.raises(ChargenError, match="not enough memory for this model"), enough_memory():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: misaligned address in shared memory"),
        RuntimeError("unsupported memory format option Preserve"),
        RuntimeError(
            "unsupported operation: more than one element refers to a single memory location"
        ),
        RuntimeError("could not create a primitive descriptor for a memory reorder"),
        RuntimeError("unable to open shared memory object </torch_1> in read-write mode"),
        RuntimeError("pin memory thread exited unexpectedly"),
        ValueError("CUDA out of memory"),
    ],
    ids=str,
)
def test_another_error_about_memory_is_not_missing_memory(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), enough_memory():
        raise error
    with pytest.raises(type(error)):
        Ranks(Process(rank=1, count=2)).raise_if_shared(error)


def test_torchs_own_error_for_too_much_memory():
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 50)
    assert is_out_of_memory(error.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:1"),
        RuntimeError(
            "[../gloo/transport/tcp/pair.cc:534] Read error [::1]:1: Connection reset by peer"
        ),
        RuntimeError("[../gloo/transport/tcp/pair.cc:299] writev [::1]:1: Broken pipe"),
        RuntimeError("[gloo/buffer.cc:81] Timed out waiting 1000ms for recv operation to complete"),
        RuntimeError("Application timeout caused pair closure"),
        distributed.DistNetworkError("The client socket has timed out after 60s"),
        distributed.DistStoreError("Timed out after 61 seconds waiting for clients. 1/2 joined."),
        distributed.DistBackendError("NCCL error: ncclRemoteError: A call failed"),
    ],
    ids=str,
)
def test_a_lost_process_is_known_by_its_type_or_its_text(error):
    assert is_peer_error(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("cannot restore the state: a tensor has another shape"),
        RuntimeError("expected a stored value"),
        RuntimeError("a residual connection of another width"),
        RuntimeError("the kernel timed out"),
        RuntimeError("Tensors must be CUDA and dense for NCCL"),
        RuntimeError("ProcessGroupGloo does not support send of bool"),
        distributed.DistBackendError("NCCL error: ncclInvalidUsage: Duplicate GPU detected"),
        ConnectionError("Connection reset by peer"),
    ],
    ids=str,
)
def test_another_error_is_not_a_lost_process(error):
    assert not is_peer_error(error)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(optimizer, "newton_schulz"), (Muon, "step"), (AdamW, "step"), (EMA, "update")],
    ids=["newton_schulz", "muon", "adamw", "ema"],
)
@pytest.mark.parametrize("failing_call", [1, 6, 17])
def test_a_step_whose_update_ran_out_of_memory_is_not_taken_twice(
    text, monkeypatch, owner, name, failing_call
):
    """The real update is done first, so that a second one would show in every weight."""

    def run():
        trainer = trainer_of(text, steps=20)
        return trainer, list(trainer.run())

    def whole_batch(*arguments, **options):
        return take_step(*arguments, **{**options, "micro_batches": 1})

    # Micro-batches sum in another order; here the numbers shall be the same bit for bit.
    monkeypatch.setattr("chargen.training.trainer.take_step", whole_batch)
    straight, _ = run()
    real, calls = getattr(owner, name), [0]

    def update(*arguments, **options):
        result = real(*arguments, **options)
        calls[0] += 1
        if calls[0] == failing_call:
            raise RuntimeError(NO_MEMORY)
        return result

    monkeypatch.setattr(owner, name, update)
    repeated, events = run()
    assert sum(isinstance(event, Recovered) for event in events) == 1
    for tensor, again in zip(straight.tensors().values(), repeated.tensors().values(), strict=True):
        assert torch.equal(tensor, again)
    assert repeated.recovery.loss_ema == straight.recovery.loss_ema
    assert repeated.optimizer.muon.steps == straight.optimizer.muon.steps
    assert repeated.ema.updates == straight.ema.updates


def test_steps_between_two_synchronisations_are_not_taken_twice(text, monkeypatch):
    """Several steps change the weights before the position does."""

    def run():
        trainer = trainer_of(text, steps=20)
        trainer._fast = GraphedSteps(trainer, trainer.recovery, capture=False)
        trainer.pacing.steps_per_look = lambda: 8
        list(trainer.run())
        return trainer

    straight = run()
    real, calls = GraphedSteps._step, [0]

    def step(self):
        calls[0] += 1
        if calls[0] == 5:
            raise RuntimeError(NO_MEMORY)
        real(self)

    monkeypatch.setattr(GraphedSteps, "_step", step)
    monkeypatch.setattr(Trainer, "_stepper", property(lambda trainer: trainer._fast))
    repeated = run()
    assert calls[0] > 20
    for tensor, again in zip(straight.tensors().values(), repeated.tensors().values(), strict=True):
        assert torch.equal(tensor, again)
