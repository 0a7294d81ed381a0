"""What a file is, by its ending and its first bytes, and its documents.

Compressed files and archives are read as what they hold, tables row by row, chats by message, other
programs' documents through converters, and everything else as text.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from chargen.errors import CorpusError, reason_of, unknown_name
from chargen.hints import option, ways
from chargen.text.chats import Chat, read_chats
from chargen.text.columns import update_hash
from chargen.text.compressed import (
    MAX_WHOLE_BYTES,
    ZipFiles,
    find_compression,
    is_zip,
    output_limit,
    read_whole,
)
from chargen.text.contents import (
    Content,
    FileContent,
    MemberContent,
    UnpackedContent,
    suffix_by_mark,
)
from chargen.text.convert import CONVERTERS, convert
from chargen.text.encoding_guess import binary_kind
from chargen.text.folders import is_junk, is_wanted, natural_key
from chargen.text.many_files import read_many
from chargen.text.reader import read_pieces, read_text
from chargen.text.reading import AUTO, Document, Hasher, Place, Reading
from chargen.text.tables import TABLE_SUFFIXES, table_documents

_HEAD_BYTES = 512
_MEMBERS_OF_KINDS = (
    ("word/document.xml", ".docx"),
    ("META-INF/container.xml", ".epub"),
    ("content.xml", ".odt"),
)
"""Documents that are zip archives, by a file that each of them holds."""
_OFFICE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_TAR_MARK, _TAR_OFFSET = b"ustar", 257


def read_documents(content: Content, reading: Reading, hasher: Hasher) -> Iterator[Document]:
    """The documents of a file, whatever it is; notes what was found and what was left out.

    Raises:
        CorpusError: the file is damaged, or is nothing that can be read.
    """
    try:
        yield from _labelled(_documents(content, reading, hasher), content, reading)
    except OSError as error:
        raise CorpusError(f"{content.name}: cannot be read ({reason_of(error)})") from error


def _labelled(
    documents: Iterator[Document], content: Content, reading: Reading
) -> Iterator[Document]:
    label = _label_of(content, reading)
    for document in documents:
        if label is not None:
            document = Document(pieces=document.pieces, place=document.place, label=label)
        yield document


def _label_of(content: Content, reading: Reading) -> str | None:
    """The label that the place of a file gives to all that is in it."""
    if reading.label_from == "file":
        name = PurePosixPath(content.shown.replace("\\", "/")).name
        return name.partition(".")[0] or name
    if reading.label_from == "folder":
        folders = content.shown.replace("\\", "/").split("/")[:-1]
        # The named folder comes first: its own folders tell more than itself.
        return folders[1] if len(folders) > 1 else folders[0] if folders else _parent(content)
    return None


def _parent(content: Content) -> str | None:
    return content.path.absolute().parent.name or None if content.path else None


def _documents(content: Content, reading: Reading, hasher: Hasher) -> Iterator[Document]:
    with content.open(reading) as stream:
        head = stream.read(_HEAD_BYTES)
    suffix = content.suffix
    if isinstance(content, FileContent):
        compression = find_compression(head)
        if compression is not None:
            unpacked = UnpackedContent(packed=content, format=compression)
            yield from _documents(unpacked, reading, hasher)
            return
        if is_zip(head):
            suffix = _suffix_of_zip(content, suffix)
            if suffix not in CONVERTERS:
                yield from _archive_documents(content, reading, hasher)
                return
    elif find_compression(head) or (is_zip(head) and suffix not in CONVERTERS):
        raise CorpusError(f"{content.name}: an archive within an archive; unpack it first")
    if head[_TAR_OFFSET:].startswith(_TAR_MARK):
        raise CorpusError(f"{content.name}: a tar archive; unpack it, and give its folder")
    suffix = suffix_by_mark(head) or suffix
    if reading.chat:
        yield from _chat_documents(content, reading, hasher)
    elif suffix in TABLE_SUFFIXES:
        yield from table_documents(content, suffix, reading, hasher)
    elif suffix in CONVERTERS or head.startswith(_OFFICE_MARK):
        yield from _converted(content, suffix, reading, hasher)
    else:
        yield _plain(content, head, reading, hasher)


def _plain(content: Content, head: bytes, reading: Reading, hasher: Hasher) -> Document:
    kind = None if reading.raw else binary_kind(head)
    if kind is not None:
        raise CorpusError(
            f"{content.name}: no text: it is {kind}{ways('give the text that it holds')}"
        )

    def pieces() -> Iterator[str | bytes]:
        try:
            with content.open(reading) as stream:
                yield from read_pieces(stream, content.name, reading, hasher)
        except OSError as error:
            raise CorpusError(f"{content.name}: cannot be read ({reason_of(error)})") from error

    return Document(pieces=pieces(), place=Place(name=content.shown, line=1))


def _chat_documents(content: Content, reading: Reading, hasher: Hasher) -> Iterator[Document]:
    with content.open(reading) as stream:
        data = read_whole(stream, content.name, "chat")
    text = read_text(data, content.name, reading)
    chats = read_chats(text, content.name, content.suffix)
    if not chats:
        raise CorpusError(
            f"{content.name}: no export of a chat that is known (Telegram's or Discord's JSON, "
            "WhatsApp's text, Messenger's JSON)" + ways(("leave out", option("--chat")))
        )
    speakers = {turn.speaker: None for chat in chats for turn in chat.turns}
    if reading.speaker is not None and reading.speaker not in speakers:
        raise CorpusError(f"{content.name}: {unknown_name('speaker', reading.speaker, speakers)}")
    for chat in chats:
        yield from _turns(chat, content, reading, hasher)
    count = sum(len(chat.turns) for chat in chats)
    kinds = " and ".join(dict.fromkeys(chat.kind for chat in chats))
    left_out = "; ".join(dict.fromkeys(chat.left_out for chat in chats if chat.left_out))
    told = f"{content.shown}: {kinds}, {count:,} messages of {len(speakers):,} speakers"
    reading.note(f"{told}; left out: {left_out}" if left_out else told)


def _turns(chat: Chat, content: Content, reading: Reading, hasher: Hasher) -> Iterator[Document]:
    place = Place(name=content.shown)
    if reading.speaker is None and reading.label_from != "speaker":
        lines = (f"{turn.speaker}: {turn.text}\n" for turn in chat.turns)
        yield Document(pieces=(update_hash(hasher, line) for line in lines), place=place)
        return
    for turn in chat.turns:
        if reading.speaker in (None, turn.speaker):
            label = turn.speaker if reading.label_from == "speaker" else None
            pieces = iter((update_hash(hasher, f"{turn.text}\n"),))
            yield Document(pieces=pieces, place=place, label=label)


def _converted(
    content: Content, suffix: str, reading: Reading, hasher: Hasher
) -> Iterator[Document]:
    with content.open(reading) as stream:
        kind = CONVERTERS[suffix].kind if suffix in CONVERTERS else "Office document"
        data = read_whole(stream, content.name, kind)
    encoding = None if reading.encoding in (None, AUTO) else reading.encoding
    converted = convert(data, content.name, suffix, encoding)
    for text in converted.texts:
        if text.strip():
            pieces = iter((update_hash(hasher, text),))
            yield Document(pieces=pieces, place=Place(name=content.shown))
    if converted.left_out:
        reading.note(f"{content.shown}: left out: {converted.left_out}")


def _suffix_of_zip(content: FileContent, suffix: str) -> str:
    """The kind of a zip archive: that of its ending, or of the document that it is."""
    if suffix in CONVERTERS:
        return suffix
    try:
        with zipfile.ZipFile(content.path) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return suffix
    return next((kind for member, kind in _MEMBERS_OF_KINDS if member in names), suffix)


def _archive_documents(
    content: FileContent, reading: Reading, hasher: Hasher
) -> Iterator[Document]:
    size = content.path.stat().st_size
    with content.path.open("rb") as stream:
        files = ZipFiles(stream, content.name, max(MAX_WHOLE_BYTES, output_limit(size)))
        members = [
            MemberContent(
                archive=files,
                member=member,
                name=f"{content.name}/{member}",
                shown=f"{content.shown}/{member}",
            )
            for member in sorted(files.names, key=natural_key)
            if not _is_junk_member(member) and is_wanted(member, reading)
        ]
        if not members:
            raise CorpusError(f"{content.name}: the archive holds no files")
        yield from read_many(members, content.name, reading, hasher, read_documents)


def _is_junk_member(member: str) -> bool:
    return any(is_junk(part) for part in member.split("/") if part.strip("."))
