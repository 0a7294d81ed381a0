"""A run that stopped and went on is the run that did not: bit for bit, whatever it is made of."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from safetensors import safe_open

import chargen
from chargen.errors import ChargenError, CorpusError, ModelFileError, UsageError
from chargen.model.checkpoint import load_model, write_safetensors
from chargen.training import trainer
from chargen.training.events import Evaluated, Finished, Recovered, StepDone
from chargen.training.kernels import candidates
from chargen.training.snapshot import KEY, _header_digest, load_snapshot
from tests.conftest import CELLS

KERNELS = [
    (kernel.name, "bf16" if kernel.bf16 else "fp32")
    for kernel in candidates("lstm", "cpu", "auto", "auto")
]
"""What this machine can compute with: more on one machine than on another."""


@pytest.fixture
def corpus(tmp_path, prose):
    path = tmp_path / "corpus.txt"
    path.write_text(prose[:9_000], encoding="utf-8")
    return path


def settings(**more):
    return {
        "steps": 60, "hidden_size": 16, "batch_size": 5, "bptt": 20, "dropout": 0.3, "seed": 7,
        "evaluations": 6, "threads": 1, **more,
    }  # fmt: skip


def until(events, step):
    """Let a run go on to a step and no further, as a kill would."""
    for event in events:
        if isinstance(event, StepDone) and event.step == step:
            events.close()
            return


def stop_at(step, **more):
    """Train, and ask for a stop after that many steps."""
    done = itertools.count(1)
    return list(chargen.train(should_stop=lambda: next(done) >= step, **more))


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {one["step"]: one["loss"] for one in records if one["event"] == "step"}


def everything(folder):
    """Tensors of the state and of the model, by name."""
    state = load_snapshot(folder / "training.safetensors").tensors
    model = load_model(folder / "model.safetensors").weights
    return {**state, **{f"model.{name}": one for name, one in model.items()}}


def assert_same(one, other):
    left, right = everything(one), everything(other)
    assert left.keys() == right.keys()
    for name in left:
        assert np.array_equal(left[name], right[name]), name
    assert losses(one) == losses(other)


def check(tmp_path, corpus, **more):
    """2N steps in one go, and in three sittings."""
    plan = settings(**more)
    list(chargen.train(corpus, out=tmp_path / "whole", **plan))
    stop_at(23, corpus=corpus, out=tmp_path / "parts", **plan)
    done = itertools.count(1)
    list(chargen.resume(tmp_path / "parts", should_stop=lambda: next(done) >= 18))
    events = list(chargen.resume(tmp_path / "parts"))
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "done"
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("kernel", KERNELS, ids=" ".join)
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_and_kernel(tmp_path, corpus, cell, kernel):
    check(tmp_path, corpus, cell=cell, kernel=kernel[0], precision=kernel[1])


@pytest.mark.parametrize(
    "more",
    [
        {"tokenizer": "byte"},
        {"tokenizer": "subword", "vocab_size": 400},
        {"documents": "lines"},
        {"num_layers": 2, "embedding_dropout": 0.1},
        {"groups": 2, "num_layers": 2},
        {"optimizer": "adamw", "ema": 0.0},
        {"schedule": "wsd", "tied_head": True, "hidden_size": 12},
        {"valid_fraction": 0.0},
        {"batch_size": 30, "bptt": 100},  # the whole text every three steps
    ],
    ids=str,
)
def test_every_kind_of_run(tmp_path, corpus, more):
    check(tmp_path, corpus, **more)


def test_a_killed_run_goes_on_from_the_last_state(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr("chargen.training.run_folder._FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr("chargen.training.run_folder._MAX_WAIT_SECONDS", 0.0)
    monkeypatch.setattr("chargen.training.run_folder._WAIT_PER_SAVE", 0)
    list(chargen.train(corpus, out=tmp_path / "whole", **settings()))
    until(chargen.train(corpus, out=tmp_path / "parts", **settings()), 31)
    assert load_snapshot(tmp_path / "parts" / "training.safetensors").position["step"] == 30
    until(chargen.resume(tmp_path / "parts"), 32)
    list(chargen.resume(tmp_path / "parts"))
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_run_killed_before_its_first_steps_can_be_taken_up(tmp_path, corpus):
    events = chargen.train(corpus, out=tmp_path / "run", **settings())
    next(events), next(events)
    events.close()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert list(chargen.resume(tmp_path / "run"))[-1].step == 60


def test_a_finished_run_goes_on_for_as_long_as_is_said(tmp_path, corpus):
    run = tmp_path / "run"
    list(chargen.train(corpus, out=run, **settings(patience=0)))
    with pytest.raises(UsageError, match=r"this run is over \(done\).*--minutes, --epochs or"):
        list(chargen.resume(run))
    events = list(chargen.resume(run, steps=40))
    rates = [event.learning_rate for event in events if isinstance(event, StepDone)]
    assert (events[-1].step, len(rates)) == (100, 40)
    # A warm-up and a decay of its own, to zero.
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[-1] < 0.1 * rates[peak]
    assert [event.step for event in events if isinstance(event, Evaluated)][-1] == 100
    assert list(losses(run))[-1] == 100
    assert list(chargen.resume(run, epochs=0.5))[-1].step > 100


def test_the_second_process_takes_nothing_from_the_first(tmp_path, corpus, monkeypatch):
    from chargen.training import session

    plan, folders = session.make_plan, []

    def planning(*arguments, **options):
        folders.append((tmp_path / "run").is_dir())
        if len(folders) == 1:
            with pytest.raises(UsageError, match="another process"):
                list(chargen.train(corpus, out=tmp_path / "run", **settings()))
            folders.append((tmp_path / "run").is_dir())
        return plan(*arguments, **options)

    monkeypatch.setattr(session, "make_plan", planning)
    assert list(chargen.train(corpus, out=tmp_path / "run", **settings()))[-1].step == 60
    assert folders == [True, True]


def test_overwriting_a_run_leaves_no_state_of_the_old_one(tmp_path, corpus):
    run = tmp_path / "run"
    list(chargen.train(corpus, out=run, **settings(hidden_size=9)))
    stop_at(4, corpus=corpus, out=run, overwrite=True, **settings(hidden_size=11))
    snapshot = load_snapshot(run / "training.safetensors")
    assert (snapshot.plan.model.hidden_size, snapshot.position["step"]) == (11, 4)
    assert list(chargen.resume(run))[-1].step == 60


def test_two_processes_cannot_train_one_run(tmp_path, corpus):
    first = chargen.train(corpus, out=tmp_path / "run", **settings())
    next(first), next(first)
    with pytest.raises(UsageError, match="another process is training this run"):
        list(chargen.resume(tmp_path / "run"))
    first.close()
    assert list(chargen.resume(tmp_path / "run"))[-1].step == 60


def test_what_a_kill_left_behind_is_swept_away(tmp_path, corpus):
    run = tmp_path / "run"
    stop_at(5, corpus=corpus, out=run, **settings())
    for name in (".model.safetensors.x1", ".training.safetensors.y2", ".run.json.z3"):
        (run / name).write_bytes(b"bf16")
    list(chargen.resume(run))
    assert sorted(one.name for one in run.iterdir()) == [
        "metrics.jsonl", "model.safetensors", "run.json", "training.safetensors",
    ]  # fmt: skip


class TestCorpus:
    """What became of the text meanwhile."""

    @pytest.fixture
    def run(self, tmp_path, corpus):
        stop_at(20, corpus=corpus, out=tmp_path / "run", **settings())
        return tmp_path / "run"

    @staticmethod
    def resumed(run, **options):
        notes = []
        events = list(chargen.resume(run, on_note=notes.append, **options))
        return events[-1], notes

    def test_gone_but_in_the_cache(self, run, corpus):
        corpus.unlink()
        finished, notes = self.resumed(run)
        assert finished.step == 60
        assert "cannot be read any more" in notes[0]
        assert "from the cache" in notes[0]

    def test_changed_but_in_the_cache(self, run, corpus, tmp_path):
        original = corpus.read_text()
        corpus.write_text("something else altogether " * 400)
        finished, notes = self.resumed(run)
        assert "bytes then, 10,400 now" in notes[0]
        whole = tmp_path / "whole.txt"
        whole.write_text(original)
        list(chargen.train(whole, out=tmp_path / "whole", **settings()))
        assert (
            finished.score == list(chargen.train(whole, out=tmp_path / "b", **settings()))[-1].score
        )

    def test_changed_and_allowed(self, run, corpus):
        corpus.write_text("something else altogether " * 400)
        _, notes = self.resumed(run, allow_changed_corpus=True)
        assert "going on with the text as it is now" in notes[0]

    @pytest.mark.parametrize("change", ["gone", "changed"])
    def test_not_in_the_cache_either(self, run, corpus, change, monkeypatch, tmp_path):
        monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "empty"))
        corpus.unlink() if change == "gone" else corpus.write_text("other " * 2000)
        with pytest.raises(CorpusError, match=r"corpus.txt.*put it back, or add --allow-changed"):
            list(chargen.resume(run))

    def test_a_damaged_store_is_rebuilt(self, run, tmp_path):
        (store,) = (tmp_path / "cache" / "tokens").glob("*/tokens.bin")
        data = bytearray(store.read_bytes())
        data[1234] ^= 1
        store.write_bytes(data)
        finished, notes = self.resumed(run)
        assert finished.step == 60
        assert not any("changed" in note or "cannot" in note for note in notes)
        assert store.read_bytes() != bytes(data)


class TestFullDisk:
    """Nothing that was there is harmed, and training goes on when there is room again."""

    def test_it_is_said_and_tried_again(self, tmp_path, corpus, monkeypatch):
        monkeypatch.setattr("chargen.training.run_folder._FIRST_WAIT_SECONDS", 0.0)
        monkeypatch.setattr("chargen.training.run_folder._MAX_WAIT_SECONDS", 0.0)
        monkeypatch.setattr("chargen.training.run_folder._WAIT_PER_SAVE", 0)
        import os

        real, full = os.fsync, []

        def fsync(descriptor):
            if full:
                raise OSError(28, "No space left on device")
            real(descriptor)

        monkeypatch.setattr("os.fsync", fsync)
        problems, run = [], tmp_path / "run"
        for event in chargen.train(corpus, out=run, **settings()):
            if isinstance(event, StepDone):
                full[:] = [1] if 20 <= event.step < 30 else []
            problems += [getattr(event, "problem", None)]
        said = [one for one in problems if one]
        assert "No space left on device" in said[0]
        assert "what was there is unchanged" in said[0]
        list(chargen.train(corpus, out=tmp_path / "other", **settings()))
        assert_same(run, tmp_path / "other")

    def test_a_disk_that_stays_full_ends_in_one_line(self, tmp_path, corpus, monkeypatch):
        def fsync(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", fsync)
        with pytest.raises(ChargenError, match="No space left on device"):
            list(chargen.train(corpus, out=tmp_path / "run", **settings()))


def change_losses(monkeypatch, change):
    """Changes the loss of every training step, as the trainer sees it before its update."""
    real = trainer.take_step

    def take_step(*arguments, check, **options):
        def changed(loss, norm):
            check(change(loss), norm)

        return real(*arguments, check=changed, **options)

    monkeypatch.setattr(trainer, "take_step", take_step)


class TestRecovery:
    """Divergence and too little memory."""

    def test_a_bad_window_is_passed_over(self, tmp_path, corpus, monkeypatch):
        calls = itertools.count(1)
        change_losses(monkeypatch, lambda loss: loss * math.nan if next(calls) == 40 else loss)
        events = list(chargen.train(corpus, out=tmp_path / "run", **settings()))
        recovered = [event for event in events if isinstance(event, Recovered)]
        assert len(recovered) == 1
        assert "step 40: the loss was nan" in recovered[0].what
        assert "half the learning rate" in recovered[0].what
        assert events[-1].step == 60
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert any(json.loads(line)["event"] == "recovered" for line in lines)

    def test_three_times_in_a_row_is_the_end(self, tmp_path, corpus, monkeypatch):
        change_losses(monkeypatch, lambda loss: loss * math.inf)
        with pytest.raises(ChargenError, match=r"3rd time in a row.*lower --learning-rate"):
            list(chargen.train(corpus, out=tmp_path / "run", **settings()))

    def test_too_little_memory_halves_the_rows_and_not_the_result(
        self, tmp_path, corpus, monkeypatch
    ):
        from chargen.training.network import RecurrentLM

        plan = settings(dropout=0.0, batch_size=6, kernel="torch", precision="fp32", steps=12)
        whole = list(chargen.train(corpus, out=tmp_path / "whole", **plan))
        real = RecurrentLM.features

        def features(self, tokens, state):
            if self.training and tokens.shape[1] > 2:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
            return real(self, tokens, state)

        monkeypatch.setattr(RecurrentLM, "features", features)
        events = list(chargen.train(corpus, out=tmp_path / "parts", **plan))
        messages = [event.what for event in events if isinstance(event, Recovered)]
        assert [message.partition("; ")[2] for message in messages] == [
            "3 batch rows at a time from now on",
            "2 batch rows at a time from now on",
        ]
        ours = [event.loss for event in events if isinstance(event, StepDone)]
        theirs = [event.loss for event in whole if isinstance(event, StepDone)]
        assert ours == pytest.approx(theirs, abs=1e-5)

    def test_other_errors_are_not_taken_for_want_of_memory(self, tmp_path, corpus, monkeypatch):
        from chargen.training.network import RecurrentLM

        def features(self, tokens, state):
            raise RuntimeError("a mistake")

        monkeypatch.setattr(RecurrentLM, "features", features)
        with pytest.raises(RuntimeError, match="a mistake"):
            list(chargen.train(corpus, out=tmp_path / "run", **settings()))


def refusal(path):
    """The line that refuses a snapshot; empty when it is taken."""
    try:
        load_snapshot(path)
    except ChargenError as error:
        return str(error)
    return ""


def forge(run, change):
    """Rewrite the header and its seal, as somebody with bad intentions would."""
    path = run / "training.safetensors"
    with safe_open(path, framework="numpy") as handle:
        header = json.loads(handle.metadata()[KEY])
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    change(header, tensors)
    header = {key: one for key, one in header.items() if key not in ("seal", "digest")}
    write_safetensors(path, KEY, {**header, "seal": _header_digest(header)}, tensors)


FORGERIES = {
    "over": lambda h, t: h["position"].pop("over"),
    "parts 0": lambda h, t: h["position"]["healing"].update(parts=0),
    "parts of text": lambda h, t: h["position"]["healing"].update(parts="2"),
    "rate of text": lambda h, t: h["position"]["healing"].update(rate="1"),
    "rate above one": lambda h, t: h["position"]["healing"].update(rate=9),
    "begun later": lambda h, t: h["position"].update(begun=99),
    "huge step": lambda h, t: h["position"].update(step=10**40, steps=10**40),
    "negative step": lambda h, t: h["position"].update(step=-1),
    "seconds of text": lambda h, t: h["position"].update(seconds="1"),
    "no score": lambda h, t: h["position"]["best"].update(score={}),
    "no random": lambda h, t: t.pop("random.cpu"),
    "short random": lambda h, t: t.update({"random.cpu": np.zeros(3, np.uint8)}),
    "random of floats": lambda h, t: t.update({"random.cpu": np.zeros(5056, np.float32)}),
    "best of other shape": lambda h, t: t.update({"best.head.bias": np.zeros(1, np.float32)}),
    "no best": lambda h, t: t.pop("best.head.bias"),
    "foreign tensor": lambda h, t: t.update(wings=np.zeros(3, np.float32)),
    "many lanes": lambda h, t: h["train"].update(batch_size=65_536),
    "long window": lambda h, t: h["train"].update(bptt=1_000_000, batch_size=65_536),
    "batch of bf16": lambda h, t: h["train"].update(batch_size=5.0),
    "schedule of number": lambda h, t: h["train"].update(schedule=5),
    "wide model": lambda h, t: h["model"].update(hidden_size=60_000),
    "no card": lambda h, t: h.pop("card"),
    "recorded of text": lambda h, t: h.update(recorded="1"),
}
LIES = {
    "tokenizer of number": lambda h, t: h["text"].update(tokenizer=5),
    "corpus of numbers": lambda h, t: h["text"].update(corpus=[5]),
    "documents of nothing": lambda h, t: h["text"].update(documents=None),
    "encoding of number": lambda h, t: h["text"].update(encoding=5),
    "split of list": lambda h, t: h["card"].update(split=[]),
    "corpus of text": lambda h, t: h["card"].update(corpus="x"),
    "bytes of text": lambda h, t: h["card"]["corpus"][0].update(bytes="x"),
}


class TestFile:
    """A snapshot is somebody else's until it is checked."""

    @pytest.fixture
    def run(self, tmp_path, corpus):
        stop_at(13, corpus=corpus, out=tmp_path / "run", **settings())
        return tmp_path / "run"

    def test_every_kind_of_damage_is_one_line(self, run):
        path = run / "training.safetensors"
        whole = path.read_bytes()
        random = np.random.default_rng(0)
        for _ in range(200):
            data = bytearray(whole)
            for place in random.integers(len(data), size=random.integers(1, 4)):
                data[place] ^= 1 << random.integers(8)
            path.write_bytes(data[: random.integers(len(data))] if random.random() < 0.2 else data)
            complaint = refusal(path)
            assert "\n" not in complaint
            assert complaint.startswith(f"{path}: ") or path.read_bytes() == whole

    @pytest.mark.parametrize("change", FORGERIES.values(), ids=list(FORGERIES))
    def test_what_makes_no_sense_is_refused(self, run, change):
        forge(run, change)
        complaint = refusal(run / "training.safetensors")
        assert complaint.startswith(str(run))
        assert "\n" not in complaint

    @pytest.mark.parametrize("change", LIES.values(), ids=list(LIES))
    def test_lies_about_the_text_are_one_line(self, run, change):
        forge(run, change)
        if change is LIES["split of list"]:
            assert list(chargen.resume(run))[-1].step == 60, "it is made anew"
            return
        with pytest.raises(CorpusError, match="the run does not say"):
            list(chargen.resume(run))

    def test_a_model_is_no_state(self, run):
        with pytest.raises(ModelFileError, match="not the state of a chargen training run"):
            load_snapshot(run / "model.safetensors")

    def test_no_run_and_nothing_saved(self, run, tmp_path):
        with pytest.raises(ModelFileError, match="no run in checkpoints/"):
            list(chargen.resume())
        with pytest.raises(ModelFileError, match="unknown run 'nothing'"):
            list(chargen.resume("nothing"))
        (run / "training.safetensors").unlink()
        with pytest.raises(ModelFileError, match="nothing to go on from"):
            list(chargen.resume(run))
