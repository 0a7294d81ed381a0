"""Every command: what it says, what it changes, what it refuses. Without a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import chargen
from chargen.api import Model
from chargen.model.checkpoint import save_model
from chargen.model.unit_names import NamedUnit, Unit, names_path, save_names
from chargen.own_corpus import training_text
from chargen.repl.commands.table import COMMANDS
from chargen.repl.settings import (
    TABLE,
    Settings,
    change_speed,
    change_temperature,
    set_value,
)
from chargen.steering.config import ASKED
from tests.conftest import CYCLE, make_model
from tests.repl.conftest import Talk


def test_a_text_is_read_and_written_on(talk):
    assert talk("abc") == "abcdefghijklm"
    assert talk("") == "abcdefghijklmnopqrstuvw", "an empty line writes on, after the line so far"
    assert talk("/text") == "abcdefghijklmnopqrstuvw"
    assert talk("/text 3") == "uvw"


def test_blanks_are_read_as_typed(talk):
    talk("  a ")
    assert talk.session.text().startswith("  a a")


def test_lines_between_quotes_and_literal_slashes(talk):
    assert talk("/text", quoted=True).endswith("\n textuvwxyz\n ab"), "no command"
    assert talk("//b").endswith(" bcdefghijkl")


def test_unseen_characters_are_named_and_replaced(talk):
    assert talk("É").startswith("1 of 1 characters unseen: É → e\nefgh")
    talk("/set unknown error")
    before = talk.session.text()
    assert talk("É") == (
        "1 character has no token: 'É' (U+00C9); use /set unknown nearest, or use /set unknown skip"
    )
    assert talk.session.text() == before, "nothing is changed"


def test_undo_and_goto(talk):
    talk("abc")
    assert talk("/undo") == "[main, 3 tokens] abc", "the continuation, first"
    assert talk("/undo 2") == "[main, 1 token] a"
    assert talk("/undo 1") == "[main, 0 tokens]"
    assert talk("/undo") == "undo: the text is empty; /branches lists the texts that you left"
    assert talk("/goto main.1") == "[main.1, 13 tokens] abcdefghijklm"
    assert talk("/goto 4") == "[main.1, 4 tokens] abcd"
    assert talk("/goto 40") == ("goto 40: the text has only 4 tokens; give a number up to that")
    assert talk("/goto nain") == "unknown branch 'nain': did you mean 'main'? (there are: " + (
        ", ".join(sorted(talk.session.tree.branches)) + ")"
    )
    assert "name a branch" in talk("/goto")


def test_branches_are_drawn_as_a_tree(talk):
    talk("abc")
    talk("/undo")
    assert talk("/fork x") == (
        "branch x starts at 3 tokens; /goto main goes back, /branches lists all"
    )
    talk("zz")
    talk("/goto main")
    talk("q")
    assert talk("/branches") == "\n".join(
        [
            "branch       tokens  ends with",
            "* main       0-14    …abcqrstuvwxyz⏎",
            "  └─ main.1  3-13    …abcdefghijklm",
            "  └─ x       3-15    …abczz⏎ abcdefgh",
        ]
    )
    assert talk("/diff main x") == "\n".join(
        [
            "both begin with the same 3 tokens: …abc",
            "main                                     x",
            "qrstuvwxyz                               zz",
            "                                          abcdefgh",
        ]
    )
    assert talk("/diff x").split("\n")[1].split() == ["main", "x"]
    assert "name two branches" in talk("/diff")
    assert "unknown branch 'y'" in talk("/diff main y")
    assert talk("/fork x") == "branch 'x': there is one already; /goto x goes there"


def test_clear_begins_anew_and_keeps_the_old(talk):
    talk("abc")
    assert talk("/clear") == "a new text begins; /branches lists the old one"
    assert talk.session.text() == ""
    assert talk("") == " abcdefghi"
    assert talk("/goto main.1").endswith("abcdefghijklm")


def test_regen_writes_another_from_the_same_place():
    talk = Talk(Model(make_model()))
    talk("/set length 30")
    first = talk("abc")
    second = talk("/regen")
    assert first.startswith("abc")
    assert second.startswith("abc")
    assert first != second
    assert talk.session.position == 33
    talk("/goto 3")
    assert talk("/regen") == ("regen: no continuation stands here; press Enter to write one")


def test_goto_and_the_same_seed_write_the_same_text():
    talk = Talk(Model(make_model("lstm", 2)))
    talk("/set length 80")
    talk("abc")
    texts = []
    for _ in range(3):
        talk("/goto 3")
        assert talk("/seed 7") == "seed 7"
        talk("")
        texts.append(talk("/text"))
    assert texts[0] == texts[1] == texts[2]
    talk("/goto 3")
    talk("")
    assert talk("/text") != texts[0], "the next draws of the seed are others"
    assert talk("/seed x") == "seed x: must be a whole number, at least 0"


def test_the_first_text_of_a_seed_is_that_of_sample():
    model = Model(make_model("gru", 1))
    talk = Talk(model, seed=42)
    talk("/set length 50")
    steps = model.generate("abc", length=50, temperature=0.8, seed=42)
    assert talk("/seed") == "seed 42"
    talk("abc")
    assert talk.session.text() == "abc" + "".join(step.text for step in steps)


def test_choose_and_words(talk):
    talk("/set temperature 0.8")
    talk("/set length 1")
    talk.session.append("ab")
    lines = talk("/choose").split("\n")
    assert lines[0].split() == ["next", "token"]
    assert lines[1].split()[::2] == ["1", "c"]
    assert lines[2].split()[::2] == ["2", "d"]
    assert lines[-1] == "/choose N writes token N"
    assert talk("/choose 2") == "abd"
    assert talk("/choose 0") == "choose 0: must be a whole number from 1 to 28"
    talk.session.append("\n xy")
    assert talk("/words 1").split("\n")[1].split()[1] == "z"
    assert talk.session.text() == "abd\n xy"


def test_settings_are_checked_and_listed(talk):
    assert talk("/set temperature 0.7") == "temperature 0.7"
    assert talk("/set top_p 0.9") == "top-p 0.9"
    assert talk.session.settings.sample.top_p == 0.9
    assert talk("/set length") == (
        "length 10: Tokens to write: characters, bytes or pieces (at least 1)"
    )
    listed = talk("/set")
    assert all(name in listed for name in TABLE)
    assert talk("/set colour red").startswith("unknown setting 'colour': there are: acrostic")
    shown = talk("/show")
    assert "cycle: LSTM, 28 units" in shown
    assert "temperature         0.7" in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("temperature -1", "temperature -1.0: must be at least 0 and at most 100"),
        ("temperature warm", "temperature warm: must be a number, at least 0 and at most 100"),
        ("length 0", "length 0: must be at least 1"),
        ("length 2.5", "length 2.5: must be a whole number, at least 1"),
        ("top-p 2", "top-p 2.0: must be above 0 and at most 1"),
        ("speed 0", "speed 0: must be from 1 to 100,000, or max"),
        ("speed nan", "speed nan: must be from 1 to 100,000, or max"),
        ("max-copy 3", "max-copy 3: must be at least 16, or off"),
        ("copies maybe", "copies maybe: must be on or off"),
        ("background pink", "background pink: must be one of auto, dark, light"),
        ("unknown guess", "unknown guess: must be one of nearest, skip, error"),
    ],
)
def test_settings_out_of_range_change_nothing(talk, line, message):
    before = {name: row.read(talk.session.settings) for name, row in TABLE.items()}
    assert talk(f"/set {line}") == message
    assert {name: row.read(talk.session.settings) for name, row in TABLE.items()} == before


def test_every_setting_reads_back_what_was_written():
    values = {"stop": "a|\\n", "speed": "max", "max-copy": "40", "copies": "off",
              "whitespace": "on", "background": "light", "unknown": "skip", "length": "7",
              "memory": "session",
              "temperature": "0.5", "top-k": "3", "top-p": "0.5", "min-p": "0.25",
              "typical-p": "0.9", "ghost": "off", "eta": "0.01",
              "repetition-penalty": "1.5",
              "match": "[a-z]+\\n", "acrostic": "LOVE", "lines": "4", "line-length": "40..60",
              "syllables": "5,7,5,7", "rhyme": "AABB", "ban": "sea,gold", "bias": "sun:+2,rain:-1",
              "must": "moon", "finish": "sentence", "min-length": "5", "max-loop": "3",
              "raw-bytes": "on"}  # fmt: skip
    assert set(values) == set(TABLE)
    settings = Settings()
    for name, value in values.items():
        if name in ASKED:  # a pattern and a form of lines exclude each other
            set_value(settings, "match", "off")
        set_value(settings, name, value)
        assert str(TABLE[name].read(settings)) == value
        if name == "match":
            set_value(settings, name, "off")
            assert TABLE[name].read(settings) == "off"
    assert settings.sample.stop == ("a", "\n")
    set_value(settings, "stop", "off")
    assert settings.sample.stop == ()


def test_keys_change_speed_and_temperature_within_their_ranges():
    settings = Settings()
    for _ in range(99):
        change_speed(settings, 1.5)
        change_temperature(settings, -0.1)
    assert settings.speed == 100_000
    assert settings.sample.temperature == 0
    for _ in range(99):
        change_speed(settings, 1 / 1.5)
    assert settings.speed == 1


def test_stop_texts_and_the_end_of_the_text(talk):
    talk("/set stop fg|\\n")
    assert talk("abc") == "abcde"


def test_views_of_the_text(talk):
    talk("/set length 3")
    talk("ab")
    heat = talk("/heat").split("\n")
    assert heat[-2] == "   abcde"
    assert (
        heat[-1] == "-1.0    ░░░▒▒▒▒▓▓▓███ +1.0  activation: hidden state, layer 1, 15 of 28 units"
    )
    assert len(heat) == 17
    assert talk("/unit L1:4").split("\n") == [
        "abcde", "▒▒█▒▒",
        "-1.0    ░░░▒▒▒▒▓▓▓███ +1.0  activation: unit L1:4",
    ]  # fmt: skip
    assert talk("/gates").split("\n")[3].startswith("L1 input: 100% open on average")
    predict = talk("/predict").split("\n")
    assert predict[:2] == ["  abcde", "1 bcdef"]
    surprise = talk("/surprise").split("\n")
    assert surprise[0] == "abcde"
    assert "bits a token on average" in surprise[-1]
    why = talk("/why")
    assert "'e' had a probability of" in why
    assert talk("/why 3").split("\n")[0] == "abc"
    assert talk("/heat forget").endswith("0    ░░░▒▒▒▒▓▓▓███ 1  activation: forget gate, layer 1, "
                                         "15 of 28 units")  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/heat reset", "view 'reset': LSTM has no such thing"),
        ("/heat L3", "heat L3: the model has one layer"),
        ("/heat gates", "heat gates: this view is not a map of units; /gates shows it"),
        ("/heat sideways", "unknown view 'sideways'"),
        ("/unit L9:1", "unit 'L9:1': the model has one layer"),
        ("/watch 4", "unit '4': write it as L1:41"),
        (
            "/pin L1:2=much",
            "pin L1:2=much: the value must be a number from -1,000,000 to 1,000,000, or off",
        ),
        ("/pin L1:2=1e99", "the value must be a number"),
        ("/ablate", "ablate: name a unit"),
        ("/why 99", "why 99: must be a whole number from 1 to 5"),
        ("/undo x", "undo x: must be a whole number"),
        ("/load", "load: name a model"),
        ("/load nothing", "nothing: no such model file"),
        ("/load nothing.json", "nothing.json: cannot be read"),
        ("/load englsih", "englsih: no such model file"),
        ("/export", "export: name a file"),
        ("/export a.gif", "export a.gif: the file's name must end with one of .txt, .md"),
        ("/export a.svg nonsense", "unknown view 'nonsense'"),
        ("/save", "save: name a file"),
        ("/save no/where.json", "cannot be written"),
        ("/copy", "copy: needs a terminal"),
        ("/source", "the training text is not on this machine"),
        ("/tekst", "unknown command /tekst: did you mean /text? /help lists all"),
        (
            "/s",
            "command /s: could be /set, /show, /seed, /step, /surprise, /source, /save, "
            "/sessions; type",
        ),
        ("/", "unknown command /"),
        ("/diff a b c", "name two branches"),
        ("/fork", "a name is one word"),
    ],
)
def test_what_cannot_be_done_is_one_line(talk, line, message):
    talk("/set length 3")
    talk("ab")
    before = talk.session.text()
    lines = talk(line).split("\n")
    assert any(message in shown for shown in lines), lines
    assert len(lines) <= 2
    assert talk.session.text() == before


@pytest.mark.parametrize(
    "line", ["/heat", "/unit", "/gates", "/predict", "/surprise", "/why", "/export a.svg"]
)
def test_views_of_an_empty_text_are_refused(talk, line):
    assert "write something first" in talk(line)


def test_the_beginning_of_a_command_is_enough(talk):
    talk("ab")
    assert talk("/und") == "[main, 2 tokens] ab"


def test_help_lists_every_command(talk):
    answer = talk("/help")
    assert all(f"/{name}" in answer for name in COMMANDS)
    assert talk("/help pin").split("\n")[:2] == [
        "/pin [L1:41=0.9 ...|off]",
        "clamp units to a value",
    ]
    assert talk("/help /heat").startswith("/heat [on|off]")
    assert talk("/history").split("\n")[-1].endswith("/history")


def test_pins_clamp_units_and_release_them(talk):
    talk("ab")
    assert talk("/pin L1:4=0.9 L1:5.cell=-1") == "clamped: L1:4 = 0.9, L1:5.cell = -1"
    talk("")
    nodes = talk.session.tree.path(talk.session.tree.tip, 5)
    states = np.array([talk.session.tree.state(node)[0] for node in nodes])
    assert np.all(states[:, 0, 4] == np.float32(0.9))
    assert np.all(states[:, 1, 5] == -1)
    assert talk("/ablate L1:6") == "clamped: L1:4 = 0.9, L1:5.cell = -1, L1:6 = 0"
    assert talk("/pin L1:4=off") == "clamped: L1:5.cell = -1, L1:6 = 0"
    assert talk("/pin off") == "no unit is clamped"
    assert talk("/pin L1:7") == f"clamped: L1:7 = {states[-1, 0, 7]:g}"


def test_watching_plots_a_unit(talk):
    assert talk("/watch") == "no unit is watched; /watch L1:41 watches one"
    talk("/set length 3")
    talk("ab")
    assert talk("/watch L1:4").split() == ["L1:4", "▅▅█▅▅", "+0.00"]
    assert talk("/watch off") == "no unit is watched; /watch L1:41 watches one"


def test_a_session_is_saved_and_brought_back(talk):
    talk("abc")
    talk("/pin L1:3=0.5")
    talk("")
    talk("/fork other")
    talk("/undo 4")
    talk("/set top-k 3")
    text, seed = talk.session.text(), talk.session.seed
    tree = talk.session.tree
    states = [tree.state(node) for node in tree.path(tree.tip)]
    assert talk("/save s") == "saved to s.json; /load s.json brings it back"
    talk("/clear")
    talk("/pin off")
    talk("/set top-k 0")
    lines = talk("/load s.json").split("\n")
    assert lines[0] == "the text from before is kept; /sessions lists it"
    assert "loaded 2 branches; writing with cycle" in lines
    assert talk.session.text() == text
    assert talk.session.seed == seed
    assert talk.session.settings.sample.top_k == 3
    assert [unit.index for unit in talk.session.pinned] == [3]
    tree = talk.session.tree
    assert tree.branch == "other"
    for node, state in zip(tree.path(tree.tip), states, strict=True):
        np.testing.assert_array_equal(tree.state(node), state)
    following = talk("")
    talk("/load s.json")
    assert talk("") == following


def damaged_sessions() -> list:
    sound = {
        "kind": "chargen session", "format": 1, "model": None, "weights": "", "settings": {},
        "seed": 1, "drawn": 0, "branch": "main", "branches": {"main": 1}, "held": [[]],
        "pinned": [], "nodes": [[0, 2, -0.5, 0, 0]], "starts": [[0, True]], "watched": [[0, 1, 0]],
        "heat": ["hidden", 0, "similar", False],
    }  # fmt: skip
    changes = [
        {"kind": "x"}, {"format": 2}, {"weights": "other", "model": "gone.safetensors"},
        {"settings": {"speed": "-1"}}, {"settings": {"x": "1"}}, {"settings": 3}, {"seed": -1},
        {"seed": "1"}, {"branch": "x"}, {"branches": {"main": 9}}, {"branches": []},
        {"nodes": [[5, 2, -0.5, 0, 0]]}, {"nodes": [[0, 99, -0.5, 0, 0]]}, {"nodes": [[0, 2]]},
        {"nodes": [[0, 2, -0.5, 4, 0]]}, {"nodes": [[0, 2, "x", 0, 0]]}, {"nodes": 7},
        {"held": [[[0, [9], [0], [1.0]]]]}, {"held": [[[0, [0], [0, 1], [1.0]]]]},
        {"pinned": [[0, 99, 0, 1.0]]}, {"pinned": [[0, 1, 0, "x"]]},
        {"nodes": [[True, 2, 0, 0, 0]]}, {"branches": {"main": 1, "12": 0}}, {"weights": None},
        {"branches": {"main": 1, "a\x1b[2J": 0}}, {"branches": {"main": 1, "": 0}},
        {"pinned": [[0, 1, 0, 1e200]]}, {"starts": [[9, True]]}, {"starts": 4}, {"watched": [[0]]},
        {"watched": [[3, 1, 0]]}, {"heat": ["gates", 0, "similar", False]}, {"heat": []},
        {"heat": ["hidden", 7, "similar", False]}, {"heat": ["hidden", 0, "size", False]},
    ]  # fmt: skip
    return [{**sound, **change} for change in changes] + [[], 3, None, "x", {}]


def test_the_undamaged_session_is_loaded(talk):
    talk("abc")
    talk("/save good.json")
    good = json.loads(Path("good.json").read_text())
    value = {**damaged_sessions()[0], "kind": good["kind"], "weights": good["weights"]}
    Path("bare.json").write_text(json.dumps(value))
    assert "loaded 1 branch; writing with cycle" in talk("/load bare.json")
    assert talk.session.text() == "a"


@pytest.mark.parametrize("value", damaged_sessions(), ids=lambda value: json.dumps(value)[-60:])
def test_a_damaged_session_is_refused_in_one_line(talk, value):
    talk("abc")
    talk("/save good.json")
    good = json.loads(Path("good.json").read_text())
    if isinstance(value, dict) and value.get("weights") == "":
        value = {**value, "weights": good["weights"]}
    Path("bad.json").write_text(json.dumps(value))
    text, settings = talk.session.text(), vars(talk.session.settings).copy()
    answer = talk("/load bad.json")
    assert answer.startswith("bad.json: ")
    assert "\n" not in answer
    assert talk.session.text() == text
    assert vars(talk.session.settings) == settings


def test_a_session_of_another_model_brings_that_model(talk):
    talk("abc")
    talk("/save a.json")
    other = make_model(seed=4)
    save_model(Path("other.safetensors"), other)
    answer = talk("/load other.safetensors").split("\n")
    assert answer[0] == "writing with other, which has read the text"
    assert talk.session.model.path == Path("other.safetensors")
    talk("/load a.json")
    assert talk.session.name == "cycle"
    Path("cycle.safetensors").unlink()
    talk("/load other.safetensors")
    assert "which is not here" in talk("/load a.json")
    assert talk.session.name == "other"


def test_two_models_write_from_the_same_draws(talk):
    save_model(Path("other.safetensors"), make_model())
    assert talk("/ab") == (
        "ab: name the other model; this model has no base (it is not fine-tuned)"
    )
    talk("ab")
    answer = talk("/ab cycle.safetensors").split("\n")
    assert answer[0] == "both begin with: mnopqrstuv"
    assert answer[1] == "the first 10 of 10 characters agree; then:"
    told, *answer = talk("/ab other.safetensors").split("\n")
    assert told.startswith("other: 4 of 12 characters unseen: i → a")
    assert answer[0] == "the texts differ from the first character on:"
    assert answer[1].split() == ["cycle", "other"]
    assert answer[2].startswith("mnopqrstuv")
    talk.session.opened["other"] = Path("other.safetensors")
    talk.session.model.card["base"] = {"name": "other"}
    assert talk("/ab").split("\n")[:2] == [told, answer[0]]
    assert talk.session.position == 12


def test_what_is_accepted_is_learned_and_forgotten_again():
    talk = Talk(Model(make_model()))
    talk("/set length 40")
    assert talk("/learn on") == (
        "learning is on: the model learns a text once you continue it; 0 tokens learned"
    )
    file = {name: tensor.copy() for name, tensor in talk.session.model.file.weights.items()}
    talk("abcabcabc")
    assert talk("/learn").endswith("0 tokens learned"), "nothing was gone on from yet"
    before = talk.session.model.stepper
    talk("/regen")
    assert talk.session.model.stepper is before, "what is taken back is not learned"
    talk("")
    assert talk("/learn").endswith("49 tokens learned")
    assert talk.session.model.stepper is not before
    talk("/learn off")
    talk("")
    assert talk("/learn") == "learning is off; 49 tokens learned"
    assert talk("/learn forget") == "learning is off; 0 tokens learned"
    for name, tensor in file.items():
        np.testing.assert_array_equal(tensor, talk.session.model.file.weights[name])
    learned = talk.session.model.stepper
    np.testing.assert_array_equal(learned._head, before._head)
    assert talk("/learn maybe") == "learn maybe: must be on, off or forget"


def test_learning_makes_what_was_accepted_likelier():
    talk = Talk(Model(make_model()))
    talk("/set length 1")
    talk("/learn on")
    text = "abcdabcd" * 40
    score = talk.session.model.score(text).nats_per_token
    talk(text)
    talk("")
    assert talk.session.model.score(text).nats_per_token < 0.8 * score


def test_exports(talk):
    talk("abc")
    assert talk("/export a.txt") == "written to a.txt"
    assert Path("a.txt").read_text() == "abcdefghijklm"
    for name in ("a.svg", "a.html unit", "b.svg L1:4", "c.svg surprise", "d.svg gates"):
        assert talk(f"/export {name}").startswith("written to")
    assert "unit L1:4" in Path("b.svg").read_text()


def test_no_other_file_is_written_over_by_a_session(talk):
    Path("run.json").write_text('{"status": "done"}')
    talk("abc")
    assert "chargen did not write what it holds" in talk("/save run.json")
    assert Path("run.json").read_text() == '{"status": "done"}'
    talk("/save mine")
    assert talk("/save mine").startswith("saved to mine.json"), "a session may be saved again"
    assert "2 branches" not in talk("/load mine"), "the ending need not be typed"


def test_another_model_reads_every_branch(talk):
    talk("abc")
    talk("/undo")
    talk("/fork x")
    talk("zz")
    texts = {name: talk.session.text(node=end)
             for name, end in talk.session.tree.branches.items()}  # fmt: skip
    save_model(Path("other.safetensors"), make_model(characters=CYCLE, seed=3))
    assert talk("/load other.safetensors") == (
        f"writing with other, which has read all {len(texts)} branches"
    )
    tree = talk.session.tree
    assert tree.branch == "x"
    assert {name: talk.session.text(node=end) for name, end in tree.branches.items()} == texts
    assert tree.position(tree.common(tree.branches["main.1"], tree.branches["x"])) == 3
    fresh = Talk(Model(make_model(characters=CYCLE, seed=3)))
    fresh.session.append(texts["x"])
    np.testing.assert_array_equal(
        tree.state(tree.tip), fresh.session.tree.state(fresh.session.tree.tip)
    )


def test_undo_takes_back_written_and_typed_texts_in_turn(talk):
    talk("abc")
    talk("")
    positions = []
    for _ in range(4):
        talk("/undo")
        positions.append(talk.session.position)
    assert positions == [13, 3, 0, 0]


def test_saved_and_loaded_the_last_continuation_can_be_written_anew(talk):
    talk("abc")
    talk("/save q")
    talk("/load q")
    assert talk("/regen") == "abcdefghijklm"
    talk("/undo")
    assert talk.session.position == 3


def test_several_lines_that_begin_with_a_slash_are_text(talk):
    assert "unseen" in talk("/undo\nabc")
    assert talk.session.text().startswith(" undo\nabc")


def test_models_lists_the_runs(talk):
    folder = Path("checkpoints/one")
    folder.mkdir(parents=True)
    save_model(folder / "model.safetensors", make_model())
    record = {"validation": {"bits_per_byte": 1.5}, "model": {"cell": "gru", "num_layers": 2,
                                                              "hidden_size": 9}}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    assert talk("/models").split("\n")[1].split() == ["one", "gru", "2x9", "1.500", "bits/byte"]
    assert talk("/load one") == "writing with one"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, prose) -> tuple[Path, str]:
    """A run with its training text in the cache, and that text."""
    import os

    folder = tmp_path_factory.mktemp("trained")
    corpus = folder / "prose.txt"
    corpus.write_text(prose[:9000], encoding="utf-8")
    before = os.environ.get("CHARGEN_CACHE")
    os.environ["CHARGEN_CACHE"] = str(folder / "cache")
    try:
        list(chargen.train(corpus, out=folder / "run", steps=3, hidden_size=8, threads=1))
    finally:
        if before is not None:
            os.environ["CHARGEN_CACHE"] = before
    return folder, prose[:8100]


def test_the_source_of_a_copy_is_named(trained, monkeypatch):
    folder, text = trained
    monkeypatch.setenv("CHARGEN_CACHE", str(folder / "cache"))
    talk = Talk(chargen.load(folder / "run"))
    talk("/set length 1")
    copied = text[2000:2100]
    talk.session.append(f"###{copied}###")
    answer = talk("/source").split("\n")
    line = 1 + text[:2000].count("\n")
    assert answer[0] == f"copied: 100 characters of prose.txt:{line}:"
    assert copied in "\n".join(answer[1:])
    assert list((folder / "cache").rglob("blocks-*.npy"))
    talk("/clear")
    talk.session.append("quite something else")
    assert talk("/source") == ("this text contains no copy of more than 30 characters")
    talk("/set copies off")
    assert talk("/source") == ("source: the search for copies is off; /set copies on starts it")


def test_a_corpus_that_left_the_cache_is_read_again_and_a_changed_one_is_not(trained, monkeypatch):
    folder, text = trained
    model = chargen.load(folder / "run")
    monkeypatch.setenv("CHARGEN_CACHE", str(folder / "another"))
    store = training_text(model)
    assert model.tokenizer.decode(store.tokens.tolist()) == text
    corpus = folder / "prose.txt"
    original = corpus.read_text(encoding="utf-8")
    monkeypatch.setenv("CHARGEN_CACHE", str(folder / "third"))
    corpus.write_text("!" + original, encoding="utf-8")
    try:
        assert training_text(model) is None
    finally:
        corpus.write_text(original, encoding="utf-8")


def test_a_model_that_travelled_finds_its_text_in_the_cache(trained, monkeypatch, tmp_path):
    folder, text = trained
    monkeypatch.setenv("CHARGEN_CACHE", str(folder / "cache"))
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes((folder / "run" / "model.safetensors").read_bytes())
    model = chargen.load(moved)
    assert model.tokenizer.decode(training_text(model).tokens.tolist()) == text
    model.card["corpus"] = "nonsense"
    assert training_text(model) is None


def test_quit_leaves(talk):
    with pytest.raises(EOFError):
        talk("/quit")


def test_units_have_names(talk):
    model = talk.session.model
    model.path = Path("m.safetensors")
    named = {
        "vowel": NamedUnit(unit=Unit(0, 4), says="AUC 0.97", score=0.97),
        "also": NamedUnit(unit=Unit(0, 4), says="AUC 0.9", score=0.9),
    }
    save_names(names_path(model.path), model.file.weights, model.config, named)
    talk("/set length 3")
    talk("ab")
    assert "vowel  L1:4" in talk("/units")
    assert talk("/unit vowel") == talk("/unit L1:4")
    assert "unit vowel L1:4" in talk("/unit vowel")
    assert "clamped: vowel L1:4 = 1" in talk("/pin vowel=1")
    assert "vowel L1:4 = 1" in talk("/show")
    talk("/pin off")
    assert talk("/watch vowel").startswith("vowel L1:4 ")
    assert "did you mean 'vowel'" in talk("/unit vowle")


def test_names_of_other_weights_hinder_nobody(talk):
    model = talk.session.model
    model.path = Path("m.safetensors")
    Path("m.units.json").write_text("{}")
    talk("/set length 3")
    talk("ab")
    assert "m.units.json: does not name units; move it away" in talk("/unit vowel")
    assert "unit L1:4" in talk("/unit L1:4")
    assert "clamped: L1:4 = 1" in talk("/pin L1:4=1")


def test_why_asks_gradients_too(talk):
    talk("/set length 3")
    talk("ab")
    for way in ("input", "gradient", "omission"):
        answer = talk(f"/why 3 {way}")
        assert "'c' had a probability of" in answer
        assert "likeliest there: 'c'" in answer


def test_a_step_is_printed_without_a_terminal(talk):
    talk("/set length 3")
    talk("ab")
    answer = talk("/step 2").split("\n")
    assert answer[0] == "step 2 of 5"
    assert answer[1] == "a[b]cde"
    assert answer[4].startswith("forget gate  f = σ(Wf·x + Uf·h + bf)")
    assert "must be a whole number from 1 to 5" in talk("/step 6")


def test_the_nearest_passages_of_the_training_text(talk, monkeypatch):
    from chargen.text.store import TokenStore

    text = talk.session.model.encode("abcdefg\n" * 200).astype(np.uint8)
    store = TokenStore(tokens=text, path=Path("store"))
    monkeypatch.setattr("chargen.repl.session.training_text", lambda model: store)
    talk("/set length 3")
    talk("ab")
    assert re.search(r"training text, line \d+ \(cosine 1\.00\): .*ab\|cdefg", talk("/why 3"))
