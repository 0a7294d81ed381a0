"""How a text is read, divided and made into tokens: the options of a run, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from chargen.errors import CorpusError, UsageError, unknown_name
from chargen.hints import option, ways
from chargen.text.corpus import DOCUMENT_MODES, Corpus, Watcher, open_corpus, unwatched
from chargen.text.letters import Letters
from chargen.text.reading import Reading
from chargen.text.registry import check_tokenizer

REPLAY = "replay"
"""The key under which a fine-tuning run keeps the options of its replay text."""
BASE_PATH = "base_path"
"""The key under which a fine-tuning run keeps where its base lay; only people read it."""
TEACHER_PATH = "teacher_path"
"""The key under which a distilled run keeps where its teacher lay; only people read it."""


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What to read, how to divide it, and into what kind of tokens.

    Raises:
        UsageError: on construction, naming every option that is wrong.
    """

    corpus: tuple[str, ...] = ()
    """CORPUS arguments; none is the built-in corpus."""
    tokenizer: str = "char"
    """A row of `TOKENIZERS`."""
    vocab_size: int | None = None
    """The most tokens, for tokenizers that choose them; None is the tokenizer's default."""
    pattern: str | None = None
    """The regular expression that finds the tokens of the `regex` tokenizer."""
    documents: str = "whole"
    """A row of `DOCUMENT_MODES`."""
    separator: str | None = None
    """The line between two documents; makes `documents` `separator`."""
    encoding: str | None = None
    """Encoding of the files; None recognises UTF-8 and byte order marks, `auto` guesses."""
    encoding_errors: str = "strict"
    """What happens to bytes that are no text: a row of `ENCODING_ERRORS`."""
    normalize: str | None = None
    """The form of the letters, a row of `FORMS`; None is NFC, and for bytes none."""
    clean: tuple[str, ...] = ()
    """What is tidied: rows of `CLEANERS`."""
    column: str | None = None
    """The column of tables that holds the text; None finds it."""
    delimiter: str | None = None
    """What divides the fields of .csv and .tsv files; None finds it."""
    chat: bool = False
    """Whether exports of chats are read as `NAME: message`."""
    speaker: str | None = None
    """Of chats, whose messages alone are read."""
    include: tuple[str, ...] = ()
    """Patterns of the files of folders that are read; none is all."""
    exclude: tuple[str, ...] = ()
    """Patterns of the files of folders that are left out."""
    label_from: str | None = None
    """What gives each document its label: `folder`, `file`, `column:NAME` or `speaker`."""
    valid: str | None = None
    """A text to validate on; None takes the end of the corpus."""
    valid_fraction: float = 0.1
    """The share of the corpus to validate on."""
    valid_part: str = "spread"
    """Which documents validate: `spread` over the corpus, or its `tail`, as before version 0.2."""

    leave_out_copies: bool = True
    """Whether what stands in the validation part too is left out of training."""

    def __post_init__(self) -> None:
        """Checks everything that can be checked before anything is read."""
        problems = []
        try:
            check_tokenizer(self.tokenizer, vocab_size=self.vocab_size, pattern=self.pattern)
        except UsageError as error:
            problems.append(str(error))
        try:
            _ = self.reading
        except UsageError as error:
            problems.append(str(error))
        if self.separator is not None and self.documents == "whole":
            object.__setattr__(self, "documents", "separator")
        if self.label_from is not None and self.documents == "whole":
            object.__setattr__(self, "documents", "files")
        if self.separator is not None and (not self.separator or "\n" in self.separator):
            problems.append(f"separator {self.separator!r}: must be one line that is not empty")
        if self.documents == "separator" and self.separator is None:
            problems.append(
                "documents separator: name the line that divides"
                + ways(("use", option("--separator", "TEXT")))
            )
        elif self.documents != "separator" and self.separator is not None:
            problems.append(
                f"separator {self.separator!r}: has no effect with documents {self.documents}; "
                "give one of both"
            )
        if self.documents not in DOCUMENT_MODES:
            problems.append(unknown_name("documents", self.documents, DOCUMENT_MODES))
        if not 0 <= self.valid_fraction < 1:
            problems.append(f"valid-fraction {self.valid_fraction}: must be at least 0 and below 1")
        if [*self.corpus, self.valid].count("-") > 1:
            problems.append("'-' (standard input) can be read only once; name it once")
        if problems:
            raise UsageError("; ".join(problems))

    @property
    def spreads(self) -> bool:
        """Whether the documents that validate are spread over the corpus."""
        return self.valid_part == "spread" and self.documents != "whole"

    @property
    def reading(self) -> Reading:
        """How files are read."""
        as_bytes = self.tokenizer == "byte"
        usual = "none" if as_bytes else "nfc"
        letters = Letters(normalize=self.normalize or usual, clean=self.clean)
        same = ("encoding", "encoding_errors", "column", "delimiter", "chat", "speaker")
        lists = ("include", "exclude", "label_from")
        given = {name: getattr(self, name) for name in (*same, *lists)}
        return Reading(**given, letters=letters, as_bytes=as_bytes)

    def open(self, names: Sequence[str], watcher: Watcher = unwatched) -> Corpus:
        """A corpus of these CORPUS names, read as these options say."""
        return open_corpus(
            names,
            documents=self.documents,
            separator=self.separator,
            reading=self.reading,
            watcher=watcher,
        )

    def key(self) -> dict[str, Any]:
        """What the tokens depend on beside the bytes and the tokenizer; see `Corpus.key`."""
        return Corpus(
            sources=(), documents=self.documents, separator=self.separator, reading=self.reading
        ).key()

    def open_all(self, watcher: Watcher = unwatched) -> list[Corpus]:
        """The corpus, and the text to validate on if there is one."""
        names: list[Sequence[str]] = [self.corpus]
        if self.valid is not None:
            names.append([self.valid])
        return [self.open(corpus_names, watcher) for corpus_names in names]


def options_to_json(options: TextOptions) -> dict[str, Any]:
    """The options as plain values, with absolute paths: they are the same in another folder."""
    value = asdict(options)
    value["corpus"] = [_absolute(name) for name in options.corpus]
    if options.valid is not None:
        value["valid"] = _absolute(options.valid)
    return value


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if name != "-" and Path(name).exists() else name


def options_from_json(value: Mapping[str, Any]) -> TextOptions:
    """The options that `options_to_json` wrote, from a file.

    Raises:
        CorpusError: the value does not hold options.
    """
    others = (REPLAY, BASE_PATH, TEACHER_PATH)
    value = {key: setting for key, setting in value.items() if key not in others}
    value.setdefault("valid_part", "tail")  # as runs of version 0.1 were divided
    value.setdefault("leave_out_copies", False)
    value.setdefault("normalize", "none")
    value = {
        name: tuple(setting) if isinstance(setting, list) else setting
        for name, setting in value.items()
    }
    known = {field.name: field.default for field in fields(TextOptions)}
    wrong = [name for name, setting in value.items() if not _fits(setting, known.get(name))]
    if not wrong and {"corpus", "tokenizer", "documents"} <= value.keys() <= known.keys():
        with suppress(TypeError, UsageError):
            return TextOptions(**value)
    raise CorpusError("the run does not say how its corpus was read")


def _fits(setting: Any, default: Any) -> bool:
    """Whether a setting from a file is of the kind of its default."""
    if isinstance(default, tuple):
        return isinstance(setting, tuple) and all(isinstance(name, str) for name in setting)
    if isinstance(default, float):
        return isinstance(setting, int | float)
    if default is None:  # a text, or for the size of the vocabulary a number
        return isinstance(setting, str | int | None)
    return isinstance(setting, type(default))


def documents_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """How the text of a model was divided, as arguments of `TextOptions`; whole if unknown."""
    documents, separator = card.get("documents"), card.get("separator")
    if documents == "separator" and isinstance(separator, str):
        return {"documents": documents, "separator": separator}
    known = documents in DOCUMENT_MODES and documents != "separator"
    return {"documents": str(documents) if known else "whole"}


def letters_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """What was tidied in the text of a model, and its labels, as arguments of `TextOptions`."""
    value: dict[str, Any] = {}
    clean, label_from = card.get("clean"), card.get("label_from")
    if isinstance(clean, list) and all(isinstance(name, str) for name in clean):
        value["clean"] = tuple(clean)
    if isinstance(label_from, str):
        value["label_from"] = label_from
    return value
