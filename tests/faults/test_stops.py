"""Settings of writing: top-k above the vocabulary, stop texts with escapes, impossible stops."""

from __future__ import annotations

import pytest

from chargen.api import Model
from chargen.cli.main import run
from chargen.inference.filters import SampleConfig, parse_stop, show_stop
from chargen.inference.writer import encode_stops, impossible_stops
from chargen.repl.settings import TABLE, Settings, set_value
from chargen.text.char import CharTokenizer
from chargen.text.tokenizer import ByteTokenizer
from tests.conftest import make_model
from tests.repl.conftest import talk  # noqa: F401 - a fixture


def text_of(model: Model, **settings) -> str:
    return "".join(step.text for step in model.generate("a", length=20, seed=1, **settings))


def test_top_k_above_the_vocabulary_is_all_of_it():
    model = Model(make_model())
    everything = text_of(model, top_k=0)
    for top_k in (model.config.vocab_size, 11, 10**6, 10**400):
        assert text_of(model, top_k=top_k) == everything
    rows = [
        "".join(step.text for number, step in model.generate_batch("a", 2, length=9, seed=1, **k))
        for k in ({}, {"top_k": 10**6})
    ]
    assert rows[0] == rows[1]


def test_top_k_above_the_vocabulary_in_sample_and_in_the_repl(model_path, capfd, talk):  # noqa: F811
    assert run(["sample", str(model_path), "--top-k", "1000000", "-l", "5", "--seed", "1"]) == 0
    assert len(capfd.readouterr().out) == 5
    talk("/set top-k 1000000")
    assert talk("abc") == "abcdefghijklm"


@pytest.mark.parametrize("name", ["length", "top-k"])
def test_a_large_whole_number_reads_back_as_it_was_written(name):
    settings = Settings()
    for value in ("1000000", "12345678", str(10**400)):
        set_value(settings, name, value)
        assert TABLE[name].read(settings) == value


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (r"\n", "\n"),
        (r"\n\n", "\n\n"),
        (r"\t", "\t"),
        (r"\r\n", "\r\n"),
        (r"\\n", "\\n"),
        (r"\d", r"\d"),
        ("a\\", "a\\"),
        ("\n", "\n"),
        (r"a\|b", "a|b"),
    ],
)
def test_escapes_of_stop_texts(typed, text):
    assert parse_stop(typed) == text
    assert parse_stop(show_stop(text)) == text


def test_sample_reads_escapes_as_the_repl_does(model_path, capfd, talk):  # noqa: F811
    options = ["sample", str(model_path), "--no-echo", "-p", "a", "-l", "200", "--seed", "1"]
    texts = []
    for stop in ([], ["--stop", r"\n"], ["--stop", "\n"]):
        assert run([*options, *stop]) == 0
        texts.append(capfd.readouterr().out)
    assert "\n" in texts[0]
    assert texts[1] == texts[2] == texts[0].partition("\n")[0]
    for stops in (r"a\|b|c", r"\\n", "x\\", r"a|\t"):
        talk(f"/set stop {stops}")
        assert talk("/set stop").startswith(f"stop {show_stop_list(talk)}:")
        before = talk.session.settings.sample.stop
        talk(f"/set stop {show_stop_list(talk)}")
        assert talk.session.settings.sample.stop == before
    talk(r"/set stop a\|b|c")
    assert talk.session.settings.sample.stop == ("a|b", "c")


def show_stop_list(talk) -> str:  # noqa: F811
    return str(TABLE["stop"].read(talk.session.settings))


def test_one_stop_text_may_be_given_as_it_is():
    assert SampleConfig(stop="ab").stop == ("ab",)
    assert SampleConfig(stop=["a", "b"]).stop == ("a", "b")


def test_a_stop_of_raw_bytes_stays_these_bytes():
    assert encode_stops(SampleConfig(stop=("\udcff?",))) == [b"\xff?"]


def test_a_stop_that_cannot_come_is_told(model_path, capfd, talk):  # noqa: F811
    tokenizer = CharTokenizer("\n ab")
    lines = list(impossible_stops(("aéz", "ab", "\t"), tokenizer))
    assert lines == [
        "stop 'aéz' cannot come: the model never saw 'é', 'z'",
        "stop '\\t' cannot come: the model never saw '\\t'",
    ]
    assert list(impossible_stops(("é",), ByteTokenizer())) == []
    arguments = ["sample", str(model_path), "-l", "5", "--seed", "1"]
    assert run([*arguments, "--stop", "END", "--stop", "abcabc"]) == 0
    out, err = capfd.readouterr()
    assert len(out) == 5
    assert err == "stop 'END' cannot come: the model never saw 'E', 'N', 'D'\n"
    told = talk("/set stop É|abc")
    assert "stop 'É' cannot come: the model never saw 'É'" in told
    assert talk("/set stop bcd") == "stop bcd"
