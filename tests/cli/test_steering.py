"""What `chargen sample` may be asked for: options, notes, errors, and the best of several."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chargen.model.checkpoint import ModelFile, save_model
from chargen.text.char import CharTokenizer
from chargen.text.tokenizer import ByteTokenizer
from tests.steering.conftest import LETTERS, stepper_for


@pytest.fixture
def model():
    stepper = stepper_for(CharTokenizer(LETTERS))
    file = ModelFile(
        config=stepper.config,
        tokenizer=CharTokenizer(LETTERS).to_state(),
        weights=dict(stepper.weights),
    )
    save_model(Path("m.safetensors"), file)
    return "m.safetensors"


def sample(cli, model, *arguments):
    return cli("sample", model, "--seed", "3", "-l", "60", *arguments)


def test_forms_and_words_are_kept(cli, model):
    assert re.fullmatch("[a-z]{3}!", sample(cli, model, "--match", "[a-z]{3}!")[1])
    lines = sample(cli, model, "--acrostic", "SEA", "--line-length", "5..9")[1].split("\n")
    assert [line[0] for line in lines] == ["S", "E", "A"]
    assert all(5 <= len(line) <= 9 for line in lines)
    Path("words.txt").write_text("a\ngold\n", encoding="utf-8")
    text = sample(cli, model, "--ban", "words.txt", "--must", "sea, Wind")[1]
    assert not re.search(r"\ba\b|\bgold\b", text, re.IGNORECASE)
    assert {"sea", "wind"} <= set(re.findall(r"\w+", text.lower()))


def test_many_texts_keep_to_what_is_asked_each(cli, model):
    _, out, _ = sample(cli, model, "-n", "3", "--match", "[a-z]{2,6}[.]", "--json")
    for line in out.splitlines():
        row = json.loads(line)
        assert re.fullmatch("[a-z]{2,6}[.]", row["text"])
        assert row["finish"] == "form"


def test_what_did_not_come_is_told(cli, model):
    code, _, err = sample(cli, model, "--must", "sea", "--stop", "e")
    assert code == 0
    assert "sea did not come" in err
    _, _, err = sample(cli, model, "--finish", "paragraph", "--ban", "x")
    assert err == "" or "no end of a paragraph came within twice the length" in err


def test_the_best_of_several_comes_alone_into_a_pipe(cli, model):
    rows = [
        json.loads(line) for line in sample(cli, model, "--best-of", "5", "--json")[1].splitlines()
    ]
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert sorted(row["number"] for row in rows) == [0, 1, 2, 3, 4]
    assert sample(cli, model, "--best-of", "5")[1] == rows[0]["text"]
    plain = [json.loads(line) for line in sample(cli, model, "-n", "5", "--json")[1].splitlines()]
    assert min(row["nats_per_token"] for row in plain) == pytest.approx(rows[0]["nats_per_token"])


def test_a_list_has_nothing_twice_and_says_what_was_thrown_away(cli, model):
    code, out, err = cli(
        "sample", model, "--unique", "-n", "4", "--match", "[ab]{1,2}", "--seed", "1", "-t", "2"
    )
    lines = out.splitlines()
    assert code == 0
    assert len(set(lines)) == len(lines) == 4
    assert "only repeats are thrown away" in err
    assert "thrown away: known lines, repeats or empty" in err
    _, out, err = cli(
        "sample", model, "--unique", "-n", "40", "--match", "[ab]", "--seed", "1", "-t", "2"
    )
    assert sorted(out.split()) == ["a", "b"]
    assert "only 2 of 40 texts are new" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--match", "(?<=a)b"), "looking ahead or behind"),
        (("--match", "(a)\\1"), "back references"),
        (("--match", "["), "not a regular expression"),
        (("--match", "中"), "it never saw '中'"),
        (("--match", "(?:.{900}){900}"), "more than 50,000 states"),
        (("--match", "a{90}"), "needs at least 90 tokens"),
        (("--match", "a", "--lines", "2"), "cannot both be asked for"),
        (("--ban", "Sea", "--must", "sea"), "in ban and in must"),
        (("--match", "the", "--ban", "the"), "every text of the form that is asked for holds"),
        (("--match", "a+ the", "--ban", "A,aa,aaa,the"), "holds a banned word"),
        (("--match", "^$"), "only the empty text matches"),
        (("--bias", "sea:nan"), "bias sea:+nan: must be words with numbers"),
        (("--must", ""), "--must is empty"),
        (("--ban", ","), "words with commas"),
        (("--must", "x" * 70), "need"),
        (("--bias", "sea"), "words and numbers as sea:+2"),
        (("--bias", "sea:x"), "words and numbers as sea:+2"),
        (("--lines", "-1"), "a whole number"),
        (("--line-length", "9..3"), "two numbers of characters"),
        (("--syllables", "5,x"), "as 5,7,5"),
        (("--finish", "verse"), "one of sentence"),
        (("--finish", "document"), "without documents"),
        (("--min-length", "500"), "at most the length"),
        (("--max-copy", "5"), "at least 31"),
        (("--max-copy", "50"), "not on this machine"),
        (("--by", "novelty"), "add --best-of"),
        (("--best-of", "1"), "from 2 to"),
        (("--best-of", "3", "-n", "2"), "leave --count"),
        (("--best-of", "3", "--by", "novelty"), "use --by likelihood"),
        (("--acrostic", "a b"), "letters and nothing else"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_is_written(cli, model, arguments, told):
    code, out, err = sample(cli, model, *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_chinese_models_know_no_syllables(cli):
    tokenizer = CharTokenizer("\n地天")
    stepper = stepper_for(tokenizer)
    file = ModelFile(
        config=stepper.config, tokenizer=tokenizer.to_state(), weights=dict(stepper.weights)
    )
    save_model(Path("zh.safetensors"), file)
    code, _, err = cli("sample", "zh.safetensors", "--syllables", "5,7,5")
    assert code == 2
    assert "only English is known" in err


def test_byte_models_write_characters_into_a_file(cli):
    stepper = stepper_for(ByteTokenizer())
    file = ModelFile(
        config=stepper.config, tokenizer=ByteTokenizer().to_state(), weights=dict(stepper.weights)
    )
    save_model(Path("b.safetensors"), file)
    _, out, _ = cli("sample", "b.safetensors", "-l", "37", "-t", "3", "--json", "--seed", "2")
    row = json.loads(out)
    assert "\ufffd" not in row["text"]
