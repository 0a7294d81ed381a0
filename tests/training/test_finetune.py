"""Fine-tuning: begins where the base is, ends better on the new text, and can be taken up again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import chargen
from chargen.cli.main import run
from chargen.errors import ChargenError
from chargen.model.checkpoint import load_model, save_model
from chargen.model.config import ModelConfig
from chargen.training.batches import BatchStream
from chargen.training.config import TrainConfig
from chargen.training.finetune import make_finetune_plan
from chargen.training.network import RecurrentLM
from chargen.training.optimizer import Optimizer
from tests.conftest import make_model

SMALL = {"threads": 1, "steps": 30, "batch_size": 4, "bptt": 16}
GERMAN = "".join(
    f"{who} {does} {how}.\n"
    for who in ("Der König", "Die Möwe", "Mein Bär", "Eine Straße", "Unser Zug")
    for does in ("läuft", "grüßt", "schläft", "hört", "zögert")
    for how in ("über Nacht", "für immer", "mit Mühe", "ohne Größe", "am Fluß")
)
CHAT = 6 * "".join(
    f"{first} {second} {third}\n"
    for first in ("hi", "ok", "so")
    for second in ("you 😀", "there 🎉", "all 👍")
    for third in ("bye 👋", "yes ✨", "no 🙈", "go")
)
CHINESE = "天地玄黄。宇宙洪荒。日月盈昃。辰宿列张。寒来暑往。秋收冬藏。" * 30 + "\n"


def events(iterator) -> list:
    return list(iterator)


@pytest.fixture(scope="module")
def english(tmp_path_factory, prose) -> Path:
    """A base that knows English letters."""
    folder = tmp_path_factory.mktemp("base")
    corpus = folder / "prose.txt"
    letters = "".join(one for one in prose[:24_000] if one.isascii())
    corpus.write_text(letters, encoding="utf-8")
    list(chargen.train(corpus, out=folder / "english", hidden_size=48, threads=1, steps=120,
                       batch_size=8, bptt=24))  # fmt: skip
    return folder / "english"


@pytest.mark.parametrize(
    ("text", "documents", "new"),
    [(GERMAN, "whole", "öäüß"), (CHAT, "lines", "😀🎉"), (CHINESE, "whole", "天地。")],
    ids=["german", "emoji lines", "chinese"],
)
def test_an_english_base_learns_another_text_and_writes_its_characters(
    english, text, documents, new
):
    Path("new.txt").write_text(text, encoding="utf-8")
    notes: list[str] = []
    settings = {"steps": 150, "batch_size": 8, "bptt": 24, "threads": 1, "learning_rate": 4e-3}
    found = events(chargen.finetune(english, "new.txt", run="new", documents=documents,
                                    on_note=notes.append, **settings))  # fmt: skip
    model = chargen.load("new")
    card = model.card
    assert any("new character" in one for one in notes)
    assert card["validation"]["bits_per_byte"] < card["before"]["bits_per_byte"] * 0.8
    assert card["base"]["name"] == "english"
    assert found[-1].reason in ("done", "early stop")
    written = "".join(step.text for step in model.generate("", length=400, seed=1,
                                                           stop_at_end=False))  # fmt: skip
    assert set(new) & set(written)
    assert (model.tokenizer.eos_id is not None) == (documents == "lines")


def test_the_first_step_begins_at_the_bases_weights(english):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    base = load_model(english / "model.safetensors")
    events(chargen.finetune(english, "new.txt", run="new", **{**SMALL, "steps": 1},
                            learning_rate=1e-9))  # fmt: skip
    tuned = load_model(Path("checkpoints/new/model.safetensors"))
    for name in ("layers.0.weight_ih", "layers.0.weight_hh", "layers.0.bias_ih"):
        np.testing.assert_allclose(tuned.weights[name], base.weights[name], atol=1e-6)


def test_the_base_stays_as_it_is(english):
    before = (english / "model.safetensors").read_bytes()
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    events(chargen.finetune(english, "new.txt", run="new", **SMALL))
    assert (english / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"replay": True, "l2_to_base": 0.5, "freeze": 1, "layer_decay": 0.5, "dropout": 0.3},
        {"replay": True, "replay_share": 0.5, "optimizer": "adamw"},
    ],
    ids=["plain", "all at once", "adamw"],
)
def test_a_stopped_run_goes_on_exactly(english, prose, settings):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    Path("old.txt").write_text(prose[:8000], encoding="utf-8")
    if settings.pop("replay", False):
        settings["replay"] = "old.txt"
    events(chargen.finetune(english, "new.txt", run="whole", **SMALL, **settings))

    stop = False
    iterator = chargen.finetune(
        english, "new.txt", run="parts", should_stop=lambda: stop, **SMALL, **settings
    )
    for event in iterator:
        if getattr(event, "step", 0) == 13:
            stop = True
    events(chargen.resume("parts"))
    for name in ("model.safetensors", "training.safetensors"):
        one, other = (load_file(f"checkpoints/{run}/{name}") for run in ("whole", "parts"))
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)
    cards = [load_model(Path(f"checkpoints/{run}/model.safetensors")).card
             for run in ("whole", "parts")]  # fmt: skip
    assert cards[0] == cards[1]
    assert ("old_text" in cards[0]) == ("replay" in settings)


def test_the_card_tells_the_old_text_before_and_after(english, prose):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    Path("old.txt").write_text(prose[:12_000], encoding="utf-8")
    events(chargen.finetune(english, "new.txt", run="new", replay="old.txt", **SMALL))
    old = chargen.load("new").card["old_text"]
    tail = prose[:12_000][int(12_000 * 0.9) :]
    alone = chargen.load(english).score(tail).bits_per_byte
    assert old["before"]["bits_per_byte"] == pytest.approx(alone, rel=2e-3), "as the base has it"
    assert old["before"]["bits_per_byte"] > 0
    assert old["after"]["tokens"] == old["before"]["tokens"]


def test_replayed_lanes_read_the_other_text():
    tokens, other = np.arange(100), np.arange(1000, 1100)
    stream = BatchStream(tokens, 5, 8, other, 2)
    for step in range(40):
        inputs, targets = stream.window(step)
        assert inputs.shape == targets.shape == (8, 5)
        assert (inputs[:, :3] < 100).all()
        assert (inputs[:, 3:] >= 1000).all()
        assert inputs[0, 3] == 1000 + 8 * step % 100
        assert inputs[0, 4] == 1000 + (50 + 8 * step) % 100


def optimizer_of(**settings) -> tuple[RecurrentLM, Optimizer]:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=9, hidden_size=6, num_layers=3, embedding_size=5)
    network = RecurrentLM(config)
    train = TrainConfig(steps=10, weight_decay=0.0, **settings)
    return network, Optimizer(network, train)


def moved(network: RecurrentLM, optimizer: Optimizer, progress: float) -> dict[str, float]:
    """How far each weight moves for a gradient of ones."""
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1e-3, progress)
    return {
        name: (one - before[name]).abs().max().item() for name, one in network.named_parameters()
    }


@pytest.mark.parametrize("method", ["muon", "adamw"])
def test_lower_layers_learn_less(method):
    network, optimizer = optimizer_of(layer_decay=0.5, optimizer=method)
    step = moved(network, optimizer, 0.0)
    assert step["head.bias"] == pytest.approx(1e-3 * 0.5**0, rel=1e-3)
    for layer in range(3):
        assert step[f"layers.{layer}.bias_ih"] == pytest.approx(1e-3 * 0.5 ** (3 - layer), rel=1e-3)
    assert step["embedding.weight"] == pytest.approx(1e-3 * 0.5**4, rel=1e-3)
    ratio = step["layers.1.weight_hh"] / step["layers.2.weight_hh"]
    assert ratio == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("progress", "frozen"), [(0.0, {0, 1}), (0.17, {0}), (0.34, set()), (0.5, set()), (1.0, set())]
)
def test_layers_are_freed_one_by_one(progress, frozen):
    network, optimizer = optimizer_of(freeze=2)
    step = moved(network, optimizer, progress)
    still = {layer for layer in range(3) if step[f"layers.{layer}.weight_hh"] == 0}
    assert still == frozen
    assert {layer for layer in range(3) if step[f"layers.{layer}.bias_hh"] == 0} == frozen
    assert step["head.bias"] > 0
    assert step["embedding.weight"] > 0


def test_weights_are_pulled_back_to_where_they_began():
    network, optimizer = optimizer_of(l2_to_base=100.0, optimizer="adamw")
    free, other = optimizer_of(optimizer="adamw")
    away, freely = (moved(*pair, 0.0) for pair in ((network, optimizer), (free, other)))
    for name, distance in freely.items():
        assert away[name] == pytest.approx(0.9 * distance, rel=1e-3), name


def test_a_small_text_is_read_only_so_often():
    base = ModelConfig(vocab_size=60, hidden_size=64, num_layers=1, embedding_size=32)
    plan = make_finetune_plan({"minutes": 3.0, "threads": 1}, base, train_tokens=15_000,
                            valid_tokens=1500)  # fmt: skip
    assert plan.train.minutes is None
    (passes,) = [reason for reason in plan.reasons if "passes over the text are enough" in reason]
    assert "stops early" in passes
    assert f"dropout {plan.train.dropout:g}, " in passes
    given = {"epochs": 12.0, "threads": 1}
    plan = make_finetune_plan(given, base, train_tokens=15_000, valid_tokens=1500)
    assert any(reason.endswith(f"dropout {plan.train.dropout:g}") for reason in plan.reasons)
    assert plan.train.patience > 0
    assert plan.model == base


def rate_at(distance: float, **given) -> float:
    base = ModelConfig(vocab_size=60, hidden_size=64, num_layers=1, embedding_size=32)
    plan = make_finetune_plan({"steps": 9, "threads": 1, **given}, base, train_tokens=15_000,
                            valid_tokens=1500, distance=distance)  # fmt: skip
    return plan.train.learning_rate


def test_a_text_farther_from_the_base_is_learned_at_a_higher_rate():
    rates = [rate_at(one) for one in (0.9, 1.0, 1.5, 2.5, 9.0)]
    assert rates == pytest.approx([2e-3, 2e-3, 4e-3, 9.5e-3, 12e-3], rel=0.01)
    assert rate_at(2.5, replay_share=0.5) == pytest.approx(3e-3)
    assert rate_at(2.5, learning_rate=1e-4) == 1e-4


def base_file(**changes) -> str:
    save_model(Path("base.safetensors"), make_model(**changes))
    return "base.safetensors"


@pytest.mark.parametrize(
    ("text", "arguments", "code", "message"),
    [
        ("中文字典" * 100, [], 3, "not one character of this text is known to the model"),
        ("abc de\n" * 50, ["--tokenizer", "byte"], 2, "the base reads char tokens"),
        ("abc de\n" * 50, ["--cell", "gru"], 2, "--cell gru: the base has lstm"),
        ("abc de\n" * 50, ["--hidden-size", "99"], 2, "--hidden-size 99: the base has 12"),
        ("abc de\n" * 50, ["--layers", "3"], 2, "--layers 3: the base has 1"),
        ("abc", [], 3, "at least 16 are needed"),
        ("", [], 3, "the corpus is empty"),
        ("abc de\n" * 50, ["--extend-vocab", "5"], 2, "adds pieces to subword models"),
        ("abc de\n" * 50, ["--replay", "gone.txt"], 3, "gone.txt"),
        ("abc de\n" * 50, ["--replay-share", "0.5"], 2, "say which text with --replay"),
        ("abc de\n" * 50, ["--replay-share", "2", "--replay", "a.txt"], 2, "replay-share 2"),
        ("abc de\n" * 50, ["--layer-decay", "0"], 2, "layer-decay 0"),
        ("abc de\n" * 50, ["--freeze", "-1"], 2, "freeze -1"),
        ("abc de\n" * 50, ["--l2-to-base", "-1"], 2, "l2-to-base -1"),
    ],
)
def test_what_cannot_be_is_one_line(capsys, text, arguments, code, message):
    Path("a.txt").write_text(text, encoding="utf-8")
    assert run(["finetune", base_file(), "a.txt", "--run", "x", *arguments]) == code
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""
    assert not Path("checkpoints/x").exists()


def test_a_base_of_a_newer_format_is_refused(capsys):
    raw = Path(base_file()).read_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 9', 1)
    raw = raw.replace(b'\\"format\\":1', b'\\"format\\":9', 1)
    Path("new.safetensors").write_bytes(raw)
    Path("a.txt").write_text("abc de\n" * 50)
    assert run(["finetune", "new.safetensors", "a.txt"]) == 3
    assert "format 9" in capsys.readouterr().err


def test_a_corpus_shorter_than_a_window_is_read_in_shorter_ones(english):
    Path("a.txt").write_text("Der König grüßt.\nUnd so geht es.\n", encoding="utf-8")
    found = events(chargen.finetune(english, "a.txt", run="a", steps=3, threads=1))
    assert found[0].train.bptt < 48


def test_info_shows_the_chain(english, capsys, prose):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    Path("old.txt").write_text(prose[:8000], encoding="utf-8")
    events(chargen.finetune(english, "new.txt", run="german", replay="old.txt", **SMALL))
    Path("chat.txt").write_text(CHAT, encoding="utf-8")
    events(chargen.finetune("german", "chat.txt", run="chat", **SMALL))
    assert run(["info", "chat"]) == 0
    lines = capsys.readouterr().out.splitlines()
    bases = [line for line in lines if line.startswith("base ")]
    assert [line.split()[1] for line in bases] == ["german:", "english:"]
    assert "new.txt" in bases[0]
    assert "prose.txt" in bases[1]
    assert run(["info", "german"]) == 0
    assert "bits per byte before" in capsys.readouterr().out


def test_keeping_the_vocabulary_says_what_is_read_instead(english, capsys):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    shutil.copytree(english, "checkpoints/english")
    assert run(["finetune", "english", "new.txt", "--vocab", "keep", "--steps", "3", "--threads",
                "1"]) == 0  # fmt: skip
    assert "475 of 3400 characters unseen: K → k, ö → o" in capsys.readouterr().err
    tuned = load_model(Path("checkpoints/english-new/model.safetensors"))
    assert tuned.config == load_model(english / "model.safetensors").config


def test_learning_while_reading_helps_on_a_text_that_repeats(capsys, english):
    Path("new.txt").write_text(GERMAN * 3, encoding="utf-8")
    assert run(["eval", str(english), "new.txt", "--dynamic", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["dynamic"]["nats_per_token"] < 0.8 * score["nats_per_token"]
    assert score["dynamic"]["tokens"] == score["tokens"]
    assert run(["eval", str(english), "new.txt", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain == {key: value for key, value in score.items() if key != "dynamic"}


def test_a_learner_scores_before_it_learns():
    from chargen.api import Model
    from chargen.scoring import online_learner

    model = Model(make_model())
    ids = np.array([1, 4, 2, 8, 5, 7] * 3)
    first = online_learner(model.stepper)
    nats = first.read(ids)
    static = model.score_tokens(ids)
    assert nats == pytest.approx(static.nats_per_token * 17, rel=1e-4), "a single segment"
    assert any(
        not np.array_equal(first.weights()[name], one) for name, one in model.file.weights.items()
    )
    pieces = online_learner(model.stepper)
    pieces.read(ids[:1])
    assert pieces.read(ids[1:]) == pytest.approx(nats, rel=1e-4)


def test_replay_cannot_be_taken_up_when_it_is_gone(english, prose, tmp_path, monkeypatch):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    Path("old.txt").write_text(prose[:8000], encoding="utf-8")
    events(chargen.finetune(english, "new.txt", run="x", replay="old.txt",
                            should_stop=lambda: True, **SMALL))  # fmt: skip
    Path("old.txt").unlink()
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "another"))
    with pytest.raises(ChargenError, match="old"):
        events(chargen.resume("x"))
