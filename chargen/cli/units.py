"""chargen units: finds units that follow a property of a text, and names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import MODEL, check_length, model_and_text, write_json
from chargen.cli.pictures import Pictures, display_options
from chargen.errors import ChargenError
from chargen.insight.properties import PROPERTIES
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.units import Finding

_MIN_TOKENS = 400
_UNITS_HELP = """Find units that follow a property of the text, and name them.

Each unit is chosen on the first half of the text and tested on the second. It passes if its score
there is higher than nearly all scores of the same property shifted in time. The names of the units
that pass are saved beside the model, and `chargen repl` knows them: /unit in-quotes, /watch
in-quotes. Without FILE, the text is the model's validation text.

\b
  chargen units code
  chargen units bard scene.txt --ablate           also what each unit is worth: how many bits more
                                                  a token costs if the unit stays at its mean
  chargen units bard scene.txt --labels mine.tsv  also searches for your own labels: lines of
                                                  START, END, NAME with tabs between, in
                                                  characters from 0

\b
Properties: """ + "\n            ".join(
    f"{name:<16}{property.help}" for name, property in PROPERTIES.items()
)


@click.command(help=_UNITS_HELP)
@click.argument("names", metavar="[MODEL] [FILE]", nargs=-1, type=MODEL)
@click.option("--labels", metavar="FILE.tsv", help="Your own labels, to search for as well.")
@click.option(
    "--ablate",
    is_flag=True,
    help="Also measure how many bits a token costs more without each named unit.",
)
@display_options
def command(
    names: tuple[str, ...],
    labels: str | None,
    ablate: bool,
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Search; see _UNITS_HELP."""
    from chargen.insight.properties import measure_properties, read_labels
    from chargen.insight.units import (
        MAX_TOKENS,
        ablation_costs,
        column_of,
        excerpt_grid,
        find_units,
        read_states,
    )
    from chargen.insight.views import token_labels
    from chargen.terminal.progress import progress_line

    model, ids, name = model_and_text(names, terminal, encoding=encoding)
    check_length(name, ids, _MIN_TOKENS)
    texts = token_labels(model.tokenizer, ids.tolist() if labels else ids[:MAX_TOKENS].tolist())
    person_labels = {} if labels is None else read_labels(Path(labels), texts, encoding)
    if len(ids) > MAX_TOKENS and not as_json:
        terminal.note(f"reading the first {MAX_TOKENS:,} of {len(ids):,} tokens")
    ids, texts = ids[:MAX_TOKENS], texts[:MAX_TOKENS]
    # The values of each property, and whether they are numbers rather than yes or no.
    properties = {
        label: (values[:MAX_TOKENS], label in PROPERTIES and PROPERTIES[label].counts)
        for label, values in {**measure_properties(texts), **person_labels}.items()
    }
    shape = model.config.state_shape
    with progress_line(terminal, "reading") as progress:
        states = read_states(model.stepper, ids, progress=progress)
    findings = find_units(states, properties, shape)
    named = [finding for finding in findings if finding.significant]
    bits: dict[str, float] = {}
    if ablate and named:
        middle = len(ids) // 2
        means = [float(states[:, column_of(finding.unit, shape)].mean()) for finding in named]
        with progress_line(terminal, "ablating units") as progress:
            costs = ablation_costs(
                model.stepper, ids[middle:], [finding.unit for finding in named], means,
                progress=progress,
            )  # fmt: skip
        bits = {finding.name: cost for finding, cost in zip(named, costs, strict=True)}
    _save_names(model, named, set(person_labels), terminal, overwrite=pictures.overwrite)
    if as_json:
        for finding in findings:
            write_json(terminal, _finding_record(finding, model, bits))
    elif pictures.target is None:
        _show_findings(findings, properties, model, bits, terminal)
    if not named and pictures.target is not None:
        terminal.complain(f"{pictures.target}: not written, because no unit passed the test")
    if named and (pictures.target is not None or not as_json):
        rows = [f"{finding.name} {finding.unit.spelled(model.config)}" for finding in named]
        if pictures.target is None:
            terminal.out.write("\n")
        pictures.show(excerpt_grid(named, rows, states, properties, texts, shape))


def _save_names(
    model: Model, named: list[Finding], own: set[str], terminal: Terminal, *, overwrite: bool
) -> None:
    """Save the names beside the model; if the folder cannot be written, only say so."""
    from chargen.model.unit_names import NamedUnit, names_path, save_names

    assert model.path is not None
    path = names_path(model.path)
    units = {
        finding.name: NamedUnit(
            unit=finding.unit,
            says=_score_text(finding),
            score=float(finding.score),
            own=finding.name in own,
        )
        for finding in named
    }
    try:
        save_names(path, model.file.weights, model.config, units, overwrite=overwrite)
    except ChargenError as error:
        terminal.complain(f"the names are not saved: {error}")
    else:
        if units:
            terminal.note(f"named in {path}")


def _score_text(finding: Finding) -> str:
    return f"{finding.measure} {finding.score:.2f}"


def _show_findings(
    findings: list[Finding],
    properties: dict[str, Any],
    model: Model,
    bits: dict[str, float],
    terminal: Terminal,
) -> None:
    """Write a line for each property: its unit, the best failed unit, or that it is too rare."""
    from chargen.terminal.safetext import safe_line

    width = max((len(name) for name in properties), default=0)
    for finding in sorted(
        findings, key=lambda finding: (not finding.significant, finding.counts, -finding.score)
    ):
        unit, score = finding.unit.spelled(model.config), _score_text(finding)
        low = " (low where it holds)" if finding.sign < 0 else ""
        chance = f"p {finding.p_value:.3f}" if finding.p_value >= 0.001 else "p < 0.001"
        if finding.significant:
            cost = bits.get(finding.name)
            worth = "" if cost is None else f"; worth {cost:.4f} bits a token"
            result = f"{unit}, {score}{low}, {chance}{worth}"
        else:
            result = f"no unit is certain; the best is {unit}, {score} on the second half, {chance}"
        terminal.write_line(safe_line(f"{finding.name:<{width}}  {result}"))
    searched = {finding.name for finding in findings}
    for name in properties:
        if name not in searched:
            terminal.write_line(safe_line(f"{name:<{width}}  too rare in this text"))


def _finding_record(finding: Finding, model: Model, bits: dict[str, float]) -> dict[str, Any]:
    """A finding as plain values for JSON; `bits` only if the unit was ablated."""
    value = {
        "property": finding.name,
        "unit": finding.unit.spelled(model.config),
        "measure": finding.measure,
        "score": finding.score,
        "searched": finding.search_score,
        "sign": finding.sign,
        "p": finding.p_value,
        "named": finding.significant,
    }
    return {**value, "bits": bits[finding.name]} if finding.name in bits else value
