"""`train` and `resume`: iterators of events. The commands call these functions.

torch is imported when one of them begins to train, and not before. Nothing of the host changes:
training runs with torch settings of its own, which are swapped in and out around each event.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chargen import hints
from chargen.api import load
from chargen.choose_base import advice
from chargen.errors import ChargenError, CorpusError, UsageError
from chargen.inference.memory_file import memory_path
from chargen.iterator import TrainEvents, check_arguments
from chargen.model.claims import claim_folder
from chargen.model.runs import MODEL, TRAINING, locate_run
from chargen.text.corpus import Watcher, unwatched
from chargen.text.dataset import Dataset, open_dataset
from chargen.text.moved import find_moved, with_corpus
from chargen.text.reopen import reopen_dataset
from chargen.text.text_options import (
    REPLAY,
    TextOptions,
    options_from_json,
    options_to_json,
)
from chargen.text.unseen import warn_of_unseen
from chargen.training.clock import RunClock
from chargen.training.config import check_settings
from chargen.training.events import Finished, Planned, TrainEvent
from chargen.training.launch import this_process

if TYPE_CHECKING:
    from chargen.training.distributed import Ranks

FINETUNES_ALONE = "fine-tuning runs in one process; start it without torchrun"
DISTILS_ALONE = "distilling runs in one process; start it without torchrun"
_KEPT_CARD_KEYS = {"base", "before", "old_text", "teacher", "memory"}
"""What fine-tuning and distilling add to a card, and whether a run goes without a memory."""
_RESUME_OPTIONS = (
    *("--allow-changed-corpus", "--corpus", "--valid"),
    *("--minutes", "--epochs", "--steps"),
)
"""All that a resumed run can be given."""

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "tuple[str, ...]": ((str, list, tuple), "a list of texts"),
}
"""Of the settings that say how a text is read: which values they take, by their annotation."""
_MIN_ADVISED_MINUTES = 0.5
"""A shorter training is over before advice is read."""
_TORCH = threading.RLock()
"""Held while torch has the settings of one training."""
CorpusNames = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training that is ready to start."""

    start: Callable[[], Iterator[TrainEvent]]
    notes: Sequence[str]
    """What a person should be told about the text."""
    remember: Callable[[], str | None] = lambda: None
    """Gives the trained model its memory, and returns a line about it."""


def train(
    corpus: CorpusNames = (),
    *,
    run: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_note: Callable[[str], None] = warn_of_unseen,
    on_reading: Watcher = unwatched,
    should_stop: Callable[[], bool] = lambda: False,
    memory: bool = True,
    **settings: Any,
) -> TrainEvents:
    """Trains a model and keeps its run folder up to date; yields events while it goes.

    The first event is `Planned`, the last is `Finished`; `steps()` of the result gives the steps
    alone. To stop early, let `should_stop` return true: the run is saved and can be resumed.
    Leaving the loop by `break` ends it as a crash would: what was saved last, at most about 20
    seconds before, is kept.

    Args:
        corpus: files, folders, `builtin:NAME`, `hf:DATASET`; nothing is the built-in corpus.
        run: name of the run below `checkpoints`; None makes one from the corpus's name.
        out: a folder instead of `checkpoints`; without `run`, the run's own folder.
        overwrite: replaces a run of that name.
        on_note: is given what a person should know, a line each; without it, characters that the
            model never saw are told as an `UnseenWarning`.
        on_reading: is told how far reading and encoding of the corpus are.
        should_stop: asked after every step; when true, the run is saved and ends.
        memory: whether the model gets a memory of counts of its text at the end.
        settings: fields of `TextOptions`, `ModelConfig` and `TrainConfig`, and `epochs`; what is
            left out, or None, is planned.

    Raises:
        UsageError: a setting is unknown or out of range, or the run exists.
        CorpusError: the corpus cannot be read, or is too short.
        ChargenError: training or writing failed.
    """
    check_arguments(run, out, on_note=on_note, on_reading=on_reading, should_stop=should_stop)

    def prepare(cleanup: ExitStack) -> Training:
        clock = cleanup.enter_context(RunClock())
        names = corpus_names(corpus)
        text_settings, given = divide_settings(settings)
        check_settings(given)
        options = TextOptions(corpus=names, **text_settings)
        given.setdefault("shuffle", options.documents != "whole")
        process = this_process()
        if process.count > 1 and "-" in (*names, options.valid):
            raise UsageError(f"'-': {process.count} processes cannot all read a pipe; give a file")
        claim, folder = None, Path()  # the first process's; the others write nothing
        if process.is_first:
            name = None if run is None else os.fspath(run)
            claim = claim_folder(names, run=name, out=out, overwrite=overwrite)
            cleanup.callback(claim.close)
            folder = claim.folder
        notes: list[str] = []
        takes_long = given.get("minutes", _MIN_ADVISED_MINUTES) >= _MIN_ADVISED_MINUTES
        is_told = on_note is not warn_of_unseen and process.count == 1
        if is_told and takes_long and not {"steps", "epochs"} & given.keys():
            notes += advice(options)
        ranks = _distributed()
        # The first process encodes the text, the others find it in the cache.
        read = partial(open_dataset, options, on_reading if process.is_first else unwatched)
        dataset = ranks.rank0_first(read) if ranks else read()
        if process.is_first:
            dataset.keep_for(folder)

        def start() -> Iterator[TrainEvent]:
            from chargen.training.session import RunText, train_run

            return train_run(
                folder,
                RunText(tokenizer=dataset.tokenizer, train=dataset.train, valid=dataset.valid),
                card=dataset.card if memory else {**dataset.card, "memory": False},
                source=options_to_json(options),
                given=given,
                should_stop=should_stop,
                clock=clock,
                ranks=ranks,
                claim=claim,
            )

        return Training(
            start=start,
            notes=[*notes, *dataset.notes],
            remember=partial(remember_dataset, folder, dataset, wanted=memory),
        )

    return TrainEvents(training_events(prepare, on_note))


def resume(
    run: str | os.PathLike[str] | None = None,
    *,
    corpus: CorpusNames = (),
    valid: str | os.PathLike[str] | None = None,
    allow_changed_corpus: bool = False,
    on_note: Callable[[str], None] = warn_of_unseen,
    on_reading: Watcher = unwatched,
    should_stop: Callable[[], bool] = lambda: False,
    memory: bool = True,
    minutes: float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
) -> TrainEvents:
    """Goes on with a run: exactly where it stopped, or, with a length, that much longer.

    Args:
        run: a run's folder, or its name below `checkpoints`; None is the newest.
        corpus: where its text lies now; nothing looks where it was, and then near the run.
        valid: where its validation text lies now, if another text validates it.
        allow_changed_corpus: if the corpus changed since, takes it as it is now.
        on_note: is given what a person should know, a line each; without it, characters that the
            model never saw are told as an `UnseenWarning`.
        on_reading: is told how far reading and encoding of the corpus are.
        should_stop: asked after every step; when true, the run is saved and ends.
        memory: as for `train`.
        minutes: trains so long from here, with a warm-up and a decay of its own; or
        epochs: so many passes; or
        steps: so many steps.

    Raises:
        ModelFileError: there is no such run, or its state is damaged.
        CorpusError: the corpus changed or is gone, and is not in the cache.
        UsageError: the run is over and no length was given; or another process has it.
        ChargenError: training or writing failed.
    """
    check_arguments(run, None, on_note=on_note, on_reading=on_reading, should_stop=should_stop)

    def prepare(cleanup: ExitStack) -> Training:
        clock = cleanup.enter_context(RunClock())
        lengths = {"minutes": minutes, "epochs": epochs, "steps": steps}
        given = {name: value for name, value in lengths.items() if value is not None}
        check_settings(given)
        folder = locate_run(None if run is None else os.fspath(run))
        ranks = _distributed()
        from chargen.training.snapshot import load_snapshot

        snapshot = load_snapshot(folder / TRAINING)
        if ranks is not None:
            if REPLAY in snapshot.text:
                raise UsageError(f"{folder}: {FINETUNES_ALONE}")
            if snapshot.plan.teacher is not None:
                raise UsageError(f"{folder}: {DISTILS_ALONE}")
            ranks.barrier()  # nobody saves before all have read the state
        tokenizer = snapshot.build_tokenizer()
        reopen = partial(reopen_dataset, allow_changed=allow_changed_corpus, watcher=on_reading)
        options = with_corpus(
            options_from_json(snapshot.text),
            corpus_names(corpus),
            None if valid is None else os.fspath(valid),
        )
        options = find_moved(options, folder, snapshot.card)
        dataset = reopen(options, tokenizer, snapshot.card)
        text_record = {**snapshot.text, **options_to_json(options)}
        notes, replayed = list(dataset.notes), None
        if REPLAY in snapshot.text:
            replay_options, replay_card = _replay_options(snapshot.text[REPLAY])
            replay_options = find_moved(replay_options, folder, replay_card)
            replayed = reopen(replay_options, tokenizer, replay_card, movable=False)
            notes += [type(note)(f"replay: {note}") for note in replayed.notes]
            replayed.keep_for(folder)
        if this_process().is_first:
            dataset.keep_for(folder)
        kept = _KEPT_CARD_KEYS & snapshot.card.keys()
        card = {**dataset.card, **{key: snapshot.card[key] for key in kept}}

        def start() -> Iterator[TrainEvent]:
            from chargen.training.session import Replay, RunText, resume_run

            text = RunText(
                tokenizer=tokenizer,
                train=dataset.train,
                valid=dataset.valid,
                replay=None
                if replayed is None
                else Replay(train=replayed.train, valid=replayed.valid),
            )
            return resume_run(
                folder,
                replace(snapshot, text=text_record),
                text,
                card=card,
                given=given,
                should_stop=should_stop,
                clock=clock,
                ranks=ranks,
            )

        wanted = memory and card.get("memory") is not False
        return Training(
            start=start,
            notes=notes,
            remember=partial(remember_dataset, folder, dataset, wanted=wanted),
        )

    limits = partial(hints.limited, only=_RESUME_OPTIONS)
    return TrainEvents(training_events(prepare, on_note, limits))


def training_events(
    prepare: Callable[[ExitStack], Training],
    on_note: Callable[[str], None],
    limits: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Generator[TrainEvent]:
    """Prepares the text, then trains; tells the notes about the text once the plan is made.

    What `prepare` leaves to its argument is done at the end, also after an error.

    The host may draw random numbers, change the number of threads, or train another model between
    two events: neither side sees the other's torch settings, also after an error. Trainings in
    several threads take turns, an event each. `limits` leaves out of messages what cannot be done.
    """
    with ExitStack() as cleanup:
        with limits():
            training = prepare(cleanup)
        from chargen.training.device import TorchSettings, preserved_torch_settings

        events: Iterator[TrainEvent] | None = None
        settings: TorchSettings | None = None
        process = os.getpid()
        try:
            while True:
                if os.getpid() != process:
                    raise ChargenError(
                        "this training belongs to the process that this one was forked from; "
                        "begin another one, with another run name"
                    )
                with limits(), _TORCH, preserved_torch_settings():
                    if settings is not None:
                        settings.restore()
                    if events is None:
                        events = training.start()
                    try:
                        event = next(events)
                    except StopIteration:
                        return
                    settings = TorchSettings()
                    if isinstance(event, Finished) and event.reason != "interrupted":
                        event = replace(event, memory=training.remember())
                if isinstance(event, Planned):
                    for note in training.notes:
                        on_note(note)
                yield event
        finally:
            if isinstance(events, Generator) and os.getpid() == process:
                with _TORCH, preserved_torch_settings():
                    events.close()


def remember_dataset(folder: Path, dataset: Dataset, *, wanted: bool) -> str | None:
    """Gives the model of a run its memory, or removes that of the model that it replaced.

    Args:
        folder: of the run.
        dataset: its text.
        wanted: whether it shall have one. Only the first of several processes writes.

    Returns:
        A line about it.
    """
    from chargen.remember import remember_run

    if not this_process().is_first:
        return None
    if not wanted:
        with suppress(OSError):
            memory_path(folder / MODEL).unlink(missing_ok=True)
        return None
    try:
        return remember_run(load(folder), dataset.train, dataset.valid)
    except ChargenError as error:
        return f"no memory: {error}"


def corpus_names(corpus: CorpusNames) -> tuple[str, ...]:
    """The CORPUS arguments as they would be spelled on the command line."""
    names: Any = [corpus] if isinstance(corpus, str | os.PathLike) else corpus
    if not isinstance(names, Iterable) or isinstance(names, bytes):
        raise UsageError(f"corpus {corpus!r}: give the name of a file, or a list of names")
    for name in names:
        if not isinstance(name, str | os.PathLike):
            raise UsageError(f"corpus {name!r}: is not the name of a file")
    return tuple(os.fspath(name) for name in names)


def divide_settings(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that were given: those of `TextOptions`, and the others."""
    given = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in settings.items()
        if value is not None
    }
    text_fields = {field.name: str(field.type) for field in fields(TextOptions)}
    text_settings = {name: given.pop(name) for name in text_fields.keys() & given.keys()}
    if isinstance(text_settings.get("valid"), os.PathLike):
        text_settings["valid"] = os.fspath(text_settings["valid"])
    for name, value in text_settings.items():
        kinds, words = _KINDS[text_fields[name].removesuffix(" | None")]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"{name.replace('_', '-')} {value!r}: must be {words}")
    return text_settings, given


def _distributed() -> Ranks | None:
    """The processes that torchrun started; None, and no torch yet, where this is the only one."""
    if this_process().count == 1:
        return None
    from chargen.training.distributed import init_distributed

    return init_distributed()


def _replay_options(value: Any) -> tuple[TextOptions, dict[str, Any]]:
    """How the other text of a run was read, and its card."""
    if not isinstance(value, dict) or not isinstance(value.get("options"), dict):
        raise CorpusError("the run does not say how its other text was read")
    options, card = options_from_json(value["options"]), value.get("card")
    return options, card if isinstance(card, dict) else {}
