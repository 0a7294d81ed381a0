"""Exports of chats: made by hand in the form of each program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.errors import CorpusError, UsageError
from chargen.text.chats import read_chats
from chargen.text.corpus import open_corpus
from chargen.text.reading import Reading

TELEGRAM = {
    "name": "Anna", "type": "personal_chat", "id": 1,
    "messages": [
        {"id": 1, "type": "service", "actor": "Anna", "action": "create_group", "text": ""},
        {"id": 2, "type": "message", "from": "Anna", "from_id": "user1", "text": "Hello"},
        {"id": 3, "type": "message", "from": "Bert", "text": ["See ", {"type": "link",
            "text": "example.org"}, "\nnow"]},
        {"id": 4, "type": "message", "from": None, "text": "Gone"},
        {"id": 5, "type": "message", "from": "Anna", "photo": "p.jpg", "text": ""},
        {"id": 6, "type": "message", "from": "Anna", "media_type": "voice_message", "text": ""},
    ],
}  # fmt: skip
DISCORD = {
    "guild": {"name": "G"}, "channel": {"name": "c"},
    "messages": [
        {"type": "Default", "content": "Hi", "author": {"name": "anna1", "nickname": "Anna"}},
        {"type": "Reply", "content": "Hey\nyou", "author": {"name": "bert"}},
        {"type": "GuildMemberJoin", "content": "Joined", "author": {"name": "carl"}},
        {"type": "Default", "content": "", "author": {"name": "bert"}, "attachments": [{}]},
    ],
}  # fmt: skip
PACKAGE = [
    {"ID": 1, "Timestamp": "2024-01-01 10:00:00", "Contents": "Hi", "Attachments": ""},
    {"ID": 2, "Timestamp": "2024-01-01 10:00:01", "Contents": "", "Attachments": "https://x"},
]
MESSENGER = {
    "participants": [{"name": "Zo\u00c3\u00ab"}, {"name": "Bert"}],
    "messages": [
        {"sender_name": "Bert", "timestamp_ms": 3, "photos": [{}]},
        {"sender_name": "Bert", "timestamp_ms": 2, "content": "Caf\u00c3\u00a9?"},
        {"sender_name": "Zo\u00c3\u00ab", "timestamp_ms": 1, "content": "Hello"},
    ],
}
ANDROID = """12/03/2021, 14:04 - Messages and calls are end-to-end encrypted.
12/03/2021, 14:05 - Anna: Hello
how are you?

12/03/2021, 14:06 - Bert: <Media omitted>
12/03/2021, 14:06 - Bert: Fine: thanks
12/03/2021, 14:07 - Anna: This message was deleted
12/03/2021, 14:07 - Anna: Good <This message was edited>
12/03/2021, 14:08 - Bert added Carl
"""
IOS = """[12.03.21, 14:04:33] Sea: \u200eMessages and calls are end-to-end encrypted.
[12.03.21, 14:05:33] Anna: Hello
how are you?
\u200e[12.03.21, 14:06:01] Bert: \u200eimage omitted
[12.03.21, 14:06:12] \u202aBert\u202c: Fine: thanks
"""
AMERICAN = """3/12/21, 2:05\u202fPM - Anna: Hello
3/12/21, 2:06\u202fPM - Bert: Fine: thanks
"""


def turns(text: str) -> list[tuple[str, str]] | None:
    chats = read_chats(text, "a", ".txt")
    return chats and [(turn.speaker, turn.text) for chat in chats for turn in chat.turns]


@pytest.mark.parametrize(
    ("text", "kind", "expected", "left_out"),
    [
        (json.dumps(TELEGRAM), "Telegram",
         [("Anna", "Hello"), ("Bert", "See example.org\nnow"), ("unknown", "Gone")],
         "1 system line, 1 picture, 1 voice message"),
        (json.dumps({"chats": {"about": "", "list": [TELEGRAM]}}), "Telegram",
         [("Anna", "Hello"), ("Bert", "See example.org\nnow"), ("unknown", "Gone")],
         "1 system line, 1 picture, 1 voice message"),
        (json.dumps(DISCORD), "Discord", [("Anna", "Hi"), ("bert", "Hey\nyou")],
         "1 system line, 1 attachment"),
        (json.dumps(PACKAGE), "Discord", [("me", "Hi")], "1 attachment"),
        (json.dumps(MESSENGER), "Messenger", [("Zoë", "Hello"), ("Bert", "Café?")], "1 picture"),
        (ANDROID, "WhatsApp",
         [("Anna", "Hello\nhow are you?"), ("Bert", "Fine: thanks"), ("Anna", "Good")],
         "3 system lines, 1 picture or recording"),
        (IOS, "WhatsApp", [("Anna", "Hello\nhow are you?"), ("Bert", "Fine: thanks")],
         "1 system line, 1 picture or recording"),
        (AMERICAN, "WhatsApp", [("Anna", "Hello"), ("Bert", "Fine: thanks")], ""),
    ],
)  # fmt: skip
def test_each_export_gives_its_turns(text, kind, expected, left_out):
    chats = read_chats(text, "a", ".txt")
    assert chats is not None
    assert {chat.kind for chat in chats} == {kind}
    assert turns(text) == expected
    assert [chat.left_out for chat in chats] == [left_out]


@pytest.mark.parametrize(
    "text",
    ["", "A text.\nWith lines: two.\n", "[1, 2]", "{}", '{"messages": []}', '{"messages": [1]}',
     '{"messages": [{"text": "a"}]}', '{"chats": {"list": [1, {}]}}', "[" * 500, "{",
     "A diary.\n" * 99 + "12/03/2021, 14:05 - Anna: Hello\n", json.dumps(TELEGRAM)[:-5],
     "12/03/2021, 14:05 - Anna: Hello\n"],
)  # fmt: skip
def test_other_texts_are_no_chats(text):
    assert read_chats(text, "a", ".json") is None


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["messages", "text", "from", "author", "sender_name", "content", "type",
                         "chats", "list", "timestamp_ms", "name", "Contents", "media_type"]),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(json_values)
def test_any_json_is_a_chat_or_none(value):
    found = read_chats(json.dumps(value), "a", ".json")
    assert found is None or all(turn.text for chat in found for turn in chat.turns)


def read(*names: str, documents: str = "whole", **reading: object) -> str:
    corpus = open_corpus(names, documents=documents, reading=Reading(chat=True, **reading))
    return "".join(
        "⏹" if item is None else item if isinstance(item, str) else f"<{item.name}>"
        for item in corpus.pieces()
    )


def test_a_chat_is_read_as_name_and_message():
    Path("chat.txt").write_text(ANDROID)
    assert read("chat.txt") == "Anna: Hello\nhow are you?\nBert: Fine: thanks\nAnna: Good\n"
    assert read("chat.txt", speaker="Anna") == "Hello\nhow are you?\nGood\n"
    labelled = read("chat.txt", documents="files", label_from="speaker")
    assert labelled == "<Anna>Hello\nhow are you?\n⏹<Bert>Fine: thanks\n⏹<Anna>Good\n⏹"
    corpus = open_corpus(["chat.txt"], reading=Reading(chat=True))
    list(corpus.pieces())
    told = "3 messages of 2 speakers; left out: 3 system lines, 1 picture or recording"
    assert corpus.notes() == [f"chat.txt: WhatsApp, {told}"]


def test_a_folder_of_exports_and_other_files():
    Path("export/photos").mkdir(parents=True)
    Path("export/result.json").write_text(json.dumps(TELEGRAM))
    Path("export/photos/1.jpg").write_bytes(b"\xff\xd8\xff\0")
    Path("export/readme.txt").write_text("How to read it.\n")
    assert read("export").startswith("Anna: Hello\nBert: See example.org")
    corpus = open_corpus(["export"], reading=Reading(chat=True))
    list(corpus.pieces())
    assert corpus.notes()[0].startswith("export/result.json: Telegram, 3 messages of 3 speakers")
    assert "skipped 2 of 3 files" in corpus.notes()[1]


def test_what_is_no_chat_or_no_speaker_is_told():
    Path("a.txt").write_text("A text.\n")
    with pytest.raises(CorpusError, match=r"^a\.txt: no export of a chat that is known"):
        read("a.txt")
    Path("chat.txt").write_text(ANDROID)
    with pytest.raises(CorpusError, match="unknown speaker 'Annna': did you mean 'Anna'"):
        read("chat.txt", speaker="Annna")
    with pytest.raises(UsageError, match="only a chat has speakers"):
        Reading(speaker="Anna")
    with pytest.raises(UsageError, match="only a chat has speakers"):
        Reading(label_from="speaker")
    Path("result.json").write_text(json.dumps(TELEGRAM))
    corpus = open_corpus(["result.json"], reading=Reading(column="text"))
    list(corpus.pieces())
    assert any("looks like the export of a chat" in note for note in corpus.notes())
