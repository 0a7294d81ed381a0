"""`train`, `finetune` and `resume`: iterators of events, as the commands call them.

torch is imported when one of them begins to train, and not before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chargen.api import load
from chargen.errors import CorpusError, UsageError
from chargen.model.extend_weights import check_same, extend_weights, lineage
from chargen.model.runs import TRAINING, choose_folder, locate_run, run_name
from chargen.text.corpus import DOCUMENT_MODES, Watcher, unwatched
from chargen.text.dataset import (
    REPLAY,
    TextOptions,
    open_dataset,
    options_from_json,
    options_to_json,
    reopen_dataset,
)
from chargen.text.finetune_dataset import open_finetune_dataset, open_replay_dataset
from chargen.text.tokenizer import Tokenizer
from chargen.training.config import check_settings
from chargen.training.events import Planned, TrainEvent
from chargen.training.launch import this_process

if TYPE_CHECKING:
    from chargen.training.distributed import Ranks


REPLAY_SHARE = 0.8
_ONE_PROCESS = "fine-tuning runs in one process; start it without torchrun"
TUNED = {"base", "base_path", "before", "old_text"}
"""What fine-tuning adds to a card."""


def train(
    corpus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    *,
    run: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
    on_reading: Watcher = unwatched,
    should_stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Iterator[TrainEvent]:
    """Train a model and keep its run folder up to date; yields events while it goes.

    Args:
        corpus: files, folders, `builtin:NAME`, `hf:DATASET`; nothing is the built-in corpus.
        run: name of the run below `checkpoints`; None makes one from the corpus's name.
        out: a folder instead of `checkpoints`; without `run`, the run's own folder.
        overwrite: replace a run of that name.
        on_note: is told what a person should know, a line each.
        on_reading: is told how far reading and encoding of the corpus are.
        should_stop: asked after every step; when true, the run is saved and ends.
        settings: fields of `TextOptions`, `ModelConfig` and `TrainConfig`, and `epochs`; what is
            left out, or None, is planned.

    Raises:
        UsageError: a setting is unknown or out of range, or the run exists.
        CorpusError: the corpus cannot be read, or is too short.
        ChargenError: training or writing failed.
    """
    started = time.monotonic()
    names = [corpus] if isinstance(corpus, str | os.PathLike) else corpus
    spelled = tuple(os.fspath(one) for one in names)
    given = {name: value for name, value in settings.items() if value is not None}
    text_fields = {one.name for one in fields(TextOptions)}
    about_text = {name: given.pop(name) for name in text_fields & given.keys()}
    if about_text.get("valid") is not None:
        about_text["valid"] = os.fspath(about_text["valid"])
    check_settings(given)
    options = TextOptions(corpus=spelled, **about_text)
    process = this_process()
    # The folder is the first process's; whatever the others choose, they write nothing.
    folder = choose_folder(spelled, run=run, out=out, overwrite=overwrite or not process.is_first)
    if process.count > 1 and "-" in (*spelled, options.valid):
        raise UsageError(f"'-': {process.count} processes cannot all read a pipe; give a file")
    ranks = _together()
    # The first process encodes the text, the others find it in the cache.
    make = partial(open_dataset, options, on_reading if process.is_first else unwatched)
    dataset = ranks.first(make) if ranks else make()
    from chargen.training.session import train_run  # torch, once all else is in order

    events = train_run(
        folder,
        tokenizer=dataset.tokenizer,
        train=dataset.train,
        valid=dataset.valid,
        card=dataset.card,
        text=options_to_json(options),
        given=given,
        should_stop=should_stop,
        started=started,
        ranks=ranks,
    )
    yield from _with_notes(events, dataset.notes, on_note)


def finetune(
    model: str | os.PathLike[str],
    corpus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    run: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    vocabulary: str = "extend",
    extend_vocab: int = 0,
    replay: str | os.PathLike[str] | None = None,
    on_note: Callable[[str], None] = lambda note: None,
    on_reading: Watcher = unwatched,
    should_stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Iterator[TrainEvent]:
    """Go on training a model on another text; yields events while it goes.

    Args:
        model: as for `load`; it is not changed.
        corpus: as for `train`.
        run: as for `train`; None makes a name of the model's and the corpus's.
        out: as for `train`.
        overwrite: as for `train`.
        vocabulary: `extend` takes in the characters that the model lacks, `keep` reads the
            nearest that it has in their place.
        extend_vocab: pieces to add to a subword model, for words of the corpus.
        replay: a corpus, best the model's own, that a share of the lanes (`replay_share`, four
            fifths by default) goes on reading.
        on_note: is told what a person should know, a line each.
        on_reading: is told how far reading and encoding of the corpus are.
        should_stop: asked after every step; when true, the run is saved and ends.
        settings: as for `train`; what decides the model's shape must be as it is.

    Raises:
        UsageError: a setting is unknown, out of range, or not the model's; or the run exists.
        ModelFileError: the model is missing or damaged.
        CorpusError: the corpus cannot be read, is too short, or has nothing that the model knows.
        ChargenError: training or writing failed.
    """
    started = time.monotonic()
    if this_process().count > 1:
        raise UsageError(_ONE_PROCESS)
    names = [corpus] if isinstance(corpus, str | os.PathLike) else corpus
    spelled = tuple(os.fspath(one) for one in names)
    if not spelled:
        raise UsageError("name a CORPUS to fine-tune on")
    given = {name: value for name, value in settings.items() if value is not None}
    text_fields = {one.name for one in fields(TextOptions)}
    about_text = {name: given.pop(name) for name in text_fields & given.keys()}
    if replay is not None:
        given.setdefault("replay_share", REPLAY_SHARE)
    elif given.get("replay_share"):
        raise UsageError("--replay-share: say which text with --replay CORPUS")
    check_settings(given)
    base = load(model)
    kind, wished = base.file.tokenizer.kind, about_text.pop("tokenizer", None)
    if wished not in (None, kind):
        raise UsageError(
            f"--tokenizer {wished}: the base reads {kind} tokens; leave it out, or train a model "
            "of its own"
        )
    problem = check_same(base.config, given)
    if problem is not None:
        raise UsageError(f"{problem}; leave it out, or train a model of its own")
    documents = base.card.get("documents")
    about_text.setdefault("documents", documents if documents in DOCUMENT_MODES else "whole")
    options = TextOptions(corpus=spelled, tokenizer=kind, **about_text)
    assert base.path is not None
    stem = run_name(base.path)
    folder = choose_folder([f"{stem}-{Path(spelled[0]).stem}"], run=run, out=out,
                           overwrite=overwrite)  # fmt: skip
    tuning = open_finetune_dataset(
        options, base.tokenizer, vocabulary=vocabulary, pieces=extend_vocab, watcher=on_reading
    )
    dataset, notes = tuning.dataset, list(tuning.dataset.notes)
    written, other = options_to_json(options), None
    if replay is not None:
        old = replace(options, corpus=(os.fspath(replay),), valid=None)
        other = open_replay_dataset(old, dataset.tokenizer, on_reading)
        written[REPLAY] = {"options": options_to_json(old), "card": other.card}
        notes += [f"replay: {note}" for note in other.notes]
    card = {**dataset.card, "base": lineage(base.card, stem), "base_path": str(base.path)}
    from chargen.training.finetune import finetune_run
    from chargen.training.session import Replay

    events = finetune_run(
        folder,
        base=extend_weights(base.file, tuning.graft, tuning.counts),
        tokenizer=dataset.tokenizer,
        train=dataset.train,
        valid=dataset.valid,
        replay=None if other is None else Replay(train=other.train, valid=other.valid),
        new_tokens=sorted(tuning.graft.seeds),
        card=card,
        text=written,
        given=given,
        should_stop=should_stop,
        started=started,
    )
    yield from _with_notes(events, notes, on_note)


def resume(
    run: str | os.PathLike[str] | None = None,
    *,
    allow_changed_corpus: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
    on_reading: Watcher = unwatched,
    should_stop: Callable[[], bool] = lambda: False,
    minutes: float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
) -> Iterator[TrainEvent]:
    """Go on with a run: exactly where it stopped, or, with a length, that much longer.

    Args:
        run: a run's folder, or its name below `checkpoints`; None is the newest.
        allow_changed_corpus: if the corpus changed since, take it as it is now.
        on_note: is told what a person should know, a line each.
        on_reading: is told how far reading and encoding of the corpus are.
        should_stop: asked after every step; when true, the run is saved and ends.
        minutes: train for so long from here, with a warm-up and a decay of its own; or
        epochs: so many passes; or
        steps: so many steps.

    Raises:
        ModelFileError: there is no such run, or its state is damaged.
        CorpusError: the corpus changed or is gone, and is not in the cache.
        UsageError: the run is over and no length was given; or another process has it.
        ChargenError: training or writing failed.
    """
    started = time.monotonic()
    lengths = {"minutes": minutes, "epochs": epochs, "steps": steps}
    given = {name: value for name, value in lengths.items() if value is not None}
    check_settings(given)
    folder = locate_run(None if run is None else os.fspath(run))
    ranks = _together()
    yield from _resume(
        folder, given, allow_changed_corpus, on_note, on_reading, should_stop, started, ranks
    )


def _resume(
    folder: Path,
    given: dict[str, Any],
    allow_changed_corpus: bool,
    on_note: Callable[[str], None],
    on_reading: Watcher,
    should_stop: Callable[[], bool],
    started: float,
    ranks: Ranks | None,
) -> Iterator[TrainEvent]:
    from chargen.training.session import Replay, resume_run
    from chargen.training.snapshot import load_snapshot

    snapshot = load_snapshot(folder / TRAINING)
    if ranks is not None:
        if REPLAY in snapshot.text:
            raise UsageError(f"{folder}: {_ONE_PROCESS}")
        ranks.decided(0)  # nobody saves before all have read what is to be gone on from
    tokenizer = snapshot.build_tokenizer()
    options = options_from_json(snapshot.text)
    again = partial(reopen_dataset, allow_changed=allow_changed_corpus, watcher=on_reading)
    dataset = again(options, tokenizer, snapshot.card)
    notes, replay = list(dataset.notes), None
    if REPLAY in snapshot.text:
        other = again(*_replayed(snapshot.text[REPLAY], tokenizer))
        replay = Replay(train=other.train, valid=other.valid)
        notes += [f"replay: {note}" for note in other.notes]
    # What fine-tuning adds to a card is not of the corpus.
    card = {**dataset.card, **{one: snapshot.card[one] for one in TUNED & snapshot.card.keys()}}
    events = resume_run(
        folder,
        snapshot,
        tokenizer=tokenizer,
        train=dataset.train,
        valid=dataset.valid,
        card=card,
        given=given,
        should_stop=should_stop,
        started=started,
        replay=replay,
        ranks=ranks,
    )
    yield from _with_notes(events, notes, on_note)


def _together() -> Ranks | None:
    """The processes that torchrun started; None, and no torch yet, where this is the only one."""
    if this_process().count == 1:
        return None
    from chargen.training.distributed import init_distributed

    return init_distributed()


def _replayed(value: Any, tokenizer: Tokenizer) -> tuple[TextOptions, Tokenizer, dict[str, Any]]:
    """How the other text of a run was read, and what it was."""
    if not isinstance(value, dict) or not isinstance(value.get("options"), dict):
        raise CorpusError("the run does not say how its other text was read")
    options, card = options_from_json(value["options"]), value.get("card")
    return options, tokenizer, card if isinstance(card, dict) else {}


def _with_notes(
    events: Iterator[TrainEvent], notes: Sequence[str], on_note: Callable[[str], None]
) -> Iterator[TrainEvent]:
    """The events; what is to be said of the text is said once the plan is made."""
    for event in events:
        if isinstance(event, Planned):
            for note in notes:
                on_note(note)
        yield event
