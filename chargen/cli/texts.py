"""MODEL and FILE on the command line, loaded and read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chargen.errors import CorpusError, UsageError
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.library import Model
    from chargen.text.tokenizer import Tokens


def is_model(name: str) -> bool:
    """Whether a name means a model and nothing else."""
    from chargen.model.runs import CHECKPOINTS

    path = Path(name)
    return name.endswith(".safetensors") or (not path.exists() and (CHECKPOINTS / path).is_dir())


def model_and_text(
    names: tuple[str, ...],
    terminal: Terminal,
    *,
    encoding: str | None = None,
    needs_file: bool = False,
) -> tuple[Model, Tokens, str]:
    """[MODEL] [FILE]: the model, the tokens (N,) of the text, and what the text is called.

    Without MODEL it is the newest run; without FILE, what the model was validated on, unless
    `needs_file` is set.

    Raises:
        UsageError: too many names, or no FILE where none can be found.
        CorpusError: the file cannot be read, or is empty.
        ModelFileError: there is no such model, or it is damaged.
    """
    from chargen.library import load, validation_text

    if len(names) > 2:
        raise UsageError("give one MODEL and one FILE")
    file = names[-1] if len(names) == 2 or (names and not is_model(names[0])) else None
    if file is None and needs_file:
        raise UsageError(f"{names[0] if names else 'chargen'}: name the FILE to read")
    model = load(names[0] if names and names[0] != file else None)
    if file is not None:
        return model, read_tokens(model, file, terminal, encoding=encoding), file
    found = validation_text(model)
    if found is None or not len(found):
        raise UsageError("name the FILE to read: what the model was validated on is not here")
    return model, found, "its validation text"


def read_tokens(
    model: Model,
    name: str,
    terminal: Terminal,
    *,
    encoding: str | None = None,
    column: str | None = None,
) -> Tokens:
    """A text as tokens (N,) of a model; says which characters it never saw.

    Raises:
        CorpusError: it cannot be read, or is empty.
    """
    import numpy as np

    from chargen.text.corpus import open_corpus
    from chargen.text.encoding import encoded_batches
    from chargen.text.reading import Reading
    from chargen.text.store import token_dtype
    from chargen.text.tokenizer import describe_unseen

    documents = model.card.get("documents")
    corpus = open_corpus(
        [name],
        documents=documents if documents in ("files", "lines") else "whole",
        reading=Reading(encoding=encoding, column=column, as_bytes=model.tokenizer.reads_bytes),
    )
    unseen: dict[str, int] = {}
    characters = 0
    for piece in corpus.pieces():
        if isinstance(piece, str):
            characters += len(piece)
            for one in model.tokenizer.unseen(piece):
                unseen[one] = unseen.get(one, 0) + piece.count(one)
    if unseen:
        replaced = model.tokenizer.unseen("".join(unseen))
        for line in describe_unseen(replaced, unseen, characters, "nearest"):
            terminal.complain(f"{name}: {line}; the score is of the text with these replaced")
    dtype = np.dtype(token_dtype(model.tokenizer.vocab_size))
    batches = [ids for ids, _ in encoded_batches(corpus, model.tokenizer, dtype)]
    found: Tokens = np.concatenate([np.empty(0, dtype), *batches])
    if not len(found):
        raise CorpusError(f"{name}: the text is empty")
    return found
