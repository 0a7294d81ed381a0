"""Distilling a run: the student, its card, its text, exact resuming, and what is refused."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import chargen
from chargen.cli.main import run
from chargen.errors import CorpusError, ModelFileError, UsageError
from chargen.inference.engine import Stepper
from chargen.model.checkpoint import save_model, write_safetensors
from chargen.model.config import ModelConfig
from chargen.model.extend_weights import lineage
from chargen.training import autotune, planner
from chargen.training.events import Finished, Planned
from chargen.training.kernels import Kernel
from chargen.training.planner import make_plan
from chargen.training.snapshot import KEY, _header_digest, load_snapshot
from tests.conftest import make_model
from tests.training.test_snapshot import assert_same

TEACHER = {"hidden_size": 48, "groups": 3, "steps": 120, "batch_size": 6, "bptt": 20, "threads": 1}
STUDENT = {"hidden_size": 32, "steps": 12, "batch_size": 5, "bptt": 20, "dropout": 0.2,
           "evaluations": 2, "seed": 7, "threads": 1, "memory": False}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory, prose) -> Path:
    """A folder with a small text and a run of three groups that was trained on it."""
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "text.txt").write_text(prose[:12_000], encoding="utf-8")
    for _ in chargen.train(folder / "text.txt", out=folder / "big", memory=False, **TEACHER):
        pass
    return folder


@pytest.fixture
def teacher(made, tmp_path) -> Path:
    """A copy of that run below `checkpoints`, its text, and nothing in the cache."""
    shutil.copy(made / "text.txt", tmp_path)
    shutil.copytree(made / "big", tmp_path / "checkpoints" / "big")
    path = tmp_path / "checkpoints" / "big" / "run.json"
    record = json.loads(path.read_text())
    record["text"]["corpus"] = [str(tmp_path / "text.txt")]
    path.write_text(json.dumps(record))
    return path.parent


def distilled(**settings):
    """The last event of a distillation."""
    return list(chargen.distil("big", **{**STUDENT, **settings}))[-1]


def nats_of(model, targets, tokens):
    """Mean nats of distributions (N, V) that follow all tokens (N + 1,) but the last."""
    stepper = Stepper(model.config, model.file.weights)
    logits, _ = stepper.logits_of(tokens[:-1], stepper.zero_state())
    logprobs = logits - np.logaddexp.reduce(logits.astype(np.float64), axis=-1, keepdims=True)
    return -(targets * logprobs).sum(-1).mean(), logprobs


def test_the_result_is_one_network_whose_card_names_its_teacher(teacher, prose):
    events = list(chargen.distil("big", **STUDENT))
    planned, finished = events[0], events[-1]
    assert isinstance(planned, Planned)
    assert planned.folder == Path("checkpoints/big-distilled")
    assert (planned.model.hidden_size, planned.model.groups) == (32, 1)
    assert planned.teacher == chargen.load("big").config
    assert planned.train.teacher_share == 0.5
    assert any("what the teacher predicts (LSTM, 3 groups of 16 units)" in reason
               for reason in planned.reasons)  # fmt: skip
    model = chargen.load("big-distilled")
    assert model.config == planned.model
    entry = model.card["teacher"]
    digest = hashlib.sha256((teacher / "model.safetensors").read_bytes()).hexdigest()
    assert (entry["name"], entry["sha256"]) == ("big", digest)
    assert entry["config"] == chargen.load("big").config.to_json()
    assert entry["card"] == chargen.load("big").card
    record = json.loads((planned.folder / "run.json").read_text())
    assert record["card"]["teacher"] == entry
    assert record["text"]["teacher_path"] == str(teacher / "model.safetensors")
    assert str(teacher) not in json.dumps(model.card)
    # The score is that against the text, whatever the loss was.
    tokens = model.tokenizer.encode(prose[:12_000])[-planned.valid_tokens :]
    truth = np.eye(model.vocab_size)[tokens[1:]]
    assert finished.score.nats_per_token == pytest.approx(nats_of(model, truth, tokens)[0], 1e-3)


def test_the_larger_the_teachers_share_the_more_a_student_predicts_like_it(teacher, prose):
    wise = chargen.load("big")
    tokens = wise.tokenizer.encode(prose[:12_000])[-1200:]
    _, logprobs = nats_of(wise, np.zeros((1, wise.vocab_size)), tokens)
    divergences = []
    for share in (0.0, 1.0):
        distilled(teacher_share=share, steps=150, dropout=0.0, overwrite=True, run="s")
        nats, _ = nats_of(chargen.load("s"), np.exp(logprobs), tokens)
        divergences.append(nats + (np.exp(logprobs) * logprobs).sum(-1).mean())
    assert 0 < divergences[1] < 0.8 * divergences[0]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"cell": "gru", "num_layers": 2, "teacher_share": 1.0},
        {"groups": 2, "shuffle": True, "optimizer": "adamw"},
    ],
    ids=str,
)
def test_resuming_is_exact_although_the_teacher_is_gone(teacher, tmp_path, more):
    plan = {**STUDENT, "steps": 36, "evaluations": 4, **more}
    list(chargen.distil("big", out=tmp_path / "straight", **plan))
    done = itertools.count(1)
    stop = {"should_stop": lambda: next(done) >= 14}
    list(chargen.distil("big", out=tmp_path / "resumed", **plan, **stop))
    shutil.rmtree(teacher)
    done = itertools.count(1)
    list(chargen.resume(tmp_path / "resumed", should_stop=lambda: next(done) >= 11))
    last = list(chargen.resume(tmp_path / "resumed"))[-1]
    assert isinstance(last, Finished)
    assert last.reason == "done"
    assert_same(tmp_path / "straight", tmp_path / "resumed")
    states = load_snapshot(tmp_path / "resumed" / "training.safetensors").tensors
    student = 1 if more.get("cell") == "gru" else 2
    assert np.abs(states[f"state.{student}"]).max() > 0  # the teacher's
    if not more:
        list(chargen.resume(tmp_path / "resumed", steps=5))
        assert chargen.load(tmp_path / "resumed").card["teacher"]["name"] == "big"


def test_a_state_without_its_teacher_is_damaged(teacher, tmp_path):
    distilled(steps=2)
    path = tmp_path / "checkpoints" / "big-distilled" / "training.safetensors"
    snapshot = load_snapshot(path)
    header = {"format": 1, **snapshot.plan.to_json(), "tokenizer": snapshot.tokenizer.to_json(),
              "card": snapshot.card, "text": snapshot.text, "position": snapshot.position,
              "recorded": snapshot.recorded}  # fmt: skip
    header["seal"] = _header_digest(header)
    for name in ("teacher.head.bias", "state.3"):
        for tensor in (None, np.zeros(3, np.float32)):
            tensors = {**snapshot.tensors, name: tensor}
            tensors = {key: value for key, value in tensors.items() if value is not None}
            write_safetensors(path, KEY, header, tensors)
            with pytest.raises(ModelFileError, match=f"its tensor {name} (is missing|does not fi)"):
                load_snapshot(path)


def test_a_single_network_can_teach_and_so_can_a_student(teacher):
    distilled(run="small")
    events = list(chargen.distil("small", **{**STUDENT, "hidden_size": 8, "cell": "rnn"}))
    assert events[0].folder.name == "small-distilled"
    card = chargen.load("small-distilled").card
    assert card["teacher"]["card"]["teacher"]["name"] == "big"


def test_the_text_is_found_by_a_model_file_without_its_run(teacher, tmp_path):
    shutil.copy(teacher / "model.safetensors", "loose.safetensors")
    shutil.rmtree(teacher)
    events = list(chargen.distil("loose.safetensors", **STUDENT))
    assert events[0].train_tokens + events[0].valid_tokens == 12_000


def test_a_text_that_is_gone_is_one_line_and_can_be_named(teacher, tmp_path):
    with pytest.raises(UsageError, match=r"valid-fraction: a student reads as its teacher did"):
        distilled(valid_fraction=0.2)
    elsewhere = tmp_path / "far" / "other.txt"
    elsewhere.parent.mkdir()
    Path("text.txt").rename(elsewhere)
    with pytest.raises(CorpusError, match=r"cannot be read any more .*\(text='FILE'\)$"):
        distilled()
    assert not Path("checkpoints/big-distilled").exists()
    straight = distilled(text=elsewhere, run="s")
    elsewhere.rename("text.txt")
    assert distilled(run="t").score == straight.score


def test_another_text_is_read_by_the_teachers_vocabulary(teacher, prose):
    Path("other.txt").write_text(prose[20_000:26_000] + "☃" * 20, encoding="utf-8")
    notes: list[str] = []
    distilled(text="other.txt", on_note=notes.append)
    assert any("of 6020 characters unseen" in note for note in notes)
    model = chargen.load("big-distilled")
    assert model.vocab_size == chargen.load("big").vocab_size
    assert model.card["corpus"][0]["name"] == "other.txt"
    assert list(chargen.resume("big-distilled", steps=2))[-1].step == 14


def test_a_card_without_a_corpus_asks_for_the_text(tmp_path, prose):
    save_model(tmp_path / "m.safetensors", make_model(groups=3))
    with pytest.raises(CorpusError, match=r"does not tell what its .* text was; name it with text"):
        list(chargen.distil("m.safetensors", steps=1))
    Path("text.txt").write_text("abc defgh\n" * 300, encoding="utf-8")
    events = list(chargen.distil("m.safetensors", text="text.txt", **STUDENT))
    assert events[-1].step == STUDENT["steps"]


def test_the_plan_counts_the_time_of_the_teacher(monkeypatch):
    model = ModelConfig(vocab_size=9, hidden_size=64, groups=4)
    seconds = {None: 0.01, model: 0.05}
    kernel = Kernel("stock", bf16=False)
    monkeypatch.setattr(planner.autotune, "fastest", lambda *_: (kernel, 1))
    monkeypatch.setattr(
        planner.autotune, "seconds_per_step", lambda *_, teacher=None: seconds[teacher]
    )
    sizes = {"vocab_size": 9, "train_tokens": 100_000, "valid_tokens": 9_000}
    given = {"minutes": 1.0, "hidden_size": 32, "device": "cpu"}
    clock = itertools.repeat(0.0).__next__
    alone, taught = (make_plan(given, **sizes, clock=clock, teacher=t) for t in (None, model))
    assert alone.train.steps == pytest.approx(5 * taught.train.steps, rel=0.01)
    assert (alone.teacher, taught.teacher) == (None, model)


def test_a_student_of_a_teacher_gets_less_dropout():
    sizes = {"vocab_size": 9, "train_tokens": 20_000, "valid_tokens": 2_000}
    model = ModelConfig(vocab_size=9, hidden_size=64, groups=4)
    given = {"steps": 500, "hidden_size": 128, "device": "cpu"}
    usual = make_plan(given, **sizes).train.dropout
    assert usual > 0.2
    taught = [
        make_plan({**given, "teacher_share": share}, **sizes, teacher=model).train.dropout
        for share in (0.0, 0.5, 1.0)
    ]
    assert taught == [usual, pytest.approx(usual / 4, abs=0.01), 0.0]
    asked = {**given, "teacher_share": 0.5, "dropout": 0.3}
    assert make_plan(asked, **sizes, teacher=model).train.dropout == 0.3


def test_a_share_without_a_teacher_is_refused(teacher):
    with pytest.raises(UsageError, match=r"teacher-share 0.5: there is no teacher; chargen distil"):
        list(chargen.train("text.txt", run="r", steps=1, teacher_share=0.5))


def test_a_teacher_reads_along_when_speed_is_measured(monkeypatch):
    model = ModelConfig(vocab_size=9, hidden_size=8)
    train = planner.TrainConfig(steps=1, batch_size=2, bptt=4, device="cpu", teacher_share=0.5)
    read, real = [], autotune.make_teacher

    def make(config, device, kernel):
        teacher = real(config, device, kernel)
        teacher.register_forward_pre_hook(lambda *_: None)
        features = teacher.features
        teacher.features = lambda *arguments: read.append(1) or features(*arguments)
        return teacher

    monkeypatch.setattr(autotune, "make_teacher", make)
    kernel = Kernel("stock", bf16=False)
    assert autotune.seconds_per_step(model, train, kernel, 1, 2, teacher=model) > 0
    assert len(read) == 3


def test_a_chain_of_teachers_and_bases_ends_after_twenty():
    card: dict[str, object] = {}
    for number in range(30):
        card = {"number": number, ("base", "teacher")[number % 2]: lineage(card, f"m{number}")}
    depth = 0
    while entry := card.get("base") or card.get("teacher"):
        card, depth = entry["card"], depth + 1
    assert depth == 20


def test_the_command_distils_and_info_shows_the_teacher(teacher, capfd):
    options = ["--hidden-size", "16", "--steps", "4", "--threads", "1", "--teacher-share", "0.7"]
    assert run(["distil", "big", *options, "--run", "small", "--json"]) == 0
    out, err = capfd.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert records[0]["teacher"]["groups"] == 3
    assert records[0]["train"]["teacher_share"] == 0.7
    assert records[-1]["event"] == "finished"
    assert "70% of the loss is what the teacher predicts" in err
    assert run(["info", "small"]) == 0
    digest = hashlib.sha256((teacher / "model.safetensors").read_bytes()).hexdigest()
    (row,) = (line for line in capfd.readouterr().out.splitlines() if line.startswith("teacher"))
    assert row.startswith("teacher      big: text.txt; ")
    assert row.endswith(f"; 3 groups of 16 units; SHA-256 {digest[:12]}…")


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {},
        {"name": "a\x1b[2J", "sha256": "\x1b]0;x\x07", "card": []},
        {"sha256": 5, "config": {"vocab_size": "many", "cell": ["lstm"]}},
        {"config": {"vocab_size": 9, "colour": "red"}, "card": {"teacher": {"card": None}}},
        {"config": [1], "card": {"corpus": [{"name": "\x1b"}], "base": {"card": {"base": 3}}}},
    ],
    ids=str,
)
def test_info_survives_strange_teachers(tmp_path, entry, capfd):
    save_model(tmp_path / "m.safetensors", replace(make_model(), card={"teacher": entry}))
    assert run(["info", "m.safetensors"]) == 0
    out, err = capfd.readouterr()
    assert ("\x1b" in out, "\x07" in out, err) == (False, False, "")
    assert ("teacher" in out) == isinstance(entry, dict)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["big", "--run", "big"], 2, "checkpoints/big: a student cannot replace its teacher; "
                                     "choose another --run NAME"),
        (["big", "--out", "checkpoints/big", "--overwrite"], 2, "cannot replace its teacher"),
        (["big/../big", "--run", "big", "--overwrite"], 2, "cannot replace its teacher"),
        (["big", "--hidden-size", "0"], 2, "hidden-size 0: must be a whole number from 1"),
        (["big", "--hidden-size", "33", "--groups", "2"], 2, "33 cannot be divided by it"),
        (["big", "--teacher-share", "1.5"], 2, "teacher-share 1.5: must be from 0 to 1"),
        (["big", "--teacher-share", "much"], 2, "--teacher-share"),
        (["big", "--cell", "lsmt"], 2, "did you mean 'lstm'"),
        (["big", "--minutes", "1", "--steps", "2"], 2, "give one of them"),
        (["big", "--tokenizer", "byte"], 2, "No such option"),
        ([], 2, "Missing argument 'RUN'"),
        (["bug"], 3, "did you mean 'big'?"),
        (["text.txt"], 3, "text.txt: a text or an old pickle, not a model"),
        (["big", "--text", "nowhere.txt"], 3, "nowhere.txt: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_is_one_line(teacher, arguments, code, message, capfd):
    before = (teacher / "model.safetensors").read_bytes()
    assert run(["distil", *arguments]) == code
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert message in err
    assert (teacher / "model.safetensors").read_bytes() == before
    assert [path.name for path in Path("checkpoints").iterdir()] == ["big"]


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_a_lost_text_is_told_with_the_option_that_names_it(teacher, change, capfd):
    Path("text.txt").rename("kept.txt")
    if change == "changed":
        Path("text.txt").write_text("quite another text\n" * 200, encoding="utf-8")
    assert run(["distil", "big", "--steps", "3"]) == 3
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("the cache has it no more; name where the text lies now (--text FILE)")
    assert run(["distil", "big", "--steps", "3", "--text", "kept.txt", "-q"]) == 0


def test_several_processes_are_refused(teacher, monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2,
                        "MASTER_ADDR": "localhost", "MASTER_PORT": 1}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UsageError, match="distilling runs in one process; start it without torch"):
        distilled()
