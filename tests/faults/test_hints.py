"""Each way out that a message names is one: whoever follows it does not meet that message again."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import zipfile
from pathlib import Path

import click
import pytest

import chargen
from chargen import hints
from chargen.cli.main import COMMANDS
from chargen.errors import ChargenError, CorpusError, unknown_name
from chargen.hints import any_of, limited, option, read_by, spelled, ways
from chargen.model.checkpoint import save_model
from chargen.repl.settings import TABLE
from chargen.text.encoding_guess import binary_kind, guess_encoding
from chargen.text.subword import SubwordBuilder
from tests.cli.conftest import cli  # noqa: F401  a fixture
from tests.conftest import make_model

SIZE = ["--steps", "1", "--hidden-size", "8", "--layers", "1", "--batch-size", "2",
        "--bptt", "8", "--threads", "1", "--run", "r"]  # fmt: skip
TEXTS = {
    "cp1252": "Aujourd'hui il fait très beau, et les élèves étaient à l’école. Ça coûte 5 €.\n",
    "gb18030": "今天天气很好，我和朋友一起去公园散步。孩子们在草地上玩。晚上我写了一封信给妈妈。\n",
    "shift_jis": "今日は天気がとても良いので、友達と公園へ散歩に行きました。手紙を書きました。\n",
    "euc_kr": "오늘은 날씨가 아주 좋아서 친구와 함께 공원에 산책하러 갔습니다.\n",
    "cp1251": "Сегодня хорошая погода, и мы с другом пошли гулять в парк. Дети играли на траве.\n",
    "koi8-r": "Сегодня хорошая погода, и мы с другом пошли гулять в парк. Дети играли на траве.\n",
    "cp1250": "Dzisiaj jest ładna pogoda, więc poszliśmy na spacer. Źdźbło żółte.\n",
    "utf-16-le": "Heute ist das Wetter schön, und wir gingen im Park spazieren.\n",
    "utf-16-be": "今天天气很好，我和朋友一起去公园散步。\n",
}
OTHERS = {
    "a database": b"SQLite format 3\0",
    "a recording": b"OggS\0\2",
    "an image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_the_encoding_that_is_advised_reads_the_text(cli, encoding):  # noqa: F811
    text = TEXTS[encoding] * 60
    Path("a.txt").write_bytes(text.encode(encoding))
    code, _, err = cli("train", "a.txt", *SIZE)
    assert code == 3
    way = re.search(r"use (--encoding \S+), or use --tokenizer byte", err)
    assert way is not None, err
    assert text.encode(encoding).decode(way[1].split()[1]) == text
    assert cli("train", "a.txt", *SIZE, *way[1].split())[0] == 0
    assert cli("train", "a.txt", *SIZE, "--overwrite", "--tokenizer", "byte")[0] == 0


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_text_is_called_what_it_is(cli, kind):  # noqa: F811
    Path("a.txt").write_bytes(OTHERS[kind] * 100)
    code, _, err = cli("train", "a.txt", *SIZE)
    assert code == 3
    assert f": no text: it is {kind}" in err
    assert err.endswith("; give the text that it holds\n")
    assert "--" not in err.removeprefix("chargen: a.txt")


def test_a_document_of_an_office_program_is_an_archive():
    with zipfile.ZipFile("a.docx", "w") as archive:
        archive.writestr("word/document.xml", "<w>text</w>")
    assert str(binary_kind(Path("a.docx").read_bytes())).startswith("a zip archive, as .docx")


@pytest.mark.parametrize(
    "data", [bytes(range(1, 256)), b"\xff\x00\x12\x81" * 20, "é€".encode() * 40 + b"\xff", b"a\0b"],
    ids=["all bytes", "noise", "damaged UTF-8", "one zero"],
)  # fmt: skip
def test_no_encoding_is_advised_where_none_fits(data):
    assert guess_encoding(data) is None


def test_an_accent_after_a_million_bytes_is_enough(cli):  # noqa: F811
    Path("a.txt").write_bytes(b"plain words\n" * 100_000 + "déjà vu\n".encode("cp1252"))
    _, _, err = cli("train", "a.txt", *SIZE)
    assert ", or use --encoding cp1252, or use --tokenizer byte\n" in err


@pytest.mark.parametrize(
    ("command", "way"),
    [
        (("eval", "M", "F"), "use --encoding cp1252"),
        (("surprise", "M", "F"), "use --encoding cp1252"),
        (("why", "M", "F"), "use --encoding cp1252"),
        (("finetune", "M", "F", "--run", "r", "--steps", "1"), "use --encoding cp1252"),
        (("gradients", "M", "--corpus", "F", "--back", "8"), "use --encoding cp1252"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_only_options_of_the_command_are_advised(cli, model_path, command, way):  # noqa: F811
    Path("f.txt").write_bytes("abc é “d”\n".encode("cp1252") * 200)
    names = {"M": str(model_path), "F": "f.txt"}
    arguments = [names.get(word, word) for word in command]
    code, _, err = cli(*arguments)
    assert code == 3
    assert "it may be cp1252; use" in err
    assert err.strip().endswith(way)
    if way.startswith("use"):
        assert cli(*arguments, *way.split()[1:])[0] == 0
    else:
        Path("f.txt").write_bytes("abc é “d”\n".encode() * 200)
        assert cli(*arguments)[0] == 0


def test_a_wrong_encoding_is_not_advised_again(cli):  # noqa: F811
    Path("a.txt").write_bytes(TEXTS["cp1251"].encode("cp1251") * 60)
    _, _, err = cli("train", "a.txt", *SIZE, "--encoding", "ascii")
    assert err.endswith("use --encoding cp1251, or use --tokenizer byte without --encoding\n")
    assert cli("train", "a.txt", *SIZE, "--tokenizer", "byte")[0] == 0
    _, _, err = cli("train", "a.txt", *SIZE, "--tokenizer", "byte", "--encoding", "ascii",
                    "--overwrite")  # fmt: skip
    assert err.endswith(
        "it may be cp1251; use --encoding-errors replace, or use --encoding cp1251\n"
    )


def test_columns_are_advised_where_they_help(cli, model_path):  # noqa: F811
    Path("n.csv").write_text("n,m\n" + "12,34\n" * 200, encoding="utf-8")
    Path("n.jsonl").write_text('{"n": 1}\n' * 200, encoding="utf-8")
    _, _, err = cli("train", "n.csv", *SIZE)
    assert "; choose one with --column NAME; there are: n, m" in err
    assert cli("train", "n.csv", *SIZE, "--column", "n")[0] == 0
    _, _, err = cli("train", "n.jsonl", *SIZE, "--overwrite")
    assert "no column holds text; give another file; there are: n" in err
    _, _, err = cli("surprise", model_path, "n.csv")
    assert "no column holds text; there are: n, m" in err


@pytest.mark.parametrize("encoding", ["cp1251", "utf-16-le"])
def test_a_table_is_not_advised_to_be_read_as_bytes(cli, encoding):  # noqa: F811
    rows = "text,n\n" + f"{TEXTS['cp1251'].strip()},1\n".replace(", и", " и") * 60
    Path("t.csv").write_bytes(rows.encode(encoding))
    _, _, err = cli("train", "t.csv", *SIZE)
    assert f": it may be {encoding}; use" in err
    assert err.endswith(f"use --encoding {encoding}\n")
    assert "byte" not in err.partition("; use")[2]
    assert cli("train", "t.csv", *SIZE, "--encoding", encoding)[0] == 0


@pytest.mark.parametrize("change", ["changed", "gone"])
def test_a_corpus_may_be_named_or_allowed_unless_it_is(cli, change, monkeypatch, tmp_path):  # noqa: F811
    text = "a plain text, of words\n" * 200
    Path("a.txt").write_text(text, encoding="utf-8")
    assert cli("train", "a.txt", *SIZE)[0] == 0
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "cache2"))
    Path("a.txt").rename("b.txt")
    if change == "changed":
        Path("a.txt").write_text(text.upper(), encoding="utf-8")
    more = ("resume", "r", "--steps", "1")
    code, _, err = cli(*more)
    named = "no more; name where the text lies now (chargen resume RUN CORPUS)"
    assert code == 3
    allowed = cli(*more, "--allow-changed-corpus")
    if change == "changed":
        assert err.endswith(f"{named}, or add --allow-changed-corpus\n")
        assert allowed[0] == 0
    else:
        assert err.endswith(f"{named}\n")
        assert allowed[2].endswith(f"{named}\n")
    assert cli("resume", "r", "b.txt", "--steps", "1")[0] == 0


def test_a_missing_text_to_validate_on_or_to_replay_has_a_way_of_its_own(
    cli,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    text = "a plain text, of words\n" * 200
    for name in ("a.txt", "v.txt", "p.txt"):
        Path(name).write_text(text + name, encoding="utf-8")
    assert cli("train", "a.txt", *SIZE, "--valid", "v.txt")[0] == 0
    assert cli("finetune", "r", "a.txt", "--replay", "p.txt", "--run", "t", "--steps", "1")[0] == 0
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "cache2"))
    Path("v.txt").rename("w.txt")
    Path("p.txt").unlink()
    more = ("resume", "r", "--steps", "1")
    assert cli(*more)[2].endswith("; name where the text lies now (--valid FILE)\n")
    assert cli(*more, "--valid", "w.txt")[0] == 0
    assert cli("resume", "t", "--steps", "1")[2].endswith("no more; put it back\n")
    Path("p.txt").write_text(text + "p.txt", encoding="utf-8")
    assert cli("resume", "t", "--steps", "1")[0] == 0


def test_the_library_is_told_keywords(model_path):
    Path("a.txt").write_bytes(TEXTS["cp1252"].encode("cp1252") * 60)
    with pytest.raises(CorpusError, match=r", or use encoding='cp1252', or use tokenizer='byte'$"):
        list(chargen.train("a.txt", run="x"))
    with pytest.raises(CorpusError, match=r"use encoding='cp1252'$"):
        list(chargen.finetune(model_path, "a.txt", run="x"))
    Path("a.txt").write_text("a plain text, of words\n" * 200, encoding="utf-8")
    with pytest.raises(ChargenError, match=r"; leave it out, or use tokenizer='subword'$"):
        list(chargen.train("a.txt", vocab_size=300))
    with pytest.raises(ChargenError, match=r"has no effect on the char tokenizer; leave it out$"):
        list(chargen.finetune(model_path, "a.txt", vocab_size=300))


def test_a_taken_name_has_two_ways_out(cli):  # noqa: F811
    Path("a.txt").write_text("a plain text, of words\n" * 200, encoding="utf-8")
    assert cli("train", "a.txt", *SIZE)[0] == 0
    code, _, err = cli("train", "a.txt", *SIZE)
    assert (code, err.strip()) == (
        2,
        "chargen: checkpoints/r: holds a run already; choose another --run NAME, "
        "or add --overwrite",
    )
    assert cli("train", "a.txt", *SIZE, "--overwrite")[0] == 0
    assert cli("train", "a.txt", *SIZE[:-1], "other")[0] == 0
    with pytest.raises(ChargenError, match=r"choose another run='NAME', or add overwrite=True$"):
        list(chargen.train("a.txt", run="r"))


def test_whoever_has_no_run_is_told_how_to_get_one(cli):  # noqa: F811
    Path("corpus.txt").write_text("a plain text, of words\n" * 200, encoding="utf-8")
    train = "; train one with: chargen train corpus.txt\n"
    for arguments in (("resume", "x"), ("resume",), ("sample", "x"), ("info", "x")):
        code, _, err = cli(*arguments)
        assert code == 3
        assert err.endswith(train)
    assert cli("runs")[2].endswith(train + "models in the box: english, python, tiny\n")
    assert cli("sample", "-l", "2")[0] == 0
    assert "there are: \n" not in cli("resume", "x")[2]
    assert cli(*train.split("chargen ")[1].split(), *SIZE)[0] == 0
    assert cli("sample", "r", "-l", "2")[0] == 0


def test_a_table_without_rows_lists_nothing():
    assert unknown_name("run", "x", []) == "unknown run 'x': there are none yet"


def test_a_run_without_a_model_names_the_command_that_goes_on(cli):  # noqa: F811
    Path("my run").mkdir()
    assert "resume" not in cli("sample", "my run")[2], "there is nothing to go on from"
    Path("my run/training.safetensors").touch()
    assert (
        "; go on with it (chargen resume 'my run'), or name another run"
        in (cli("sample", "my run")[2])
    )


def test_sizes_of_a_vocabulary_that_do_not_help_are_not_advised(cli, monkeypatch):  # noqa: F811
    Path("a.txt").write_text("a plain text, of words\n" * 200, encoding="utf-8")
    code, _, err = cli("train", "a.txt", *SIZE, "--tokenizer", "subword", "--vocab-size", "5")
    assert code == 2
    assert err.endswith("; use --tokenizer byte without --vocab-size\n")

    def refuse(self, *arguments):
        raise RuntimeError("Internal: cannot be done")

    monkeypatch.setattr(SubwordBuilder, "_train", refuse)
    _, _, err = cli("train", "a.txt", *SIZE, "--tokenizer", "subword", "--vocab-size", "400")
    assert err.endswith("(Internal: cannot be done); use --tokenizer char without --vocab-size\n")
    assert cli("train", "a.txt", *SIZE, "--tokenizer", "char")[0] == 0
    _, _, err = cli("train", "a.txt", *SIZE, "--tokenizer", "subword", "--overwrite")
    assert err.endswith("; use --tokenizer char\n")


def test_unknown_characters_are_allowed_where_the_person_is(cli, talk, model_path):  # noqa: F811
    refused = ("sample", model_path, "-p", "é", "-l", "2", "--unknown", "error")
    _, _, err = cli(*refused)
    ways_out = re.findall(r"use (--unknown \w+)", err)
    assert ways_out == ["--unknown nearest", "--unknown skip"]
    for way in ways_out:
        assert cli(*refused[:-2], *way.split())[0] == 0
    talk("/set unknown error")
    lines = re.findall(r"use (/set unknown \w+)", talk("É"))
    assert lines == ["/set unknown nearest", "/set unknown skip"]
    for line in lines:
        talk("/set unknown error")
        talk(line)
        assert "no token" not in talk("É")
    model = chargen.load(model_path)
    with pytest.raises(ChargenError, match=r"use unknown='nearest', or use unknown='skip'$"):
        model.encode("é", "error")


@pytest.fixture
def talk():
    from chargen.api import Model
    from tests.repl.conftest import Talk

    talk = Talk(Model(make_model()))
    talk("/set length 3")
    return talk


def test_memory_and_speed_are_advised_where_they_can_be_chosen():
    from chargen.training.device import enough_memory

    def message() -> str:
        with pytest.raises(ChargenError) as caught, enough_memory():
            raise MemoryError
        return str(caught.value).partition("; ")[2]

    assert message() == "free some, or choose a smaller hidden_size, batch_size or bptt"
    with read_by("command", ["--batch-size", "--bptt", "--steps"]):
        assert message() == "free some, or choose a smaller --batch-size or --bptt"
    with limited(only=["--steps"]):
        assert message() == "free some"


def test_ways_are_those_that_exist():
    assert ways(("use", option("--x-y", "a b")), "wait") == "; use x_y='a b', or wait"
    with read_by("command"):
        hints.has_options(["--x-y"])
        assert ways(("use", option("--x-y", "a b")), ("add", option("--z"))) == "; use --x-y 'a b'"
        with limited(without=["--x-y"]):
            assert ways(("use", option("--x-y", "a"))) == ""
            assert any_of("--x-y", "--z") is None
        with limited(only=["--x-y", "--z"]):
            assert any_of("--x-y", "--z") == "--x-y", "a limit adds no option"
    assert option("--overwrite") == "overwrite=True", "afterwards all is as before"


@pytest.mark.parametrize(
    "name",
    ["plain", "my run", "it's", 'a"b', "$HOME", "a;b", "-x", "--help", "é ü", "line\nend",
     "\x1b[31mred", "a\\b'c\td", "bad\udcffbyte", "*", "~", "#1", ""],
)  # fmt: skip
def test_a_printed_command_means_the_same_in_a_shell(name):
    import os
    import subprocess

    command = spelled("chargen", "repl", name)
    assert command.isprintable(), "a terminal shows it as it is"
    shell = ["bash", "-c", f'chargen() {{ printf "%s\\0" "$@"; }}; {command}']
    words = subprocess.run(shell, capture_output=True, check=True).stdout.split(b"\0")[:-1]
    assert words[0] == b"repl"
    assert words[-1] == os.fsencode(name)
    assert words[1:-1] == ([b"--"] if name.startswith("-") else [])


def test_the_commands_at_the_end_of_a_training_are_pasteable(cli):  # noqa: F811
    Path("a.txt").write_text("a plain text, of words\n" * 200, encoding="utf-8")
    _, _, err = cli("train", "a.txt", *SIZE[:-2], "--out", "my novels")
    command = next(line.partition(": ")[2] for line in err.splitlines() if "write with" in line)
    words = shlex.split(command)
    assert words[:2] == ["chargen", "repl"]
    assert cli("sample", words[2], "-l", "2")[0] == 0


def test_a_command_is_not_broken_into_two_lines():
    import io

    from chargen.terminal.context import Terminal

    class Narrow(io.StringIO):
        def isatty(self):
            return True

    out = Narrow()
    line = "write with it: " + spelled("chargen", "repl", "a name of many words " * 12)
    Terminal(err=out, environ={}).note(line, wraps=False)
    assert out.getvalue() == line + "\n"


def test_every_command_has_the_option_that_an_internal_error_names(cli, monkeypatch):  # noqa: F811
    for name in COMMANDS:
        code, out, _ = cli(name, "--help")
        assert code == 0
        assert "--debug" in out, name


def test_the_settings_that_a_message_may_name_exist():
    assert "unknown" in TABLE


def test_a_model_file_elsewhere_is_not_a_run(cli, tmp_path):  # noqa: F811
    save_model(tmp_path / "m.safetensors", make_model())
    code, _, err = cli("resume", "m.safetensors")
    assert code == 3
    assert "there are: \n" not in err


def test_looking_at_commands_changes_no_message():
    """A program may list the commands of the command line, as shells and tests do."""
    import click

    from chargen.cli.main import cli as group

    before = option("--x-y", "a b")
    assert group.get_command(click.Context(group), "eval") is not None
    assert option("--x-y", "a b") == before


def advised_options() -> list[tuple[str, str, bool]]:
    """Each call of `option` with a name that is written there: (place, name, has a value)."""
    found = []
    for path in sorted(Path(chargen.__file__).parent.rglob("*.py")):
        if path.parent.name == "cli":  # there, `option` declares one
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            function = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            if function == "option" or getattr(function, "id", None) == "option":
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    place = f"{path.name}:{node.lineno}"
                    found.append((place, name.value, len(node.args) + len(node.keywords) > 1))
    return found


def test_an_option_that_takes_a_value_is_advised_with_one():
    """Without one, the library would be told minutes=True, and the command line --minutes alone."""
    flags = {
        name
        for command in COMMANDS
        for row in importlib.import_module(f"chargen.cli.{command}").command.params
        if isinstance(row, click.Option)
        for name in row.opts
        if row.is_flag
    }
    calls = advised_options()
    assert {"--overwrite", "--allow-changed-corpus"} < flags
    assert {"--overwrite", "--column", "--run"} <= {name for _, name, _ in calls}
    assert [call for call in calls if call[2] == (call[1] in flags)] == []


def test_numbers_are_advised_as_numbers():
    assert [option("--minutes", 2.0), option("--minutes", 0.5), option("--steps", 2_000_000)] == [
        "minutes=2", "minutes=0.5", "steps=2000000",
    ]  # fmt: skip
    with read_by("command"):
        assert option("--minutes", 2.0) == "--minutes 2"
