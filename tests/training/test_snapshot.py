"""A resumed run equals an uninterrupted run bit for bit, with every setting and kernel."""

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
"""The kernels of this machine and their precision; machines differ."""


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


def kill_at(events, step):
    """Runs to a step and closes the run there, as a kill would."""
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
    return {record["step"]: record["loss"] for record in records if record["event"] == "step"}


def all_tensors(folder):
    """Tensors of the state and of the model, by name."""
    state = load_snapshot(folder / "training.safetensors").tensors
    model = load_model(folder / "model.safetensors").weights
    return {**state, **{f"model.{name}": tensor for name, tensor in model.items()}}


def assert_same(folder, other_folder):
    left, right = all_tensors(folder), all_tensors(other_folder)
    assert left.keys() == right.keys()
    for name in left:
        assert np.array_equal(left[name], right[name]), name
    assert losses(folder) == losses(other_folder)


def check_resume(tmp_path, corpus, **more):
    """Trains in one go, and again with two interruptions; compares the two runs."""
    plan = settings(**more)
    list(chargen.train(corpus, out=tmp_path / "straight", **plan))
    stop_at(23, corpus=corpus, out=tmp_path / "resumed", **plan)
    done = itertools.count(1)
    list(chargen.resume(tmp_path / "resumed", should_stop=lambda: next(done) >= 18))
    events = list(chargen.resume(tmp_path / "resumed"))
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "done"
    assert_same(tmp_path / "straight", tmp_path / "resumed")


@pytest.mark.parametrize("kernel", KERNELS, ids=" ".join)
@pytest.mark.parametrize("cell", CELLS)
def test_resuming_is_exact_with_every_cell_and_kernel(tmp_path, corpus, cell, kernel):
    check_resume(tmp_path, corpus, cell=cell, kernel=kernel[0], precision=kernel[1])


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
def test_resuming_is_exact_with_every_kind_of_run(tmp_path, corpus, more):
    check_resume(tmp_path, corpus, **more)


def test_a_killed_run_resumes_from_the_last_saved_state(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr("chargen.training.run_folder._FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr("chargen.training.run_folder._MAX_WAIT_SECONDS", 0.0)
    monkeypatch.setattr("chargen.training.run_folder._WAIT_PER_SAVE", 0)
    list(chargen.train(corpus, out=tmp_path / "straight", **settings()))
    kill_at(chargen.train(corpus, out=tmp_path / "resumed", **settings()), 31)
    assert load_snapshot(tmp_path / "resumed" / "training.safetensors").position["step"] == 30
    kill_at(chargen.resume(tmp_path / "resumed"), 32)
    list(chargen.resume(tmp_path / "resumed"))
    assert_same(tmp_path / "straight", tmp_path / "resumed")


def test_a_run_killed_before_its_first_step_can_be_resumed(tmp_path, corpus):
    events = chargen.train(corpus, out=tmp_path / "run", **settings())
    next(events), next(events)
    events.close()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert list(chargen.resume(tmp_path / "run"))[-1].step == 60


def test_a_finished_run_can_be_extended_by_steps_or_epochs(tmp_path, corpus):
    run = tmp_path / "run"
    list(chargen.train(corpus, out=run, **settings(patience=0)))
    with pytest.raises(UsageError, match=r"this run is over \(done\).*minutes, epochs or"):
        list(chargen.resume(run))
    events = list(chargen.resume(run, steps=40))
    rates = [event.learning_rate for event in events if isinstance(event, StepDone)]
    assert (events[-1].step, len(rates)) == (100, 40)
    # The extension has its own warm-up and its own decay to zero.
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[-1] < 0.1 * rates[peak]
    assert [event.step for event in events if isinstance(event, Evaluated)][-1] == 100
    assert list(losses(run))[-1] == 100
    assert list(chargen.resume(run, epochs=0.5))[-1].step > 100


def test_a_second_process_leaves_the_folder_of_the_first_alone(tmp_path, corpus, monkeypatch):
    from chargen.training import session

    plan, folders = session.make_plan, []

    def planning(*arguments, **options):
        folders.append((tmp_path / "run").is_dir())
        if len(folders) == 1:
            with pytest.raises(UsageError, match="this process is training it already"):
                list(chargen.train(corpus, out=tmp_path / "run", **settings()))
            folders.append((tmp_path / "run").is_dir())
        return plan(*arguments, **options)

    monkeypatch.setattr(session, "make_plan", planning)
    assert list(chargen.train(corpus, out=tmp_path / "run", **settings()))[-1].step == 60
    assert folders == [True, True]


def test_overwriting_a_run_removes_the_state_of_the_old_run(tmp_path, corpus):
    run = tmp_path / "run"
    list(chargen.train(corpus, out=run, **settings(hidden_size=9)))
    stop_at(4, corpus=corpus, out=run, overwrite=True, **settings(hidden_size=11))
    snapshot = load_snapshot(run / "training.safetensors")
    assert (snapshot.plan.model.hidden_size, snapshot.position["step"]) == (11, 4)
    assert list(chargen.resume(run))[-1].step == 60


def test_a_run_that_is_training_cannot_be_resumed(tmp_path, corpus):
    first = chargen.train(corpus, out=tmp_path / "run", **settings())
    next(first), next(first)
    with pytest.raises(UsageError, match="this process is training it already"):
        list(chargen.resume(tmp_path / "run"))
    first.close()
    assert list(chargen.resume(tmp_path / "run"))[-1].step == 60


def test_temporary_files_of_a_killed_run_are_removed(tmp_path, corpus):
    run = tmp_path / "run"
    stop_at(5, corpus=corpus, out=run, **settings())
    for name in (".model.safetensors.x1", ".training.safetensors.y2", ".run.json.z3"):
        (run / name).write_bytes(b"unfinished")
    list(chargen.resume(run))
    assert sorted(path.name for path in run.iterdir()) == [
        "metrics.jsonl",
        "model.memory.safetensors", "model.safetensors", "run.json", "training.safetensors",
    ]  # fmt: skip


class TestCorpus:
    """Resuming when the text has changed or is gone."""

    @pytest.fixture
    def run(self, tmp_path, corpus):
        stop_at(20, corpus=corpus, out=tmp_path / "run", **settings())
        return tmp_path / "run"

    @staticmethod
    def resumed(run, **options):
        notes = []
        events = list(chargen.resume(run, on_note=notes.append, **options))
        return events[-1], notes

    def test_a_corpus_that_is_gone_is_read_from_the_cache(self, run, corpus):
        corpus.unlink()
        finished, notes = self.resumed(run)
        assert finished.step == 60
        assert "cannot be read any more" in notes[0]
        assert "from the cache" in notes[0]

    def test_the_old_text_of_a_changed_corpus_is_read_from_the_cache(self, run, corpus, tmp_path):
        original = corpus.read_text()
        corpus.write_text("something else altogether " * 400)
        finished, notes = self.resumed(run)
        assert "bytes then, 10,400 now" in notes[0]
        copy = tmp_path / "copy.txt"
        copy.write_text(original)
        straight = list(chargen.train(copy, out=tmp_path / "straight", **settings()))
        assert finished.score == straight[-1].score

    def test_a_changed_corpus_is_used_if_that_is_allowed(self, run, corpus):
        corpus.write_text("something else altogether " * 400)
        _, notes = self.resumed(run, allow_changed_corpus=True)
        assert "going on with the text as it is now" in notes[0]

    @pytest.mark.parametrize("change", ["gone", "changed"])
    def test_a_changed_or_missing_corpus_that_is_not_cached_is_an_error(
        self, run, corpus, change, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "empty"))
        corpus.unlink() if change == "gone" else corpus.write_text("other " * 2000)
        more = "" if change == "gone" else ", or add allow_changed_corpus=True"
        message = rf"corpus\.txt.*\(corpus='FILE'\){more}$"
        with pytest.raises(CorpusError, match=message):
            list(chargen.resume(run))

    def test_a_damaged_token_store_is_rebuilt(self, run, tmp_path):
        (store,) = (tmp_path / "cache" / "tokens").glob("*/tokens.bin")
        data = bytearray(store.read_bytes())
        data[1234] ^= 1
        store.write_bytes(data)
        finished, notes = self.resumed(run)
        assert finished.step == 60
        assert not any("changed" in note or "cannot" in note for note in notes)
        assert store.read_bytes() != bytes(data)


class TestFullDisk:
    """A full disk damages no file, and saving works again when there is room."""

    def test_a_failed_save_is_reported_and_retried(self, tmp_path, corpus, monkeypatch):
        monkeypatch.setattr("chargen.training.run_folder._FIRST_WAIT_SECONDS", 0.0)
        monkeypatch.setattr("chargen.training.run_folder._MAX_WAIT_SECONDS", 0.0)
        monkeypatch.setattr("chargen.training.run_folder._WAIT_PER_SAVE", 0)
        import os

        real, is_full = os.fsync, []

        def fsync(descriptor):
            if is_full:
                raise OSError(28, "No space left on device")
            real(descriptor)

        monkeypatch.setattr("os.fsync", fsync)
        problems, run = [], tmp_path / "run"
        for event in chargen.train(corpus, out=run, **settings()):
            if isinstance(event, StepDone):
                is_full[:] = [True] if 20 <= event.step < 30 else []
            problems += [getattr(event, "problem", None)]
        messages = [problem for problem in problems if problem]
        assert "No space left on device" in messages[0]
        assert "what was there is unchanged" in messages[0]
        list(chargen.train(corpus, out=tmp_path / "other", **settings()))
        assert_same(run, tmp_path / "other")

    def test_a_disk_that_stays_full_is_an_error_of_one_line(self, tmp_path, corpus, monkeypatch):
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
    """Recovery from divergence and from too little memory."""

    def test_a_window_with_a_bad_loss_is_skipped(self, tmp_path, corpus, monkeypatch):
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

    def test_three_divergences_in_a_row_end_the_run(self, tmp_path, corpus, monkeypatch):
        change_losses(monkeypatch, lambda loss: loss * math.inf)
        with pytest.raises(ChargenError, match=r"3rd time in a row.*lower learning_rate"):
            list(chargen.train(corpus, out=tmp_path / "run", **settings()))

    def test_with_too_little_memory_rows_are_halved_but_losses_stay_the_same(
        self, tmp_path, corpus, monkeypatch
    ):
        from chargen.training.network import RecurrentLM

        plan = settings(dropout=0.0, batch_size=6, kernel="torch", precision="fp32", steps=12)
        straight = list(chargen.train(corpus, out=tmp_path / "straight", **plan))
        real = RecurrentLM.features

        def features(self, tokens, state):
            if self.training and tokens.shape[1] > 2:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
            return real(self, tokens, state)

        monkeypatch.setattr(RecurrentLM, "features", features)
        events = list(chargen.train(corpus, out=tmp_path / "resumed", **plan))
        messages = [event.what for event in events if isinstance(event, Recovered)]
        assert [message.partition("; ")[2] for message in messages] == [
            "3 batch rows at a time from now on",
            "2 batch rows at a time from now on",
        ]
        resumed_losses = [event.loss for event in events if isinstance(event, StepDone)]
        expected = [event.loss for event in straight if isinstance(event, StepDone)]
        assert resumed_losses == pytest.approx(expected, abs=1e-5)

    def test_other_errors_are_not_mistaken_for_too_little_memory(
        self, tmp_path, corpus, monkeypatch
    ):
        from chargen.training.network import RecurrentLM

        def features(self, tokens, state):
            raise RuntimeError("a mistake")

        monkeypatch.setattr(RecurrentLM, "features", features)
        with pytest.raises(RuntimeError, match="a mistake"):
            list(chargen.train(corpus, out=tmp_path / "run", **settings()))


def refusal(path):
    """The error message of a snapshot; empty if it loads."""
    try:
        load_snapshot(path)
    except ChargenError as error:
        return str(error)
    return ""


def forge(run, change):
    """Changes the header of a snapshot and writes its digest anew, as a forger would.

    "seal" is the key of the header digest in the file, "healing" that of the recovery state.
    """
    path = run / "training.safetensors"
    with safe_open(path, framework="numpy") as handle:
        header = json.loads(handle.metadata()[KEY])
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    change(header, tensors)
    header = {key: value for key, value in header.items() if key not in ("seal", "digest")}
    write_safetensors(path, KEY, {**header, "seal": _header_digest(header)}, tensors)


FORGERIES = {
    "over": lambda h, t: h["position"].pop("over"),
    "parts 0": lambda h, t: h["position"]["healing"].update(parts=0),
    "parts of text": lambda h, t: h["position"]["healing"].update(parts="2"),
    "rate of text": lambda h, t: h["position"]["healing"].update(rate="1"),
    "rate above one": lambda h, t: h["position"]["healing"].update(rate=9),
    "score limit 1": lambda h, t: h["position"]["pacing"].update(score_limit=1),
    "score limit of text": lambda h, t: h["position"]["pacing"].update(score_limit="9"),
    "scoring seconds below 0": lambda h, t: h["position"]["pacing"].update(scoring_seconds=-1),
    "pacing of list": lambda h, t: h["position"].update(pacing=[]),
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
    "huge batch": lambda h, t: h["train"].update(batch_size=65_536),
    "long window": lambda h, t: h["train"].update(bptt=1_000_000, batch_size=65_536),
    "batch of float": lambda h, t: h["train"].update(batch_size=5.0),
    "schedule of number": lambda h, t: h["train"].update(schedule=5),
    "wide model": lambda h, t: h["model"].update(hidden_size=60_000),
    "no card": lambda h, t: h.pop("card"),
    "recorded of text": lambda h, t: h.update(recorded="1"),
}
FORGED_TEXTS = {
    "tokenizer of number": lambda h, t: h["text"].update(tokenizer=5),
    "corpus of numbers": lambda h, t: h["text"].update(corpus=[5]),
    "documents of nothing": lambda h, t: h["text"].update(documents=None),
    "encoding of number": lambda h, t: h["text"].update(encoding=5),
    "split of list": lambda h, t: h["card"].update(split=[]),
    "corpus of text": lambda h, t: h["card"].update(corpus="x"),
    "bytes of text": lambda h, t: h["card"]["corpus"][0].update(bytes="x"),
}


class TestFile:
    """Damaged and forged snapshots are refused in one line."""

    @pytest.fixture
    def run(self, tmp_path, corpus):
        stop_at(13, corpus=corpus, out=tmp_path / "run", **settings())
        return tmp_path / "run"

    def test_damage_anywhere_is_an_error_of_one_line(self, run):
        path = run / "training.safetensors"
        undamaged = path.read_bytes()
        random = np.random.default_rng(0)
        for _ in range(200):
            data = bytearray(undamaged)
            for position in random.integers(len(data), size=random.integers(1, 4)):
                data[position] ^= 1 << random.integers(8)
            path.write_bytes(data[: random.integers(len(data))] if random.random() < 0.2 else data)
            complaint = refusal(path)
            assert "\n" not in complaint
            assert complaint.startswith(f"{path}: ") or path.read_bytes() == undamaged

    @pytest.mark.parametrize("change", FORGERIES.values(), ids=list(FORGERIES))
    def test_impossible_values_are_refused(self, run, change):
        forge(run, change)
        complaint = refusal(run / "training.safetensors")
        assert complaint.startswith(str(run))
        assert "\n" not in complaint

    @pytest.mark.parametrize("change", FORGED_TEXTS.values(), ids=list(FORGED_TEXTS))
    def test_forged_facts_about_the_text_are_an_error_of_one_line(self, run, change):
        forge(run, change)
        if change is FORGED_TEXTS["split of list"]:
            assert list(chargen.resume(run))[-1].step == 60, "a missing split is made again"
            return
        with pytest.raises(CorpusError, match="the run does not say"):
            list(chargen.resume(run))

    def test_a_model_file_is_not_a_training_state(self, run):
        with pytest.raises(ModelFileError, match="not the state of a chargen training run"):
            load_snapshot(run / "model.safetensors")

    def test_missing_runs_and_missing_states_are_named(self, run, tmp_path):
        with pytest.raises(ModelFileError, match="no run in checkpoints/"):
            list(chargen.resume())
        with pytest.raises(ModelFileError, match="unknown run 'nothing'"):
            list(chargen.resume("nothing"))
        (run / "training.safetensors").unlink()
        with pytest.raises(ModelFileError, match="nothing to go on from"):
            list(chargen.resume(run))
