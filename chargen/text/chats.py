"""Exports of chats as turns: who said what, without time stamps and system lines.

Known are the JSON of Telegram Desktop, of Discord (its data package, and that of
DiscordChatExporter), of Messenger and Instagram, and the two line formats of WhatsApp.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from chargen.text.convert.converted import count_words

UNKNOWN = "unknown"
"""The speaker where the export names none: an account that was deleted."""
_MARKS = "\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2068\u2069"
"""Marks of the direction of writing, which WhatsApp puts before names and notices."""
_TIME = (
    r"\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{1,4}\.?,?\s+"
    r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s*[AaPp]\.?\s?[Mm]\.?)?"
)
_WHATSAPP_LINE = re.compile(
    rf"[{_MARKS}]*(?:\[{_TIME}\]\s(?P<ios>.*)|{_TIME}\s[-–]\s(?P<android>.*))", re.DOTALL
)
_NAMED = re.compile(rf"[{_MARKS}]*(?P<name>[^:\n]{{1,80}}): ?(?P<text>.*)", re.DOTALL)
_MEDIA = re.compile(
    r"<[^<>\n]{3,60}>"
    r"|(?:\S+ )?\S+ (?:omitted|weggelassen|omitida?|omise?s?|omesso|omessa|ocultad[oa])\.?"
    r"|\S+\.\w{2,5} \([^()\n]{5,40}\)",
    re.IGNORECASE,
)
"""What stands for a picture: <Media omitted>, image omitted, IMG-1.jpg (file attached)."""
_DELETED = re.compile(
    r"(?:this message was deleted|you deleted this message|diese nachricht wurde gelöscht"
    r"|du hast diese nachricht gelöscht|(?:se )?elimin\w+ este mensaje|ce message a été supprimé)"
    r"\.?",
    re.IGNORECASE,
)
_EDITED = re.compile(rf"\s*[{_MARKS}]*<[^<>\n]*(?:edited|bearbeitet|editad[oa]|modifié)[^<>\n]*>$")
_MIN_TURNS = 2
_CHECKED_LINES = 100
_MIN_SHARE_OF_MESSAGES = 0.5
"""Of the first lines, what must begin a message or go on with one that has begun."""
_DISCORD_TYPES = (None, "Default", "Reply", 0, 19)
"""The types of messages that a person wrote, by their names and by their numbers."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message."""

    speaker: str
    text: str
    """It may have several lines."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """An export, or one chat of several in it."""

    kind: str
    """The program that it comes from."""
    turns: tuple[Turn, ...]
    left_out: str
    """What is not among the turns, in words: `12 system lines, 3 pictures`."""


def read_chats(text: str, name: str, suffix: str) -> list[Chat] | None:
    """The chats of an export; None if it is none that is known.

    Args:
        text: the whole file.
        name: how messages call it; not used for exports, which know their names.
        suffix: the ending of the file, which does not matter.
    """
    if text.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            return _read_json(json.loads(text))
        if text.lstrip()[:1] == "{":
            return None
    chat = _read_whatsapp(text)
    return None if chat is None else [chat]


def _read_json(value: Any) -> list[Chat] | None:
    readers: tuple[Callable[[Any], Chat | None], ...] = (
        _read_messenger,
        _read_discord,
        _read_telegram,
    )
    account = value.get("chats") if isinstance(value, Mapping) else None
    if isinstance(account, Mapping) and isinstance(account.get("list"), list):
        chats = [_read_telegram(chat) for chat in account["list"]]
        return [chat for chat in chats if chat is not None and chat.turns] or None
    for read in readers:
        chat = read(value)
        if chat is not None and chat.turns:
            return [chat]
    return None


def _messages(value: Any, key: str) -> list[Mapping[str, Any]] | None:
    """The messages of a chat if any has this key."""
    messages = value.get("messages") if isinstance(value, Mapping) else value
    if not isinstance(messages, list):
        return None
    found = [message for message in messages if isinstance(message, Mapping)]
    return found if any(key in message for message in found) else None


def _chat(kind: str, turns: Iterable[Turn | str]) -> Chat:
    """A chat from its turns, among which a plain string is what is left out."""
    counts: Counter[str] = Counter()
    said = []
    for turn in turns:
        if isinstance(turn, str):
            counts[turn] += 1
        else:
            said.append(turn)
    return Chat(kind=kind, turns=tuple(said), left_out=count_words(counts))


def _turn(speaker: Any, text: str, empty: str) -> Turn | str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return Turn(speaker=_name(speaker), text=text) if text else empty


def _name(value: Any) -> str:
    """A name on one line, without characters that are not shown."""
    if not isinstance(value, str):
        return UNKNOWN
    shown = "".join(c for c in value if c == " " or not unicodedata.category(c).startswith("C"))
    return " ".join(shown.split())[:80] or UNKNOWN


def _read_telegram(value: Any) -> Chat | None:
    messages = _messages(value, "text")
    if messages is None or not isinstance(value, Mapping):
        return None
    if not any("from" in message or "from_id" in message for message in messages):
        return None
    return _chat("Telegram", map(_telegram_turn, messages))


def _telegram_turn(message: Mapping[str, Any]) -> Turn | str:
    if message.get("type", "message") != "message":
        return "system line"
    text = message.get("text")
    if isinstance(text, list):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in text]
        text = "".join(part for part in parts if isinstance(part, str))
    kind = message.get("media_type", "picture" if "photo" in message else "file")
    empty = kind.replace("_", " ") if isinstance(kind, str) and len(kind) < 30 else "file"
    return _turn(message.get("from"), text if isinstance(text, str) else "", empty)


def _read_discord(value: Any) -> Chat | None:
    own = _messages(value, "Contents") if isinstance(value, list) else None
    if own is not None:  # the data package has a person's own messages alone
        return _chat("Discord", (_own_discord_turn(message) for message in own))
    messages = _messages(value, "author")
    if messages is None or not isinstance(value, Mapping):
        return None
    return _chat("Discord", map(_discord_turn, messages))


def _own_discord_turn(message: Mapping[str, Any]) -> Turn | str:
    text = message.get("Contents")
    return _turn("me", text if isinstance(text, str) else "", "attachment")


def _discord_turn(message: Mapping[str, Any]) -> Turn | str:
    kind = message.get("type")
    if not isinstance(kind, str | int | None) or kind not in _DISCORD_TYPES:
        return "system line"
    author, text = message.get("author"), message.get("content")
    names = author if isinstance(author, Mapping) else {}
    name = names.get("nickname") or names.get("global_name") or names.get("name")
    speaker = name or names.get("username")
    return _turn(speaker, text if isinstance(text, str) else "", "attachment")


def _read_messenger(value: Any) -> Chat | None:
    messages = _messages(value, "sender_name")
    if messages is None or not isinstance(value, Mapping):
        return None
    # The newest message comes first, also where there are no time stamps.
    messages.reverse()
    messages.sort(key=_time_of)
    return _chat("Messenger", map(_messenger_turn, messages))


def _time_of(message: Mapping[str, Any]) -> float:
    time = message.get("timestamp_ms", message.get("timestamp"))
    return float(time) if isinstance(time, int | float) and not isinstance(time, bool) else 0.0


def _messenger_turn(message: Mapping[str, Any]) -> Turn | str:
    if message.get("is_unsent") or message.get("type") in ("Subscribe", "Unsubscribe", "Call"):
        return "system line"
    text, name = message.get("content"), message.get("sender_name")
    kinds = {"photos": "picture", "videos": "video", "audio_files": "recording",
             "sticker": "sticker", "gifs": "picture", "share": "link"}  # fmt: skip
    empty = next((kind for key, kind in kinds.items() if key in message), "attachment")
    speaker = _mended(name) if isinstance(name, str) else None
    return _turn(speaker, _mended(text) if isinstance(text, str) else "", empty)


def _mended(text: str) -> str:
    """The export writes each byte of UTF-8 as a character of its own."""
    with suppress(UnicodeError):
        return text.encode("latin-1").decode("utf-8")
    return text


def _read_whatsapp(text: str) -> Chat | None:
    lines = text.split("\n")
    checked = [line for line in lines if line.strip()][:_CHECKED_LINES]
    starts = [bool(_WHATSAPP_LINE.match(line)) for line in checked]
    if True not in starts:
        return None
    # Before the first message nothing belongs to the chat; after it, lines go on with messages.
    belonging = len(starts) - starts.index(True)
    is_chat = starts.count(True) >= _MIN_TURNS and belonging >= _MIN_SHARE_OF_MESSAGES * len(starts)
    if not is_chat or starts.count(True) * 10 < len(starts):
        return None
    chat = _chat("WhatsApp", _whatsapp_turns(lines))
    return chat if len(chat.turns) >= _MIN_TURNS else None


def _whatsapp_turns(lines: Iterable[str]) -> Iterator[Turn | str]:
    message: list[str] | None = None
    for line in lines:
        start = _WHATSAPP_LINE.match(line)
        if start is not None:
            if message is not None:
                yield _whatsapp_turn("\n".join(message))
            message = [start["ios"] if start["ios"] is not None else start["android"]]
        elif message is not None:
            message.append(line)
    if message is not None:
        yield _whatsapp_turn("\n".join(message))


def _whatsapp_turn(message: str) -> Turn | str:
    named = _NAMED.match(message)
    if named is None:
        return "system line"
    text = named["text"]
    is_notice = text.startswith("\u200e")
    text = _EDITED.sub("", text).strip(_MARKS + " \n")
    if _MEDIA.fullmatch(text):
        return "picture or recording"
    if _DELETED.fullmatch(text) or is_notice:
        return "system line"
    return _turn(named["name"].strip(_MARKS), text, "empty message")
