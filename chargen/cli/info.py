"""chargen info: what a model or a run is; with --devices, what this machine can train with."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chargen._version import __version__
from chargen.cli.options import MODEL, json_option, terminal_options, write_json
from chargen.errors import ModelFileError, UsageError
from chargen.files import is_plain_number
from chargen.model.config import ModelConfig
from chargen.model.extend_weights import ANCESTORS
from chargen.terminal.context import Terminal
from chargen.terminal.safetext import safe_line

if TYPE_CHECKING:
    from chargen.model.checkpoint import ModelFile

_MAX_ANCESTORS = 20
_MAX_CORPORA_OF_ANCESTOR = 3


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option(
    "--devices",
    is_flag=True,
    help="Show versions, this machine's devices, and which of them training would use.",
)
@json_option
@terminal_options
def command(model: str | None, devices: bool, as_json: bool, terminal: Terminal) -> None:
    """Show what a model or a run is, or what this machine can train with.

    MODEL is a model file, a run folder or a run's name; without MODEL, the newest run. The
    whole file is read and checked: exit code 3 means that it is damaged or not a model.
    """
    from chargen.model.checkpoint import load_model
    from chargen.model.runs import locate_model
    from chargen.text.corpus_tokenizer import labels_of

    if devices:
        _show_machine(as_json, terminal)
        return
    path = locate_model(model)
    file = load_model(path)
    tokenizer = file.build_tokenizer()
    if as_json:
        value = {
            "path": str(path),
            "config": file.config.to_json(),
            "parameters": file.config.num_parameters,
            "tokenizer": file.tokenizer.kind,
            "labels": list(labels_of(tokenizer)),
            "memory": _memory_card(path, file),
            "card": file.card,
        }
        write_json(terminal, value)
        return
    config = file.config
    rows: list[tuple[str, Any]] = [
        ("file", path),
        ("model", f"{config.cell_row.label}, {config.units_label}"),
        ("embedding", f"{config.embedding_size}{', tied to the head' if config.tied_head else ''}"),
        ("weights", f"{config.num_parameters:,}"),
        ("tokenizer", f"{file.tokenizer.kind}, {tokenizer.vocab_size} tokens"),
        *([("labels", ", ".join(labels_of(tokenizer)))] if labels_of(tokenizer) else []),
        *_card_rows(file.card),
        *_memory_rows(path, file),
    ]
    for label, value in rows:
        terminal.write_line(safe_line(f"{label:<13}{value}"))


def _memory_card(path: Path, file: ModelFile) -> dict[str, Any] | None:
    from chargen.inference.memory_file import load_memory, memory_path

    try:
        return dict(load_memory(memory_path(path), file).card)
    except ModelFileError:
        return None


def _memory_rows(path: Path, file: ModelFile) -> list[tuple[str, Any]]:
    """What the counts beside the network are, and what they bring."""
    from chargen.inference.memory_file import load_memory, memory_path

    beside = memory_path(path)
    if not beside.exists():
        return []
    try:
        memory = load_memory(beside, file)
    except ModelFileError as error:
        return [("memory", f"none: {error}")]
    counts, static = memory.counts, memory.card.get("static")
    rows = [("memory", f"{counts.bytes / 1e6:.1f} MB of counts, of up to {counts.longest} tokens")]
    if isinstance(static, dict):
        figures = ", ".join(f"{name} {static[name]:.4f}" for name in static)
        judged = memory.card.get("judged_tokens")
        rows.append(("", f"{figures} nats per token, on {judged:,} tokens of its validation part"))
    return rows


def _show_machine(as_json: bool, terminal: Terminal) -> None:
    """Show the versions and the devices: all that a report of a fault needs."""
    from chargen.training.device import describe_devices

    rows = [*_versions(), *describe_devices()]
    if as_json:
        write_json(terminal, dict(rows))
        return
    for label, value in rows:
        terminal.write_line(safe_line(f"{label:<14}{value}"))


def _versions() -> list[tuple[str, str]]:
    """Name and version of chargen and of what it runs on."""
    return [
        ("chargen", __version__),
        ("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("torch", version("torch")),
        ("numpy", version("numpy")),
        ("platform", platform.platform()),
    ]


def _card_rows(card: dict[str, Any]) -> list[tuple[str, Any]]:
    """Labels and values of a card; values of a wrong type are left out."""
    rows: list[tuple[str, Any]] = []
    for corpus in _dicts(card.get("corpus")):
        digest = str(corpus.get("sha256", ""))[:12]
        size = corpus.get("bytes")
        shown_size = f"{size:,}" if is_plain_number(size) else "?"
        rows.append(("corpus", f"{corpus.get('name')}, {shown_size} bytes, SHA-256 {digest}…"))
    about = card.get("about")
    if isinstance(about, dict):
        rows += [(str(label), text) for label, text in about.items()]
    score = card.get("validation")
    if isinstance(score, dict):
        bits, nats = score.get("bits_per_byte"), score.get("nats_per_token")
        if is_plain_number(bits) and is_plain_number(nats):
            rows.append(("validation", f"{bits:.4f} bits per byte, {nats:.4f} nats per token"))
    rows += _finetuning_rows(card)
    labels = {"documents": "documents", "steps": "steps", "seed": "seed"}
    labels |= {"weights": "weights", "chargen": "chargen"}
    # The file calls the EMA weights averaged.
    shown = {"averaged weights": "EMA weights"}
    rows += [
        (label, shown.get(str(card[key]), card[key]))
        for key, label in labels.items()
        if key in card
    ]
    return rows


def _finetuning_rows(card: dict[str, Any]) -> list[tuple[str, Any]]:
    """Scores before and after fine-tuning, and the models that this one came or learned from."""
    rows: list[tuple[str, Any]] = []
    score_before = _bits(card.get("before"))
    if score_before:
        rows.append(("before", f"{score_before}, by the base"))
    old_text = card.get("old_text")
    if isinstance(old_text, dict):
        before, after = (_bits(old_text.get(key)) or "?" for key in ("before", "after"))
        rows.append(("old text", f"{before} before, {after} after"))
    for _ in range(_MAX_ANCESTORS):
        label = next((key for key in ANCESTORS if isinstance(card.get(key), dict)), None)
        if label is None:
            break
        ancestor = card[label]
        card = ancestor["card"] if isinstance(ancestor.get("card"), dict) else {}
        names = [str(corpus.get("name")) for corpus in _dicts(card.get("corpus"))]
        listed = ", ".join(names[:_MAX_CORPORA_OF_ANCESTOR])
        if len(names) > _MAX_CORPORA_OF_ANCESTOR:
            listed += f" and {len(names) - _MAX_CORPORA_OF_ANCESTOR} more"
        score = _bits(card.get("validation"))
        told = [f"{ancestor.get('name')}: {listed}", *([score] if score else [])]
        rows.append((label, "; ".join([*told, *_teacher_file(ancestor)])))
    return rows


def _teacher_file(teacher: dict[str, Any]) -> list[str]:
    """Size and hash of a teacher's file; nothing of a base, whose entry has none."""
    told = []
    with suppress(UsageError):
        told.append(ModelConfig.from_json(teacher.get("config")).units_label)
    if isinstance(teacher.get("sha256"), str):
        told.append(f"SHA-256 {teacher['sha256'][:12]}…")
    return told


def _dicts(value: Any) -> list[dict[str, Any]]:
    """The dictionaries in a list; none if the value is no list."""
    items = value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict)]


def _bits(score: Any) -> str:
    """The bits per byte of a score of a card, in words; empty if it has none."""
    bits = score.get("bits_per_byte") if isinstance(score, dict) else None
    return f"{bits:.4f} bits per byte" if is_plain_number(bits) else ""
