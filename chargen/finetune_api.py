"""`finetune`: an iterator of events, as `train` (see train_api.py). The command calls it too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from chargen import hints
from chargen.api import load
from chargen.choose_base import starting_model
from chargen.errors import UsageError
from chargen.iterator import TrainEvents, check_arguments
from chargen.model.claims import claim_folder
from chargen.model.extend_weights import extend_weights, lineage, shape_difference
from chargen.model.runs import run_name
from chargen.text.corpus import Watcher, unwatched
from chargen.text.corpus_tokenizer import form_of
from chargen.text.finetune_dataset import open_finetune_dataset, open_known_dataset
from chargen.text.text_options import (
    BASE_PATH,
    REPLAY,
    TextOptions,
    documents_of,
    options_to_json,
)
from chargen.text.unseen import warn_of_unseen
from chargen.train_api import (
    FINETUNES_ALONE,
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

DEFAULT_REPLAY_SHARE = 0.8
_OF_THE_BASE = ("--tokenizer", "--vocab-size", "--pattern", "--hidden-size")
"""Options of training that are the base's: another value is refused."""


def finetune(
    model: str | os.PathLike[str] | None,
    corpus: CorpusNames,
    *,
    run: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    vocabulary: str = "extend",
    extend_vocab: int = 0,
    replay: str | os.PathLike[str] | None = None,
    on_note: Callable[[str], None] = warn_of_unseen,
    on_reading: Watcher = unwatched,
    should_stop: Callable[[], bool] = lambda: False,
    memory: bool = True,
    **settings: Any,
) -> TrainEvents:
    """Goes on training a model on another text; yields events while it goes.

    Args:
        model: as for `load`; it is not changed. None is the model in the box that predicts the
            beginning of the corpus best.
        corpus: as for `train`.
        run: as for `train`; None makes a name from the model's and the corpus's.
        out: as for `train`.
        overwrite: as for `train`.
        vocabulary: `extend` adds the characters that the model lacks, `keep` reads the nearest
            character that it has instead.
        extend_vocab: pieces to add to a subword model, for words of the corpus.
        replay: a corpus, best the model's own, that a share of the batch rows (`replay_share`,
            four fifths by default) goes on reading.
        on_note: is given what a person should know, a line each; without it, characters that the
            model never saw are told as an `UnseenWarning`.
        on_reading: is told how far reading and encoding of the corpus are.
        should_stop: asked after every step; when true, the run is saved and ends.
        memory: as for `train`.
        settings: as for `train`; what decides the model's shape must be the model's.

    Raises:
        UsageError: a setting is unknown, out of range, or not the model's; or the run exists.
        ModelFileError: the model is missing or damaged.
        CorpusError: the corpus cannot be read, is too short, or has nothing that the model knows.
        ChargenError: training or writing failed.
    """
    check_arguments(run, out, on_note=on_note, on_reading=on_reading, should_stop=should_stop)

    def prepare(cleanup: ExitStack) -> Training:
        clock = cleanup.enter_context(RunClock())
        if this_process().count > 1:
            raise UsageError(FINETUNES_ALONE)
        names = corpus_names(corpus)
        if not names:
            raise UsageError("name a CORPUS to fine-tune on")
        text_settings, given = divide_settings(settings)
        if replay is not None:
            given.setdefault("replay_share", DEFAULT_REPLAY_SHARE)
        elif given.get("replay_share"):
            which = hints.option("--replay", "CORPUS")
            raise UsageError(f"--replay-share: say which text with {which}")
        check_settings(given)
        chosen: list[str] = []
        if model is None:
            base, line = starting_model(TextOptions(corpus=names, **text_settings))
            chosen.append(line)
        else:
            base = load(model)
        assert base.path is not None
        kind, asked = base.file.tokenizer.kind, text_settings.pop("tokenizer", None)
        if asked not in (None, kind):
            raise UsageError(
                f"--tokenizer {asked}: the base reads {kind} tokens; leave it out, or train a "
                "model of its own"
            )
        problem = shape_difference(base.config, given)
        if problem is not None:
            raise UsageError(f"{problem}; leave it out, or train a model of its own")
        if "separator" not in text_settings and "documents" not in text_settings:
            text_settings |= documents_of(base.card)
        if kind == "regex":
            text_settings.setdefault("pattern", base.file.tokenizer.settings.get("pattern"))
        text_settings.setdefault("normalize", form_of(base.tokenizer))
        options = TextOptions(corpus=names, tokenizer=kind, **text_settings)
        given.setdefault("shuffle", options.documents != "whole")
        claim = claim_folder(names, base=base.path, run=run, out=out, overwrite=overwrite)
        cleanup.callback(claim.close)
        folder = claim.folder
        tuned = open_finetune_dataset(
            options, base.tokenizer, vocabulary=vocabulary, pieces=extend_vocab, watcher=on_reading
        )
        dataset, notes = tuned.dataset, [*chosen, *tuned.dataset.notes]
        source, replayed = options_to_json(options), None
        if replay is not None:
            replay_options = replace(options, corpus=(os.fspath(replay),), valid=None)
            replayed = open_known_dataset(replay_options, dataset.tokenizer, on_reading)
            source[REPLAY] = {"options": options_to_json(replay_options), "card": replayed.card}
            notes += [type(note)(f"replay: {note}") for note in replayed.notes]
            replayed.keep_for(folder)
        dataset.keep_for(folder)
        # The path stays in the run's folder: the model file, with its card, is given to others.
        source[BASE_PATH] = str(base.path.absolute())
        card = {**dataset.card, "base": lineage(base.card, run_name(base.path))}

        def start() -> Iterator[TrainEvent]:
            from chargen.training.finetune import finetune_run
            from chargen.training.session import Replay, RunText

            text = RunText(
                tokenizer=dataset.tokenizer,
                train=dataset.train,
                valid=dataset.valid,
                replay=None
                if replayed is None
                else Replay(train=replayed.train, valid=replayed.valid),
            )
            return finetune_run(
                folder,
                text,
                base=extend_weights(base.file, tuned.extension, tuned.counts),
                new_tokens=sorted(tuned.extension.donors),
                card=card,
                source=source,
                given=given,
                should_stop=should_stop,
                clock=clock,
                claim=claim,
            )

        remember = partial(remember_dataset, folder, dataset, wanted=memory)
        return Training(start=start, notes=notes, remember=remember)

    limits = partial(hints.limited, without=_OF_THE_BASE)
    return TrainEvents(training_events(prepare, on_note, limits))
