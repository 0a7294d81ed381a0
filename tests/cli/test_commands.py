"""Commands from the outside: streams, exit codes, files."""

from __future__ import annotations

import importlib
import json
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import chargen
from chargen.cli.main import COMMANDS, run
from chargen.model.checkpoint import save_model
from chargen.text import recipes
from chargen.text.tokenizer import utf8
from tests.conftest import make_model

QUICK = [
    "--steps",
    "40",
    "--hidden-size",
    "24",
    "--batch-size",
    "4",
    "--bptt",
    "16",
    "--threads",
    "1",
]


@pytest.fixture
def corpus(prose) -> Path:
    path = Path("text.txt")
    path.write_text(prose[:20_000], encoding="utf-8", newline="\n")
    return path


def test_train_sample_eval_info_runs(cli, corpus):
    code, out, err = cli("train", corpus, "--run", "bard", *QUICK)
    assert (code, out) == (0, "")
    assert "40 steps, batch 4 x 16 tokens" in err
    assert "write with it: chargen repl bard" in err
    assert {path.name for path in Path("checkpoints/bard").iterdir()} == {
        "model.safetensors",
        "model.memory.safetensors",
        "metrics.jsonl",
        "run.json",
        "training.safetensors",
    }
    first = cli("sample", "bard", "-p", "The ", "--length", "50", "--seed", "1")
    assert first == cli("sample", "bard", "-p", "The ", "--length", "50", "--seed", "1")
    code, out, err = first
    assert (code, err, out[:4], len(out)) == (0, "", "The ", 54)
    assert cli("sample", "-p", "The ", "--length", "50", "--seed", "1") == first
    assert cli("sample", "checkpoints/bard", "-p", "x", "-l", "1", "--no-echo")[0] == 0
    code, out, _ = cli("eval", "bard", corpus, "--json")
    assert code == 0
    together = json.loads(out)
    assert list(together)[-2:] == ["network_nats_per_token", "counts_nats_per_token"]
    code, out, _ = cli("eval", "bard", corpus, "--no-memory", "--json")
    assert json.loads(out)["nats_per_token"] == pytest.approx(
        together["network_nats_per_token"], abs=1e-5
    )
    assert list(json.loads(out)) == [
        "nats_per_token",
        "perplexity",
        "bits_per_byte",
        "bits_per_character",
        "tokens",
        "bytes",
        "characters",
    ]
    code, out, _ = cli("info", "bard")
    assert code == 0
    assert "LSTM, 24 units" in out
    assert f"text.txt, {corpus.stat().st_size:,} bytes" in out
    code, out, _ = cli("runs")
    assert code == 0
    assert out.splitlines()[1].startswith("bard ")


def test_eval_equals_twenty_lines_of_torch(cli, corpus):
    cli("train", corpus, "--run", "bard", *QUICK, "--layers", "2", "--no-memory")
    _, out, _ = cli("eval", "bard", corpus, "--json")
    with safe_open("checkpoints/bard/model.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["chargen"])
    config = header["config"]
    network = torch.nn.LSTM(config["embedding_size"], config["hidden_size"], config["num_layers"])
    network.load_state_dict(
        {
            f"{part}_l{layer}": weights[f"layers.{layer}.{part}"]
            for layer in range(config["num_layers"])
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
    )
    ids = torch.tensor([header["tokenizer"]["characters"].index(c) for c in corpus.read_text()])
    with torch.no_grad():
        hidden, _ = network(weights["embedding.weight"][ids[:-1]])
        logits = hidden @ weights["head.weight"].T + weights["head.bias"]
        expected = torch.nn.functional.cross_entropy(logits, ids[1:])
    score = json.loads(out)
    assert score["nats_per_token"] == pytest.approx(float(expected), abs=1e-5)
    assert score["tokens"] == len(ids) - 1


@pytest.mark.parametrize(
    "options",
    [
        ["--tokenizer", "byte"],
        ["--tokenizer", "subword", "--vocab-size", "400"],
        ["--tokenizer", "subword-bpe", "--vocab-size", "400"],
        ["--cell", "gru"],
        ["--cell", "rnn"],
        ["--cell", "rnn-relu", "--layers", "3"],
        ["--tied-head"],
        ["--documents", "lines"],
        ["--valid-fraction", "0"],
        ["--schedule", "wsd", "--ema", "0", "--dropout", "0.3"],
    ],
    ids=" ".join,
)
def test_every_kind_trains_writes_and_is_scored(cli, corpus, options):
    code, _, err = cli("train", corpus, "--run", "a", *QUICK, *options)
    assert code == 0, err
    code, out, err = cli("sample", "a", "--length", "30", "--seed", "3", "--json")
    assert code == 0, err
    assert json.loads(out)["finish"] in ("length", "end")
    code, out, _ = cli("eval", "a", corpus, "--json")
    assert code == 0
    assert 0 < json.loads(out)["bits_per_byte"] < 12


@pytest.mark.parametrize(
    "text",
    [
        "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。\n",
        "السلام عليكم ورحمة الله وبركاته، كيف حالك اليوم؟\n",
        "🙂🙃 hello 👩‍👩‍👧 family ❤️‍🔥 flags 🇩🇪\n",
    ],
    ids=["Chinese", "Arabic", "emoji"],
)
@pytest.mark.parametrize(
    "tokenizer",
    [["char"], ["byte"], ["subword", "--vocab-size", "1000"]],
    ids=lambda options: options[0],
)
def test_other_scripts(cli, text, tokenizer):
    Path("a.txt").write_text(text * 80, encoding="utf-8")
    code, _, err = cli("train", "a.txt", "--run", "a", *QUICK, "--tokenizer", *tokenizer)
    assert code == 0, err
    code, out, err = cli("sample", "a", "-p", text[:5], "--length", "20", "--seed", "1")
    assert (code, err) == (0, "")
    assert out.startswith(text[:5])


def test_corpora_of_every_kind(cli, corpus, monkeypatch):
    folder = Path("folder")
    folder.mkdir()
    (folder / "a.txt").write_text(corpus.read_text(), encoding="utf-8")
    (folder / "b.png").write_bytes(b"\x89PNG\0")
    rows = corpus.read_text().split("\n")
    Path("a.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    code, _, err = cli("train", folder, "--run", "folder", *QUICK)
    assert code == 0
    assert "skipped 1 of 2 files: b.png (binary)" in err
    assert cli("train", "a.jsonl", "--run", "rows", "--documents", "files", *QUICK)[0] == 0
    with corpus.open("rb") as stream:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stream}))
        assert cli("train", "-", *QUICK)[0] == 0
    assert Path("checkpoints/stdin/model.safetensors").is_file()


def test_two_runs_with_one_seed_are_the_same_file(cli, corpus):
    for name in "ab":
        assert (
            cli("train", corpus, "--run", name, *QUICK, "--dropout", "0.2", "--seed", "3")[0] == 0
        )
    first, second = (Path(f"checkpoints/{name}/model.safetensors").read_bytes() for name in "ab")
    assert first == second


def test_runs_without_a_name_get_one(cli, corpus):
    for expected in ("text", "text-2"):
        assert cli("train", corpus, *QUICK)[0] == 0
        assert Path(f"checkpoints/{expected}/model.safetensors").is_file()
    assert cli("train", corpus, "--out", "elsewhere", *QUICK)[0] == 0
    assert Path("elsewhere/model.safetensors").is_file()
    assert cli("train", corpus, "--out", "elsewhere", "--run", "b", *QUICK)[0] == 0
    assert Path("elsewhere/b/model.safetensors").is_file()


def test_a_separate_validation_text(cli, corpus, prose):
    Path("v.txt").write_text(prose[20_000:24_000] + "ÿ", encoding="utf-8")
    assert cli("train", corpus, "--valid", "v.txt", "--run", "a", *QUICK)[0] == 0
    card = chargen.load("a").card
    assert card["split"]["valid"][0]["name"] == "v.txt"
    assert card["split"]["train_tokens"] == 20_000
    assert card["validation"]["tokens"] == 4_000


def test_train_as_json_is_one_object_a_line(cli, corpus):
    code, out, _ = cli("train", corpus, "--run", "a", *QUICK, "--json", "--quiet")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["event"] for event in events].count("step") == 40
    assert (events[0]["event"], events[-1]["event"]) == ("planned", "finished")
    metrics = Path("checkpoints/a/metrics.jsonl").read_text().splitlines()
    assert events[-1].pop("memory").startswith("memory: ")  # known after the run was recorded
    assert json.loads(metrics[-1]) == events[-1]


def test_samples_in_json_and_in_batches(cli, model_path):
    code, out, err = cli("sample", model_path, "-n", "3", "-l", "9", "--seed", "1", "--json")
    assert (code, err) == (0, "")
    values = [json.loads(line) for line in out.splitlines()]
    assert [value["number"] for value in values] == [0, 1, 2]
    assert len({value["text"] for value in values}) == 3
    assert all(value["tokens"] == 9 and value["finish"] == "length" for value in values)
    _, plain, _ = cli("sample", model_path, "-n", "3", "-l", "9", "--seed", "1")
    assert plain == "\n\n".join(value["text"] for value in values)
    _, single, _ = cli("sample", model_path, "-l", "9", "--seed", "1")
    assert single == values[0]["text"]


def test_unseen_characters_are_reported_once(cli, model_path):
    code, out, err = cli("sample", model_path, "-p", "ä€c", "-l", "3", "--seed", "1")
    assert code == 0
    assert out.startswith("ä€c")
    assert err == "2 of 3 characters unseen: ä → a, € → e\n"
    _, _, err = cli("sample", model_path, "-p", "ä€c", "-l", "3", "--unknown", "skip")
    assert err == "2 of 3 characters unseen: ä, € (left out)\n"
    code, out, err = cli("sample", model_path, "-p", "ä€c", "--unknown", "error")
    assert (code, out) == (2, "")
    assert "'ä' (U+00E4)" in err.splitlines()[-1]


def test_prompts_from_files_and_pipes(cli, model_path, monkeypatch):
    Path("p.txt").write_bytes(b"abc\n")
    from_option = cli("sample", model_path, "-p", "abc\n", "-l", "5", "--seed", "1")
    assert (
        cli("sample", model_path, "--prompt-file", "p.txt", "-l", "5", "--seed", "1") == from_option
    )
    with Path("p.txt").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert cli("sample", model_path, "-p", "-", "-l", "5", "--seed", "1") == from_option
        stream.seek(0)
        arguments = ("--prompt-file", "-", "-l", "5", "--seed", "1")
        assert cli("sample", model_path, *arguments) == from_option


def test_eval_of_unseen_characters_says_so(cli, model_path):
    Path("a.txt").write_text("abcabcé", encoding="utf-8")
    code, out, err = cli("eval", model_path, "a.txt")
    assert code == 0
    assert "1 of 7 characters unseen: é → e" in err
    assert out.startswith("a.txt: ")
    code, out, _ = cli("eval", model_path, "a.txt", "a.txt", "--json")
    assert [json.loads(line)["file"] for line in out.splitlines()] == ["a.txt", "a.txt"]


def test_corpora_completion_and_help(cli):
    code, out, _ = cli("corpora")
    assert code == 0
    assert "builtin:python-docs" in out
    assert cli("info", "corpora") == (0, out, "")
    assert cli("help", "corpora") == cli("corpora", "--help")
    _, out, _ = cli("corpora", "--json")
    assert {"name", "description", "size", "license", "needs_network"} == set(
        json.loads(out.splitlines()[0])
    )
    for shell in ("bash", "zsh", "fish"):
        code, out, _ = cli("completion", shell)
        assert code == 0
        assert "_CHARGEN_COMPLETE" in out
    code, out, _ = cli("--version")
    assert (code, out) == (0, f"chargen {chargen.__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_has_the_first_line_of_each_commands_help(cli, name):
    command = importlib.import_module(f"chargen.cli.{name}").command
    assert COMMANDS[name].rstrip(".") in (command.help or "").replace("\n", " ")
    code, out, _ = cli(name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: chargen {name}")


def test_the_library_is_the_same_thing(cli, corpus):
    events = list(
        chargen.train(corpus, run="lib", steps=40, hidden_size=24, batch_size=4, bptt=16, threads=1)
    )
    assert events[-1].reason == "done"
    model = chargen.load("lib")
    text = "".join(step.text for step in model.generate("The ", length=40, seed=1))
    _, out, _ = cli("sample", "lib", "-p", "The ", "-l", "40", "--seed", "1")
    assert out == "The " + text
    _, out, _ = cli("eval", "lib", corpus, "--json")
    assert json.loads(out) == model.score_with_memory(corpus.read_text()).to_json()
    _, out, _ = cli("eval", "lib", corpus, "--no-memory", "--json")
    assert json.loads(out) == model.score(corpus.read_text()).to_json()
    assert model.trace("abc").states.shape == (3, 1, 2, 24)
    assert len({step.token_id for step in model.generate(length=50)}) > 1


def test_the_demo(cli, monkeypatch, prose):
    monkeypatch.setitem(recipes._SOURCES, "pydoc-topics", lambda _: iter([prose]))
    code, out, err = cli("demo", "--minutes", "0.03")
    assert code == 0
    assert out.startswith("The ")
    assert "checkpoints/demo/model.safetensors" in err
    assert cli("demo", "--minutes", "0.03")[0] == 0, "an earlier demo is replaced"


def test_bytes_go_to_a_pipe_as_they_are(cli):
    Path("a.bin").write_bytes(bytes(np.random.default_rng(0).integers(256, size=4000, dtype="u1")))
    assert cli("train", "a.bin", "--tokenizer", "byte", "--run", "a", *QUICK)[0] == 0
    steps = chargen.load("a").generate("\udcff\0", length=60, seed=1)
    expected = b"\xff\x00" + b"".join(step.data for step in steps)
    code, out, _ = cli("sample", "a", "-p", "\udcff\0", "-l", "60", "--seed", "1")
    assert code == 0
    assert out == expected.decode("utf-8", "replace")
    assert utf8("\udcff") == b"\xff"


@pytest.mark.parametrize(
    ("words", "expected"),
    [("chargen sample b", "plain,bard"), ("chargen train bu", "plain,builtin:python-docs")],
)
def test_completion_offers_runs_and_corpora(capfd, model_path, monkeypatch, words, expected):
    folder = Path("checkpoints/bard")
    folder.mkdir(parents=True)
    model_path.rename(folder / "model.safetensors")
    monkeypatch.setenv("_CHARGEN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit) as stopped:
        run([])
    assert stopped.value.code == 0
    assert expected in capfd.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"model": 5}',
        '{"model": {"cell": null}, "seconds": 1e999, "status": "a\\u001b"}',
    ],
)
def test_runs_survives_a_damaged_run_json(cli, model_path, text):
    folder = Path("checkpoints/bard")
    folder.mkdir(parents=True)
    model_path.rename(folder / "model.safetensors")
    (folder / "run.json").write_text(text)
    code, out, err = cli("runs")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith("bard")
    assert "\x1b" not in out


def test_info_survives_a_strange_card(cli, tmp_path):
    card = {
        "corpus": ["x", {"name": "a\x1b[2J", "bytes": None}, 7],
        "validation": {"bits_per_byte": 10**400, "nats_per_token": "two"},
        "steps": ["\n"],
    }
    save_model(tmp_path / "m.safetensors", replace(make_model(), card=card))
    code, out, _ = cli("info", "m.safetensors")
    assert code == 0
    assert "\x1b" not in out
    assert cli("info", "m.safetensors", "--json")[0] == 0


def test_info_shows_versions_and_what_training_would_use(cli):
    code, out, _ = cli("info", "--devices")
    assert code == 0
    rows = {line[:14].strip(): line[14:] for line in out.splitlines()}
    assert rows["used"].startswith("cuda" if torch.cuda.is_available() else "cpu: ")
    assert "cores" in rows["cpu"]
    code, out, err = cli("info", "--devices", "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    value = json.loads(out)
    assert value == rows
    assert value["chargen"] == chargen.__version__
    assert value["python"].split()[0] == platform.python_version()
    assert value["torch"] == version("torch")
    assert value["numpy"] == np.__version__
    assert platform.system() in value["platform"] or platform.machine() in value["platform"]
    for cell in ("lstm", "gru", "rnn", "rnn-relu"):
        assert "with --steps" in value[f"cpu, {cell}"]
