"""chargen info."""

from __future__ import annotations

import json
from typing import Any

import click

from chargen.cli.options import MODEL, json_option, terminal_options
from chargen.terminal.context import Terminal
from chargen.terminal.progress import is_figure
from chargen.terminal.safetext import safe_line

_GENERATIONS = 20


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option("--devices", is_flag=True, help="What training would use here, and why.")
@json_option
@terminal_options
def command(model: str | None, devices: bool, as_json: bool, terminal: Terminal) -> None:
    """What a model file or a run is.

    MODEL is a model file, a run folder or a run's name; left out, it is the newest run. The file
    is read and checked as a whole: exit code 3 says that it is damaged or not a model.
    """
    from chargen.model.checkpoint import load_model
    from chargen.model.runs import locate_model

    if devices:
        _tell_devices(as_json, terminal)
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
            "card": file.card,
        }
        terminal.out.write(json.dumps(value) + "\n")
        return
    config = file.config
    rows: list[tuple[str, Any]] = [
        ("file", path),
        ("model", f"{config.cell_row.label}, {config.units_label}"),
        ("embedding", f"{config.embedding_size}{', tied to the head' if config.tied_head else ''}"),
        ("weights", f"{config.num_parameters:,}"),
        ("tokenizer", f"{file.tokenizer.kind}, {tokenizer.vocab_size} tokens"),
        *_card_rows(file.card),
    ]
    for label, value in rows:
        terminal.write_line(safe_line(f"{label:<12}{value}"))


def _tell_devices(as_json: bool, terminal: Terminal) -> None:
    from chargen.training.device import describe_devices

    rows = describe_devices()
    if as_json:
        terminal.out.write(json.dumps(dict(rows)) + "\n")
        return
    for label, value in rows:
        terminal.write_line(safe_line(f"{label:<14}{value}"))


def _card_rows(card: dict[str, Any]) -> list[tuple[str, Any]]:
    """What the card says, as far as it is what it should be: it may be anybody's."""
    rows: list[tuple[str, Any]] = []
    corpora = card.get("corpus")
    for one in corpora if isinstance(corpora, list) else ():
        if isinstance(one, dict):
            digest = str(one.get("sha256", ""))[:12]
            size = one.get("bytes")
            shown = f"{size:,}" if is_figure(size) else "?"
            rows.append(("corpus", f"{one.get('name')}, {shown} bytes, SHA-256 {digest}…"))
    score = card.get("validation")
    if isinstance(score, dict):
        bits, nats = score.get("bits_per_byte"), score.get("nats_per_token")
        if is_figure(bits) and is_figure(nats):
            shown = f"{bits:.4f} bits per byte, {nats:.4f} nats per token"
            rows.append(("validation", shown))
    rows += _tuning_rows(card)
    labels = {"documents": "documents", "steps": "steps", "seed": "seed"}
    labels |= {"weights": "kept", "chargen": "chargen"}
    rows += [(label, card[key]) for key, label in labels.items() if key in card]
    return rows


def _tuning_rows(card: dict[str, Any]) -> list[tuple[str, Any]]:
    """Of a fine-tuned model: what it was before, and the chain of its ancestors."""
    rows: list[tuple[str, Any]] = []
    before = _bits(card.get("before"))
    if before:
        rows.append(("before", f"{before}, by the base"))
    old = card.get("old_text")
    if isinstance(old, dict):
        pair = [_bits(old.get(one)) for one in ("before", "after")]
        rows.append(("old text", f"{pair[0] or '?'} before, {pair[1] or '?'} after"))
    base, depth = card.get("base"), 0
    while isinstance(base, dict) and depth < _GENERATIONS:
        own = base.get("card")
        own = own if isinstance(own, dict) else {}
        corpora = own.get("corpus")
        names = (
            [str(one.get("name")) for one in corpora if isinstance(one, dict)]
            if (isinstance(corpora, list))
            else []
        )
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        score = _bits(own.get("validation"))
        rows.append(
            (
                "base",
                f"{base.get('name')}: {', '.join(names[:3])}{more}"
                + (f"; {score}" if score else ""),
            )
        )
        base, depth = own.get("base"), depth + 1
    return rows


def _bits(score: Any) -> str:
    bits = score.get("bits_per_byte") if isinstance(score, dict) else None
    return f"{bits:.4f} bits per byte" if is_figure(bits) else ""
