"""What a run is doing or how it ended, and how good it is, also when it could not say so itself.

run.json is written when a run begins and ends. A process that was killed leaves "training" there:
the lock of the folder tells whether it still trains, and the model's card and the metrics tell how
far it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chargen.errors import ChargenError
from chargen.files import is_locked, is_plain_number, parse_json
from chargen.model.checkpoint import read_card
from chargen.model.runs import FAILED, METRICS, MODEL, RUN, TRAINING, TRAINING_NOW, read_run

KILLED = "killed"
_TAIL_BYTES = 1 << 16
"""The end of metrics.jsonl that holds its last line."""


def describe_run(folder: Path) -> dict[str, Any]:
    """run.json of a run, with `status`, `steps`, `seconds` and `validation` as they are now."""
    record = read_run(folder)
    status = record.get("status")
    if not (folder / RUN).exists() and (folder / TRAINING).exists():
        status = TRAINING_NOW  # killed, or training, before it could write what it is
    if status not in (TRAINING_NOW, FAILED):
        return record
    if status == TRAINING_NOW and not is_locked(folder):
        status = KILLED
    last = _last_metrics(folder)
    card = _card(folder)
    return {
        **record,
        "status": status,
        "steps": last.get("step", record.get("steps")),
        "seconds": last.get("seconds", record.get("seconds")),
        "validation": card.get("validation", record.get("validation")),
    }


def _card(folder: Path) -> Mapping[str, Any]:
    try:
        return read_card(folder / MODEL)
    except (ChargenError, OSError):
        return {}


def _last_metrics(folder: Path) -> dict[str, Any]:
    """The last whole line of metrics.jsonl that tells a time; empty if there is none."""
    try:
        with (folder / METRICS).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            value = parse_json(line.decode("utf-8"))
        except ValueError:
            continue
        if isinstance(value, dict) and is_plain_number(value.get("seconds")):
            return value
    return {}
