"""chargen units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import MODEL, model_and_text
from chargen.cli.pictures import Pictures, display_options
from chargen.errors import ChargenError, CorpusError
from chargen.insight.properties import PROPERTIES
from chargen.terminal.context import Terminal
from chargen.terminal.progress import plural

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.units import Finding

_LEAST = 400
_HELP = """Find units that track something, and name them.

Each unit is chosen on the first half of the text and judged on the second, where its score must be
one that the same property, shifted in time, hardly ever reaches. Those that pass are named beside
the model, and `chargen repl` knows them by name: /unit in-quotes, /watch in-quotes. Without FILE,
the text is what the model was validated on.

\b
  chargen units code
  chargen units bard scene.txt --ablate           also what each is worth: the text's bits when the
                                                  unit stays at its mean
  chargen units bard scene.txt --labels mine.tsv  also your own labels: lines of START, END, NAME
                                                  with tabs between, in characters from 0

\b
Properties: """ + "\n            ".join(f"{name:<16}{one.help}" for name, one in PROPERTIES.items())


@click.command(help=_HELP)
@click.argument("names", metavar="[MODEL] [FILE]", nargs=-1, type=MODEL)
@click.option("--labels", metavar="FILE.tsv", help="Your own labels, to be searched for as well.")
@click.option("--ablate", is_flag=True, help="What each named unit is worth, in bits.")
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
    """Search; see _HELP."""
    from chargen.insight.properties import measure_properties, read_labels
    from chargen.insight.units import MOST, column_of, excerpt, find_units, read_states, worth
    from chargen.insight.views import labels_of
    from chargen.terminal.progress import progress_line

    model, ids, name = model_and_text(names, terminal, encoding=encoding)
    if len(ids) < _LEAST:
        raise CorpusError(f"{name}: {plural(len(ids), 'token')}; give at least {_LEAST}")
    texts = labels_of(model.tokenizer, ids.tolist() if labels else ids[:MOST].tolist())
    own = {} if labels is None else read_labels(Path(labels), texts)
    if len(ids) > MOST and not as_json:
        terminal.note(f"looking at the first {MOST:,} of {len(ids):,} tokens")
    ids, texts = ids[:MOST], texts[:MOST]
    properties = {
        found: (values, found in PROPERTIES and PROPERTIES[found].counts)
        for found, values in {**measure_properties(texts), **own}.items()
    }
    properties = {one: (values[:MOST], counts) for one, (values, counts) in properties.items()}
    shape = model.config.state_shape
    with progress_line(terminal, "reading") as progress:
        states = read_states(model.stepper, ids, progress=progress)
    findings = find_units(states, properties, shape)
    believed = [one for one in findings if one.believed]
    bits: dict[str, float] = {}
    if ablate and believed:
        middle = len(ids) // 2
        means = [float(states[:, column_of(one.unit, shape)].mean()) for one in believed]
        with progress_line(terminal, "holding units") as progress:
            costs = worth(
                model.stepper, ids[middle:], [one.unit for one in believed], means,
                progress=progress,
            )  # fmt: skip
        bits = {one.name: cost for one, cost in zip(believed, costs, strict=True)}
    _save(model, believed, terminal)
    for one in findings if as_json else ():
        terminal.out.write(json.dumps(_record(one, model, bits)) + "\n")
    if not as_json and pictures.target is None:
        _tell(findings, properties, model, bits, terminal)
    if believed and (pictures.target is not None or not as_json):
        rows = [f"{one.name} {one.unit.spelled(model.config)}" for one in believed]
        if pictures.target is None:
            terminal.out.write("\n")
        pictures.show(excerpt(believed, rows, states, properties, texts, shape))


def _save(model: Model, believed: list[Finding], terminal: Terminal) -> None:
    from chargen.model.unit_names import names_path, save_names

    assert model.path is not None
    path = names_path(model.path)
    named = {one.name: (one.unit, _score(one)) for one in believed}
    try:
        save_names(path, model.file.weights, model.config, named)
    except ChargenError as error:  # a folder that cannot be written: what was found is still shown
        terminal.complain(f"the names are not kept: {error}")
    else:
        if named:
            terminal.note(f"named in {path}")


def _score(one: Finding) -> str:
    return f"{one.measure} {one.score:.2f}"


def _tell(
    findings: list[Finding],
    properties: dict[str, Any],
    model: Model,
    bits: dict[str, float],
    terminal: Terminal,
) -> None:
    """A line a property: what was found, or that nothing was."""
    from chargen.terminal.safetext import safe_line

    wide = max((len(one) for one in properties), default=0)
    for one in sorted(findings, key=lambda one: (not one.believed, one.counts, -one.score)):
        unit = one.unit.spelled(model.config)
        low = " (low where it holds)" if one.sign < 0 else ""
        chance = f"p {one.chance:.3f}" if one.chance >= 0.001 else "p < 0.001"
        if one.believed:
            worth = f"; worth {bits[one.name]:.4f} bits a token" if one.name in bits else ""
            said = f"{unit}, {_score(one)}{low}, {chance}{worth}"
        else:
            said = f"no unit; the best, {unit}, has {_score(one)} on the second half ({chance})"
        terminal.write_line(safe_line(f"{one.name:<{wide}}  {said}"))
    for name in properties:
        if name not in {one.name for one in findings}:
            terminal.write_line(safe_line(f"{name:<{wide}}  too rare in this text"))


def _record(one: Finding, model: Model, bits: dict[str, float]) -> dict[str, Any]:
    value = {
        "property": one.name,
        "unit": one.unit.spelled(model.config),
        "measure": one.measure,
        "score": one.score,
        "searched": one.searched,
        "sign": one.sign,
        "p": one.chance,
        "named": one.believed,
    }
    return {**value, "bits": bits[one.name]} if one.name in bits else value
