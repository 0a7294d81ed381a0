"""`distil`: an iterator of events, as `train` (see train_api.py). The command calls it too."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from chargen import hints
from chargen.api import Model, load
from chargen.errors import CorpusError, UsageError
from chargen.hints import option, ways
from chargen.iterator import TrainEvents, check_arguments
from chargen.model.claims import claim_folder
from chargen.model.extend_weights import lineage
from chargen.model.runs import CHECKPOINTS, MODEL, run_name
from chargen.own_corpus import options_by_card, options_of, options_of_run
from chargen.text.corpus import Watcher, unwatched
from chargen.text.dataset import Dataset
from chargen.text.finetune_dataset import open_known_dataset
from chargen.text.moved import find_moved
from chargen.text.reopen import is_on_this_machine, reopen_dataset
from chargen.text.text_options import TEACHER_PATH, TextOptions, options_to_json
from chargen.text.unseen import warn_of_unseen
from chargen.train_api import (
    DISTILS_ALONE,
    CorpusNames,
    Training,
    corpus_names,
    divide_settings,
    remember_dataset,
    training_events,
)
from chargen.training.clock import RunClock
from chargen.training.config import check_settings
from chargen.training.events import TrainEvent
from chargen.training.launch import this_process

DEFAULT_TEACHER_SHARE = 0.5
_OF_THE_TEACHER = (
    *("--tokenizer", "--vocab-size", "--pattern"),
    *("--corpus", "--valid", "--allow-changed-corpus"),
)
"""Options of training that the teacher and its text decide."""


def distil(
    model: str | os.PathLike[str],
    *,
    text: CorpusNames = (),
    run: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_note: Callable[[str], None] = warn_of_unseen,
    on_reading: Watcher = unwatched,
    should_stop: Callable[[], bool] = lambda: False,
    memory: bool = True,
    **settings: Any,
) -> TrainEvents:
    """Makes one network that predicts as a model does; yields events while it goes.

    The student learns from what the model, its teacher, predicts at each position of the model's
    training text, and from the text itself (see training/distillation.py).

    Args:
        model: the teacher, as for `load`; it is not changed.
        text: a corpus to read instead of the teacher's own, read and divided as that was.
        run: as for `train`; None makes a name from the teacher's: `bard-distilled`.
        out: as for `train`.
        overwrite: as for `train`.
        on_note: is given what a person should know, a line each; without it, characters that the
            model never saw are told as an `UnseenWarning`.
        on_reading: is told how far reading and encoding of the text are.
        should_stop: asked after every step; when true, the run is saved and ends.
        memory: as for `train`.
        settings: as for `train`, but for those of the text. `teacher_share` is the teacher's share
            of the loss. One group is planned.

    Raises:
        UsageError: a setting is unknown or out of range; the run exists, or is the teacher's.
        ModelFileError: the model is missing or damaged.
        CorpusError: the teacher's text is gone or has changed, or `text` cannot be read.
        ChargenError: training or writing failed.
    """
    check_arguments(run, out, on_note=on_note, on_reading=on_reading, should_stop=should_stop)

    def prepare(cleanup: ExitStack) -> Training:
        clock = cleanup.enter_context(RunClock())
        if this_process().count > 1:
            raise UsageError(DISTILS_ALONE)
        text_settings, given = divide_settings(settings)
        if text_settings:
            name = sorted(text_settings)[0].replace("_", "-")
            raise UsageError(f"{name}: a student reads as its teacher did; leave it out")
        given.setdefault("groups", 1)
        given.setdefault("teacher_share", DEFAULT_TEACHER_SHARE)
        check_settings(given)
        teacher = load(model)
        assert teacher.path is not None
        _check_other_folder(teacher.path, run, out)
        claim = claim_folder(
            (), base=teacher.path, stem="distilled", run=run, out=out, overwrite=overwrite
        )
        cleanup.callback(claim.close)
        folder, names = claim.folder, corpus_names(text)
        if names:
            options, dataset = _open_other_text(teacher, names, on_reading)
        else:
            options, dataset = _reopen_text(teacher, on_reading)
        given.setdefault("shuffle", options.documents != "whole")
        dataset.keep_for(folder)
        # The path stays in the run's folder: the model file, with its card, is given to others.
        source = {**options_to_json(options), TEACHER_PATH: str(teacher.path.absolute())}
        card = {**dataset.card, "teacher": _described(teacher)}

        def start() -> Iterator[TrainEvent]:
            from chargen.training.session import RunText, train_run

            return train_run(
                folder,
                RunText(tokenizer=dataset.tokenizer, train=dataset.train, valid=dataset.valid),
                card=card if memory else {**card, "memory": False},
                source=source,
                given=given,
                should_stop=should_stop,
                clock=clock,
                claim=claim,
                teacher=teacher.file,
            )

        remember = partial(remember_dataset, folder, dataset, wanted=memory)
        return Training(start=start, notes=dataset.notes, remember=remember)

    limits = partial(hints.limited, without=_OF_THE_TEACHER)
    return TrainEvents(training_events(prepare, on_note, limits))


def _reopen_text(model: Model, watcher: Watcher) -> tuple[TextOptions, Dataset]:
    """The text that a model was trained on, divided as then, and how it was read.

    It comes from the cache, or from the files where they lie unchanged: where the run says, or
    under their names near the model.

    Raises:
        CorpusError: it is gone or has changed, or nothing tells where it was.
    """
    entries = model.card.get("corpus")
    entries = entries if isinstance(entries, list) else []
    options = options_of_run(model)
    if options is None:
        # A card has the names of files without their folders.
        names = [str(entry.get("name")) for entry in entries if isinstance(entry, dict)]
        near = tuple(PurePosixPath(name).name for name in names if is_on_this_machine(name))
        by_card = options_of(model)
        options = None if by_card is None or not near else replace(by_card, corpus=near)
    if options is None or not entries:
        way = ways(("name it with", option("--text", "FILE")))
        raise CorpusError(f"{model.path}: does not tell what its training text was{way}")
    folder = Path() if model.path is None else model.path.parent
    options = find_moved(options, folder, model.card)
    tokenizer = model.file.build_tokenizer()
    dataset = reopen_dataset(options, tokenizer, model.card, allow_changed=False, watcher=watcher)
    return options, dataset


def _open_other_text(
    model: Model, corpus: Sequence[str], watcher: Watcher
) -> tuple[TextOptions, Dataset]:
    """Another text, read and divided as that of a model was, and how that is.

    Its end validates where another text validated the model.

    Raises:
        CorpusError: it cannot be read, or is too short.
    """
    options = replace(options_of(model) or options_by_card(model), corpus=tuple(corpus), valid=None)
    return options, open_known_dataset(options, model.file.build_tokenizer(), watcher)


def _described(teacher: Model) -> dict[str, object]:
    """The entry of a student's card about its teacher: name, card, shape and the file's hash."""
    assert teacher.path is not None
    with teacher.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    shape = teacher.config.to_json()
    return {**lineage(teacher.card, run_name(teacher.path)), "config": shape, "sha256": digest}


def _check_other_folder(path: Path, run: str | None, out: str | os.PathLike[str] | None) -> None:
    """Raises an error if the student's run would lie where its teacher lies."""
    if run is None and out is None:
        return
    folder = Path(out or CHECKPOINTS) / (run or "")
    with suppress(OSError, ValueError):  # whatever is wrong with the name is told later
        if (folder / MODEL).samefile(path):
            way = ways(("choose another", option("--run", "NAME")))
            raise UsageError(f"{folder}: a student cannot replace its teacher{way}")
