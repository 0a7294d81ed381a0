"""Fine-tuning: starts at the weights of the base, improves on the new text, can be resumed."""

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


@pytest.fixture(scope="module")
def english(tmp_path_factory, prose) -> Path:
    """A base model that was trained on ASCII text."""
    folder = tmp_path_factory.mktemp("base")
    corpus = folder / "prose.txt"
    letters = "".join(letter for letter in prose[:24_000] if letter.isascii())
    corpus.write_text(letters, encoding="utf-8")
    list(chargen.train(corpus, out=folder / "english", hidden_size=48, threads=1, steps=120,
                       batch_size=8, bptt=24))  # fmt: skip
    return folder / "english"


def write_old_text(text: str) -> None:
    """A replay text of characters that the base knows."""
    Path("old.txt").write_text(text.encode("ascii", "ignore").decode(), encoding="ascii")


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
    events = list(chargen.finetune(english, "new.txt", run="new", documents=documents,
                                   on_note=notes.append, **settings))  # fmt: skip
    model = chargen.load("new")
    card = model.card
    assert any("new character" in note for note in notes)
    assert card["validation"]["bits_per_byte"] < card["before"]["bits_per_byte"] * 0.8
    assert card["base"]["name"] == "english"
    assert events[-1].reason in ("done", "early stop")
    written = "".join(step.text for step in model.generate("", length=400, seed=1,
                                                           stop_at_end=False))  # fmt: skip
    assert set(new) & set(written)
    assert (model.tokenizer.eos_id is not None) == (documents == "lines")


def test_training_starts_at_the_weights_of_the_base(english):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    base = load_model(english / "model.safetensors")
    list(chargen.finetune(english, "new.txt", run="new", **{**SMALL, "steps": 1},
                            learning_rate=1e-9))  # fmt: skip
    tuned = load_model(Path("checkpoints/new/model.safetensors"))
    for name in ("layers.0.weight_ih", "layers.0.weight_hh", "layers.0.bias_ih"):
        np.testing.assert_allclose(tuned.weights[name], base.weights[name], atol=1e-6)


def test_the_file_of_the_base_stays_unchanged(english):
    before = (english / "model.safetensors").read_bytes()
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    list(chargen.finetune(english, "new.txt", run="new", **SMALL))
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
def test_a_stopped_fine_tuning_resumes_exactly(english, prose, settings):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    write_old_text(prose[:8000])
    if settings.pop("replay", False):
        settings["replay"] = "old.txt"
    list(chargen.finetune(english, "new.txt", run="straight", **SMALL, **settings))

    stop = False
    iterator = chargen.finetune(
        english, "new.txt", run="stopped", should_stop=lambda: stop, **SMALL, **settings
    )
    for event in iterator:
        if getattr(event, "step", 0) == 13:
            stop = True
    list(chargen.resume("stopped"))
    for name in ("model.safetensors", "training.safetensors"):
        straight, stopped = (
            load_file(f"checkpoints/{run}/{name}") for run in ("straight", "stopped")
        )
        assert straight.keys() == stopped.keys()
        for key in straight:
            np.testing.assert_array_equal(straight[key], stopped[key], err_msg=key)
    cards = [load_model(Path(f"checkpoints/{run}/model.safetensors")).card
             for run in ("straight", "stopped")]  # fmt: skip
    assert cards[0] == cards[1]
    assert ("old_text" in cards[0]) == ("replay" in settings)


def test_the_card_has_the_score_of_the_old_text_before_and_after(english, prose):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    write_old_text(prose[:12_000])
    list(chargen.finetune(english, "new.txt", run="new", replay="old.txt", **SMALL))
    old = chargen.load("new").card["old_text"]
    tail = prose[:12_000][int(12_000 * 0.9) :]
    expected = chargen.load(english).score(tail).bits_per_byte
    assert old["before"]["bits_per_byte"] == pytest.approx(expected, rel=2e-3), (
        "the score of the base"
    )
    assert old["before"]["bits_per_byte"] > 0
    assert old["after"]["tokens"] == old["before"]["tokens"]


def test_rows_of_the_replayed_text_read_that_text():
    tokens, replay = np.arange(100), np.arange(1000, 1100)
    stream = BatchStream(tokens, 5, 8, replay, 2)
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


def distances_moved(
    network: RecurrentLM, optimizer: Optimizer, progress: float
) -> dict[str, float]:
    """How far each weight moves for a gradient of ones."""
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1e-3, progress)
    return {
        name: (weight - before[name]).abs().max().item()
        for name, weight in network.named_parameters()
    }


@pytest.mark.parametrize("method", ["muon", "adamw"])
def test_lower_layers_learn_at_lower_rates(method):
    network, optimizer = optimizer_of(layer_decay=0.5, optimizer=method)
    step = distances_moved(network, optimizer, 0.0)
    assert step["head.bias"] == pytest.approx(1e-3 * 0.5**0, rel=1e-3)
    for layer in range(3):
        assert step[f"layers.{layer}.bias_ih"] == pytest.approx(1e-3 * 0.5 ** (3 - layer), rel=1e-3)
    assert step["embedding.weight"] == pytest.approx(1e-3 * 0.5**4, rel=1e-3)
    ratio = step["layers.1.weight_hh"] / step["layers.2.weight_hh"]
    assert ratio == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("progress", "frozen"), [(0.0, {0, 1}), (0.17, {0}), (0.34, set()), (0.5, set()), (1.0, set())]
)
def test_frozen_layers_are_released_from_the_top_down(progress, frozen):
    network, optimizer = optimizer_of(freeze=2)
    step = distances_moved(network, optimizer, progress)
    unmoved = {layer for layer in range(3) if step[f"layers.{layer}.weight_hh"] == 0}
    assert unmoved == frozen
    assert {layer for layer in range(3) if step[f"layers.{layer}.bias_hh"] == 0} == frozen
    assert step["head.bias"] > 0
    assert step["embedding.weight"] > 0


def test_l2_to_base_pulls_weights_back_to_the_base():
    network, optimizer = optimizer_of(l2_to_base=100.0, optimizer="adamw")
    free_network, free_optimizer = optimizer_of(optimizer="adamw")
    pulled = distances_moved(network, optimizer, 0.0)
    free = distances_moved(free_network, free_optimizer, 0.0)
    for name, distance in free.items():
        assert pulled[name] == pytest.approx(0.9 * distance, rel=1e-3), name


def test_a_small_text_gets_a_limited_number_of_passes():
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


def planned(width: int, **given: object) -> TrainConfig:
    base = ModelConfig(vocab_size=60, hidden_size=width)
    sizes = {"train_tokens": 18_000, "valid_tokens": 2_000, "distance": 1.0}
    return make_finetune_plan({"threads": 1, **given}, base, **sizes).train


def test_a_wide_base_is_changed_more_carefully():
    narrow, wide = planned(448, steps=100), planned(1024, steps=100)
    assert wide.learning_rate == pytest.approx(narrow.learning_rate * (448 / 1024) ** 1.5, rel=0.05)
    assert planned(64, steps=100).learning_rate == narrow.learning_rate
    assert wide.batch_size == 16, "a slow base takes more and smaller steps"
    assert narrow.batch_size == 32
    assert planned(1024, steps=100, batch_size=24, learning_rate=0.01).batch_size == 24
    assert planned(1024, steps=100, learning_rate=0.01).learning_rate == 0.01


def test_dropout_grows_with_the_passes_over_the_text():
    dropouts = [planned(448, epochs=passes).dropout for passes in (1, 2, 8, 20)]
    assert dropouts[0] == dropouts[1] == 0
    assert 0 < dropouts[2] < dropouts[3] <= 0.4
    assert planned(448, epochs=1, dropout=0.3).dropout == 0.3


def test_a_run_that_makes_the_base_worse_gives_the_base_back(english, tmp_path):
    (tmp_path / "text.txt").write_text(GERMAN * 3, encoding="utf-8")
    settings = {**SMALL, "steps": 3, "learning_rate": 0.9, "memory": False}
    events = list(chargen.finetune(english, tmp_path / "text.txt", run="worse", **settings))
    assert events[-1].score.nats_per_token < 7
    tuned, base = chargen.load("worse"), chargen.load(english)
    np.testing.assert_array_equal(
        tuned.file.weights["layers.0.weight_hh"], base.file.weights["layers.0.weight_hh"]
    )


def test_a_text_farther_from_the_base_is_learned_at_a_higher_rate():
    rates = [rate_at(distance) for distance in (0.9, 1.0, 1.5, 2.5, 9.0)]
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
        ("abc de\n" * 50, ["--extend-vocab", "5"], 2, "adds pieces to models of subwords or words"),
        ("abc de\n" * 50, ["--replay", "gone.txt"], 3, "gone.txt"),
        ("abc de\n" * 50, ["--replay-share", "0.5"], 2, "say which text with --replay"),
        ("abc de\n" * 50, ["--replay-share", "2", "--replay", "a.txt"], 2, "replay-share 2"),
        ("abc de\n" * 50, ["--layer-decay", "0"], 2, "layer-decay 0"),
        ("abc de\n" * 50, ["--freeze", "-1"], 2, "freeze -1"),
        ("abc de\n" * 50, ["--l2-to-base", "-1"], 2, "l2-to-base -1"),
    ],
)
def test_impossible_fine_tunings_are_an_error_of_one_line(capsys, text, arguments, code, message):
    Path("a.txt").write_text(text, encoding="utf-8")
    assert run(["finetune", base_file(), "a.txt", "--run", "x", *arguments]) == code
    output = capsys.readouterr()
    assert message in output.err
    assert len(output.err.splitlines()) == 1
    assert output.out == ""
    assert not Path("checkpoints/x").exists()


def test_a_base_of_a_newer_format_is_refused(capsys):
    raw = Path(base_file()).read_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 9', 1)
    raw = raw.replace(b'\\"format\\":1', b'\\"format\\":9', 1)
    Path("new.safetensors").write_bytes(raw)
    Path("a.txt").write_text("abc de\n" * 50)
    assert run(["finetune", "new.safetensors", "a.txt"]) == 3
    assert "format 9" in capsys.readouterr().err


def test_a_corpus_shorter_than_a_window_gets_shorter_windows(english):
    Path("a.txt").write_text("Der König grüßt.\nUnd so geht es.\n", encoding="utf-8")
    events = list(chargen.finetune(english, "a.txt", run="a", steps=3, threads=1))
    assert events[0].train.bptt < 48


def test_info_shows_the_bases_of_a_fine_tuned_model(english, capsys, prose):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    write_old_text(prose[:8000])
    list(chargen.finetune(english, "new.txt", run="german", replay="old.txt", **SMALL))
    Path("chat.txt").write_text(CHAT, encoding="utf-8")
    list(chargen.finetune("german", "chat.txt", run="chat", **SMALL))
    assert run(["info", "chat"]) == 0
    lines = capsys.readouterr().out.splitlines()
    bases = [line for line in lines if line.startswith("base ")]
    assert [line.split()[1] for line in bases] == ["german:", "english:"]
    assert "new.txt" in bases[0]
    assert "prose.txt" in bases[1]
    assert run(["info", "german"]) == 0
    assert "bits per byte before" in capsys.readouterr().out


def test_with_the_vocabulary_kept_a_note_names_the_characters_read_instead(english, capsys):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    shutil.copytree(english, "checkpoints/english")
    assert run(["finetune", "english", "new.txt", "--vocab", "keep", "--steps", "3", "--threads",
                "1"]) == 0  # fmt: skip
    assert "475 of 3400 characters unseen: K → k, ö → o" in capsys.readouterr().err
    tuned = load_model(Path("checkpoints/english-new/model.safetensors"))
    assert tuned.config == load_model(english / "model.safetensors").config


def test_dynamic_evaluation_improves_the_score_of_a_repetitive_text(capsys, english):
    Path("new.txt").write_text(GERMAN * 3, encoding="utf-8")
    assert run(["eval", str(english), "new.txt", "--dynamic", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["dynamic"]["nats_per_token"] < 0.8 * score["nats_per_token"]
    assert score["dynamic"]["tokens"] == score["tokens"]
    assert run(["eval", str(english), "new.txt", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain == {key: value for key, value in score.items() if key != "dynamic"}


def test_online_learning_scores_each_segment_before_it_learns_from_it():
    from chargen.api import Model
    from chargen.scoring import online_learner

    model = Model(make_model())
    ids = np.array([1, 4, 2, 8, 5, 7] * 3)
    learner = online_learner(model.stepper)
    nats = learner.read(ids)
    static = model.score_tokens(ids)
    assert nats == pytest.approx(static.nats_per_token * 17, rel=1e-4), "a single segment"
    assert any(
        not np.array_equal(learner.weights()[name], weight)
        for name, weight in model.file.weights.items()
    )
    pieces = online_learner(model.stepper)
    pieces.read(ids[:1])
    assert pieces.read(ids[1:]) == pytest.approx(nats, rel=1e-4)


def test_a_run_whose_replayed_text_is_gone_cannot_be_resumed(english, prose, tmp_path, monkeypatch):
    Path("new.txt").write_text(GERMAN, encoding="utf-8")
    write_old_text(prose[:8000])
    list(chargen.finetune(english, "new.txt", run="x", replay="old.txt",
                            should_stop=lambda: True, **SMALL))  # fmt: skip
    Path("old.txt").unlink()
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "another"))
    with pytest.raises(ChargenError, match="old"):
        list(chargen.resume("x"))
