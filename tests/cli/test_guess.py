"""chargen guess: games with piped guesses, with keys at a terminal, and what ends them early."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from chargen.cli.answers import KeyAnswers
from chargen.model.checkpoint import save_model
from tests.conftest import make_cycle_model

TEXT = "abcdefghijklmnopqrstuvwxyz" * 6
ORDERED = ("--start", "4", "--characters", "5")


@pytest.fixture
def game(cli, monkeypatch):
    """Plays a game with the model that knows the alphabet: (code, stdout, stderr)."""
    save_model(Path("cycle.safetensors"), make_cycle_model())
    Path("t.txt").write_text(TEXT)

    def play(guesses: str, *arguments: object):
        stdin = io.TextIOWrapper(io.BytesIO(guesses.encode()))
        monkeypatch.setattr("sys.stdin", stdin)
        return cli("guess", "cycle.safetensors", "t.txt", *arguments)

    return play


def test_a_game_with_piped_guesses(game):
    code, out, err = game("d\nx\nx\ne\n?\ngh\n", *ORDERED, "--json")
    assert code == 0
    card = json.loads(out)
    assert (card["file"], card["start"]) == ("t.txt", 4)
    assert [
        (one["character"], one["guesses"], one["gave_up"], one["model_guesses"])
        for one in card["characters"]
    ] == [("d", 1, False, 1), ("e", 2, False, 1), ("f", 28, True, 1), ("g", 1, False, 1),
          ("h", 1, False, 1)]  # fmt: skip
    assert card["you"]["right_at_first"] == 3
    assert card["you"]["mean_guesses"] == pytest.approx(33 / 5)
    assert (card["model"]["lower_bits"], card["model"]["upper_bits"]) == (0, 0)
    bits = [one["model_bits"] for one in card["characters"]]
    assert card["model"]["bits"] == pytest.approx(sum(bits) / 5)
    assert all(0 < one < 1 for one in bits)
    lines = err.splitlines()
    assert "Enter is a line end" in lines[0]
    assert "counts as guess 28" in lines[0]
    assert lines[3] == "abc"
    assert lines[5].split() == ["abc_", "→", "d", "your", "guess", "1;", "cycle:", "guess", "1,",
                                f"{bits[0]:.1f}", "bits"]  # fmt: skip
    assert "abcd_ x → e  your guess 2; cycle: guess 1" in lines[6]
    assert "abcde_ → f  you gave up; cycle: guess 1" in lines[7]
    assert lines[-1] == "it began at character 4; --start 4 plays it again"


def test_the_card_of_a_game(game):
    code, out, _ = game("d\nx\ne\n?\ngh\n", *ORDERED, "--ascii")
    assert code == 0
    lines = out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["d", "e", "f", "g", "h"],
        ["you", "1", "2", "?", "1", "1"],
        ["cycle", "1", "1", "1", "1", "1"],
    ]
    assert lines[5].split()[-6:] == ["3", "of", "5", "5", "of", "5"]


def test_a_wrong_guess_ends_its_line_and_others_count_once(game):
    _, out, err = game("dxe\nef\nß\ng\ng\n", *ORDERED, "--json")
    guesses = [one["guesses"] for one in json.loads(out)["characters"]]
    assert guesses == [1, 2, 1, 1]  # the game ended before "h", on which "g" was a guess
    assert "(ß never comes) → g" in err


def test_an_empty_line_is_a_line_end_and_a_question_mark_may_be_right(cli, monkeypatch):
    model = make_cycle_model()
    characters = "\n ?bcdefghijklmnopqrstuvwxyz"
    model.tokenizer.settings.update(make_like(characters))
    save_model(Path("cycle.safetensors"), model)
    Path("t.txt").write_text("bc\n?b", newline="\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n?\nb\n")))
    arguments = ("--start", "3", "--characters", "3", "--json")
    code, out, _ = cli("guess", "cycle.safetensors", "t.txt", *arguments)
    assert code == 0
    assert [
        (one["character"], one["guesses"], one["gave_up"]) for one in json.loads(out)["characters"]
    ] == [("\n", 1, False), ("?", 1, False), ("b", 1, False)]


def make_like(characters: str) -> dict:
    from chargen.text.char import CharTokenizer

    return CharTokenizer(characters).to_state().settings


def test_a_game_without_guesses_has_no_card(game):
    for arguments in ((), ("--json",)):
        code, out, err = game("", *ORDERED, *arguments)
        assert (code, out) == (0, "")
        assert "no character was guessed" in err


def test_a_text_cannot_steer_the_terminal(game):
    Path("t.txt").write_text("ab\x1b[2Jc\x1b]0;x\x07defgh", newline="\n")
    code, out, err = game("?\n?\n\x1b\n?\n", "--start", "3", "--characters", "4")
    assert code == 0
    assert "\x1b" not in out + err
    assert "␛[2Jc" in err


def test_a_seed_chooses_the_passage(game):
    starts = [json.loads(game("?\n", "--seed", seed, "--json")[1])["start"] for seed in (1, 1, 2)]
    assert starts[0] == starts[1] != starts[2]
    assert all(101 <= start <= len(TEXT) - 19 for start in starts)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["t.txt"], 3, "chargen"),
        (["cycle.safetensors"], 2, "cycle.safetensors: name the FILE to read"),
        (["cycle.safetensors", "missing.txt"], 3, "missing.txt: no such file"),
        (["nobody", "t.txt"], 3, "nobody: no such model file"),
        (["cycle.safetensors", "short.txt"], 3, "short.txt: has 9 characters; give a text of at "
                                                "least 21"),
        (["cycle.safetensors", "short.txt", "--characters", "9"], 3, "at least 10"),
        (["cycle.safetensors", "empty.txt"], 3, "empty.txt"),
        (["cycle.safetensors", "unseen.txt"], 3, "unseen.txt: the model knows no character"),
        (["cycle.safetensors", "-"], 2, "standard input holds the guesses"),
        (["cycle.safetensors", "t.txt", "x"], 2, "give one MODEL and one FILE"),
        (["cycle.safetensors", "t.txt", "--characters", "0"], 2, "--characters 0: must be from 1"),
        (["cycle.safetensors", "t.txt", "--characters", "1001"], 2, "--characters 1001"),
        (["cycle.safetensors", "t.txt", "--start", "1"], 2, "--start 1: must be from 2 to 156"),
        (["cycle.safetensors", "t.txt", "--start", "157"], 2, "--start 157: must be from 2 to 156"),
        (["cycle.safetensors", "t.txt", "--seed", "-1"], 2, "--seed -1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(game, cli, monkeypatch, arguments, code, message):
    Path("short.txt").write_text("abcdefghi")
    Path("empty.txt").write_text("")
    Path("unseen.txt").write_text("1234567890" * 9)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    if arguments == ["t.txt"]:  # the model is the newest run: here the one in the box
        code, message = 0, "no character was guessed"
    ended, out, err = cli("guess", *arguments)
    assert (ended, out) == (code, "")
    assert message in err
    if code:
        assert err.count("\n") == 1


def test_keys_are_guesses_and_other_keys_are_none(monkeypatch):
    tty = pytest.importorskip("tty")
    monkeypatch.setattr(tty, "setcbreak", lambda *arguments: None)
    reading, writing = os.pipe()
    with os.fdopen(reading) as stream, os.fdopen(writing, "wb", buffering=0) as writer:
        monkeypatch.setattr("sys.stdin", stream)
        keys = KeyAnswers()
        writer.write("a\x1b[1;5Cé\x1bOP\r\x7f\x01\x1bxb\x1b".encode())
        assert [keys.next() for _ in range(4)] == ["a", "é", "\n", "b"]
        writer.write("é".encode()[:1])
        reads = os.read

        def rest_comes(descriptor, size):
            data = reads(descriptor, size)
            writer.write("é".encode()[1:] if data == "é".encode()[:1] else b"")
            return data

        monkeypatch.setattr(os, "read", rest_comes)
        assert keys.next() == "é"
        monkeypatch.setattr(os, "read", reads)
        writer.write(b"\x04x")
        assert keys.next() is None


@pytest.fixture
def seat():
    """A person at a terminal, in the folder of the test."""
    pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals need a POSIX system")
    save_model(Path("cycle.safetensors"), make_cycle_model())
    Path("t.txt").write_text(TEXT + "\x1b[2J")
    child = pexpect.spawn(
        sys.executable, ["-m", "chargen", "guess", "cycle.safetensors", "t.txt", *ORDERED],
        env={**os.environ, "TERM": "xterm-256color"}, encoding="utf-8", timeout=60,
        dimensions=(40, 120),
    )  # fmt: skip
    child.delaybeforesend = None
    yield child
    child.close(force=True)


def test_a_game_at_a_terminal(seat):
    """Single keys, without Enter; what is typed does not echo twice."""
    seat.expect_exact("Type the next character; Enter is a line end.")
    seat.expect_exact("abc_ ")
    seat.send("x")
    seat.expect_exact("x ")
    seat.send("\x1b[A")  # an arrow is no guess
    seat.send("\r")
    seat.expect_exact("⏎ ")
    seat.send("d")
    seat.expect_exact("→ d  your guess 3; cycle: guess 1, 0.")
    seat.expect_exact("abcd_ ")
    seat.send("ef")
    seat.expect_exact("→ f  your guess 1;")
    seat.expect_exact("abcdef_ ")
    seat.send("?")
    seat.expect_exact("→ g  you gave up;")
    seat.expect_exact("abcdefg_ ")
    seat.send("h")
    seat.expect_exact("right at the first guess          3 of 5        5 of 5")
    seat.wait()
    assert seat.exitstatus == 0


@pytest.mark.parametrize("key", ["\x04", "\x03"])
def test_ctrl_d_and_ctrl_c_end_with_the_card_so_far(seat, key):
    seat.expect_exact("abc_ ")
    seat.send("d")
    seat.expect_exact("abcd_ ")
    seat.send(key)
    seat.expect_exact("right at the first guess          1 of 1        1 of 1")
    seat.expect_exact("--start 4 plays it again")
    seat.wait()
    assert seat.exitstatus == 0
