"""The table of views: pure functions that turn a Trace into a Grid of numbers.

A grid has labels and limits; it does not know colours, screens or widths. Shape letters: T
time (columns), R rows, L layers, H hidden_size, G gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from chargen.errors import UsageError, unknown_name
from chargen.inference.engine import Array
from chargen.insight.trace import Trace
from chargen.model.config import Cell
from chargen.model.unit_names import Unit, describe_layers
from chargen.text.tokenizer import StreamDecoder, Tokenizer

GATED = frozenset({"input", "forget", "output", "reset", "update"})
"""The gates that are sigmoids: between shut, 0, and open, 1."""
ORDERS = ("similar", "activity", "index")
CLOSED, OPEN = 0.1, 0.9
"""Where a gate counts as shut or open (Karpathy, Johnson and Li, 2015)."""
_PREDICTED_TOKENS = 5
_MAX_STRIP_COLUMNS = 512
_MAX_SURPRISE_BITS, _MAX_ENTROPY_BITS = 8.0, 6.0  # where their colours end


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Numbers in rows and columns, ready to be coloured."""

    values: Array = field(repr=False)
    """(R, T); NaN where there is no value."""
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]
    """Texts of the tokens; not yet safe to show, because a model wrote them."""
    low: float
    high: float
    kind: str
    """`diverging` around the middle, or `sequential`."""
    title: str
    """What it shows, in a few words."""
    measure: str = ""
    """The unit of a value: `bits`, `probability`."""
    layout: str = "heat"
    """`heat`: rows of cells over the text; `text`: one row, the text itself coloured; `cells`: a
    text in each cell; `strips`: rows of cells with no text to stand under them."""
    cells: tuple[tuple[str, ...], ...] = ()
    """With `cells`: R rows of T texts."""
    notes: tuple[str, ...] = ()
    """Sentences that say what the grid shows."""
    named: bool = False
    """Whether each row has a name to be read, and so needs its own line."""


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """What a view shows of a trace."""

    labels: tuple[str, ...]
    """The texts of its T tokens."""
    tokenizer: Tokenizer
    layer: int = 0
    unit: Unit | None = None
    rows: int = 64
    """Units to show at most."""
    order: str = "similar"
    """A row of `ORDERS`."""
    chosen: npt.NDArray[np.intp] | None = None
    """Units to show, in order; None: `choose_units` chooses them."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A row of `VIEWS`."""

    help: str
    build: Callable[[Trace, ViewOptions], Grid]
    of: frozenset[str] | None = None
    """A cell must have at least one of these states or gates; None suits every cell."""
    per_unit: bool = False
    """Whether it shows one number for each unit and token, and so can be shown live."""


def choose_units(values: Array, rows: int, order: str) -> npt.NDArray[np.intp]:
    """The units to show of (T, H), in order: those whose values have the largest spread.

    `similar` puts units that move together side by side: it sorts by the angle in the plane of the
    first two principal components.

    Args:
        values: (T, H).
        rows: how many units, at most.
        order: a row of `ORDERS`.
    """
    count = values.shape[1]
    if order == "index" and count <= rows:
        return np.arange(count)
    spread = values.std(0) if len(values) > 1 else np.abs(values).sum(0)
    chosen = np.argsort(-np.nan_to_num(spread), kind="stable")[:rows]
    if order == "index":
        return np.sort(chosen)
    if order == "similar" and len(values) > 2 and len(chosen) > 2:
        centred = np.nan_to_num(values[:, chosen] - values[:, chosen].mean(0))
        scale = np.linalg.norm(centred, axis=0)
        _, _, axes = np.linalg.svd(centred / np.where(scale == 0, 1, scale), full_matrices=False)
        angle = np.arctan2(axes[1], axes[0])
        chosen = chosen[np.argsort(angle, kind="stable")]
    return chosen


def token_labels(tokenizer: Tokenizer, tokens: Iterable[int]) -> tuple[str, ...]:
    """The text that each token completes; empty for a byte in the middle of a character."""
    decoder = StreamDecoder()
    return tuple(
        "\n" if token == tokenizer.eos_id else decoder.feed(tokenizer.token_bytes(int(token)))
        for token in tokens
    )


def token_noun(tokenizer: Tokenizer) -> str:
    """What people call a token of this tokenizer: `character`, `byte` or `token`."""
    return {"char": "character", "byte": "byte"}.get(tokenizer.kind, "token")


def token_label(tokenizer: Tokenizer, token: int) -> str:
    """The text of a single token; hexadecimal where its bytes are not whole characters."""
    data = tokenizer.token_bytes(token)
    try:
        return "\n" if token == tokenizer.eos_id else data.decode()
    except UnicodeDecodeError:
        return data.hex().upper()


def build_view(name: str, trace: Trace, options: ViewOptions) -> Grid:
    """The grid of a view.

    Raises:
        UsageError: the view, the layer or the order does not exist, or the cell lacks the view.
    """
    view = find_view(name, trace.cell)
    layers = trace.states.shape[1]
    if not 0 <= options.layer < layers:
        raise UsageError(f"layer {options.layer + 1}: {describe_layers(layers)}")
    if options.order not in ORDERS:
        raise UsageError(unknown_name("order", options.order, ORDERS))
    return view.build(trace, options)


def find_view(name: str, cell: Cell) -> View:
    """The row of the table.

    Raises:
        UsageError: the view does not exist, or the cell lacks it.
    """
    names = views_for(cell)
    if name not in names:
        if name in VIEWS:
            raise UsageError(
                f"view '{name}': {cell.label} has no such thing; it has {', '.join(names)}"
            )
        raise UsageError(unknown_name("view", name, names))
    return VIEWS[name]


def views_for(cell: Cell) -> list[str]:
    """The names of the views that a cell has."""
    parts = {*cell.states, *cell.gates}
    return [name for name, view in VIEWS.items() if view.of is None or view.of & parts]


def pick(name: str, trace: Trace, layer: int) -> Array:
    """The values (T, H) of a state or a gate."""
    if name in trace.cell.states:
        return trace.states[:, layer, trace.cell.states.index(name)]
    return trace.gates[:, layer, trace.cell.gates.index(name)]


def unit_map(name: str, cell: Cell, values: Array, options: ViewOptions) -> Grid:
    """Units as rows over the text, from the values (T, H) of a state or a gate."""
    chosen = options.chosen
    if chosen is None:
        chosen = choose_units(values, options.rows, options.order)
    count = values.shape[1]
    size = f"{len(chosen)} of {count} units" if len(chosen) < count else f"{count} units"
    what = f"{name} state" if name in cell.states else f"{name} gate" if name in GATED else name
    relu = cell.name == "rnn-relu"
    signed = name not in GATED and not relu  # what a rectifier lets through is never negative
    bound = _bound(values) if relu or name == "cell" else 1.0
    return Grid(
        values=values[:, chosen].T,
        row_labels=tuple(str(unit) for unit in chosen),
        column_labels=options.labels,
        low=-bound if signed else 0.0,
        high=bound,
        kind="diverging" if signed else "sequential",
        title=f"{what}, layer {options.layer + 1}, {size}",
        measure="activation",
    )


def _unit_map_of(name: str) -> Callable[[Trace, ViewOptions], Grid]:
    def build(trace: Trace, options: ViewOptions) -> Grid:
        return unit_map(name, trace.cell, pick(name, trace, options.layer), options)

    return build


def _bound(values: Array) -> float:
    """A limit for colours: the 99th percentile of the absolute values, but at least one."""
    finite = np.abs(values[np.isfinite(values)])
    return max(1.0, round(float(np.quantile(finite, 0.99)), 1)) if finite.size else 1.0


def unit_view(values: Array, labels: tuple[str, ...], unit: str, *, relu: bool = False) -> Grid:
    """A text coloured by one unit's values (T,)."""
    bound = _bound(values)
    return Grid(
        values=values[None],
        row_labels=(unit,),
        column_labels=labels,
        low=0.0 if relu else -bound,
        high=bound,
        kind="sequential" if relu else "diverging",
        title=f"unit {unit}",
        measure="activation",
        layout="text",
    )


def _unit(trace: Trace, options: ViewOptions) -> Grid:
    unit = options.unit
    if unit is None:
        spread = trace.states[:, options.layer, 0].std(0)
        unit = Unit(options.layer, int(np.argmax(spread)))
    values = trace.states[:, unit.layer, unit.state, unit.index]
    state = f".{trace.cell.states[unit.state]}" if unit.state else ""
    name = f"L{unit.layer + 1}:{unit.index}{state}"
    return unit_view(values, options.labels, name, relu=trace.cell.name == "rnn-relu")


def surprise_view(bits: Array, labels: tuple[str, ...]) -> Grid:
    """A text coloured by what each token cost, (T,) bits."""
    finite = bits[np.isfinite(bits)]
    mean = float(finite.mean()) if finite.size else 0.0
    return Grid(
        values=bits[None].astype(np.float32),
        row_labels=("surprise",),
        column_labels=labels,
        low=0.0,
        high=_MAX_SURPRISE_BITS,
        kind="sequential",
        title=f"surprise, {mean:.2f} bits a token on average",
        measure="bits",
        layout="text",
    )


def _surprise(trace: Trace, options: ViewOptions) -> Grid:
    ids = np.asarray(trace.token_ids)
    bits = np.full(len(ids), np.nan, np.float32)
    bits[1:] = -trace.logprobs[np.arange(len(ids) - 1), ids[1:]] / np.log(2)
    return surprise_view(bits, options.labels)


def _entropy(trace: Trace, options: ViewOptions) -> Grid:
    bits = -(np.exp(trace.logprobs) * trace.logprobs).sum(1) / np.log(2)
    grid = surprise_view(bits, options.labels)
    title = "uncertainty about what comes next"
    return replace(grid, row_labels=("entropy",), title=title, high=_MAX_ENTROPY_BITS)


def _predict(trace: Trace, options: ViewOptions) -> Grid:
    """The most likely tokens after each token, the most likely first."""
    ranked = np.argsort(-trace.logprobs, axis=1, kind="stable")[:, :_PREDICTED_TOKENS].T
    times = np.arange(len(trace.token_ids))
    texts = [
        tuple(token_label(options.tokenizer, token) for token in row) for row in ranked.tolist()
    ]
    return Grid(
        values=np.exp(trace.logprobs[times, ranked]),
        row_labels=tuple(str(rank) for rank in range(1, len(ranked) + 1)),
        column_labels=options.labels,
        low=0.0,
        high=1.0,
        kind="sequential",
        title=f"the {len(ranked)} likeliest continuations after each token",
        measure="probability",
        layout="cells",
        cells=tuple(texts),
    )


def _gates(trace: Trace, options: ViewOptions) -> Grid:
    """The gates of the last step, each sorted from shut to open, and how saturated they are."""
    sigmoids = [name for name in trace.cell.gates if name != "candidate"]
    rows, labels, notes = [], [], []
    size = trace.gates.shape[-1]
    for layer in range(trace.gates.shape[1]):
        for name in sigmoids:
            values = np.sort(trace.gates[-1, layer, trace.cell.gates.index(name)])
            rows.append(values[np.linspace(0, size - 1, min(size, _MAX_STRIP_COLUMNS)).astype(int)])
            label = f"L{layer + 1} {name}"
            labels.append(label)
            shut, opened = (values < CLOSED).mean(), (values > OPEN).mean()
            notes.append(
                f"{label}: {values.mean():.0%} open on average; "
                f"{shut:.0%} of units shut (below {CLOSED}), {opened:.0%} open (above {OPEN})"
            )
    return Grid(
        values=np.array(rows, np.float32),
        row_labels=tuple(labels),
        column_labels=("",) * len(rows[0]),
        low=0.0,
        high=1.0,
        kind="sequential",
        title="gates at the last token, all units sorted from shut to open",
        measure="activation",
        layout="strips",
        notes=tuple(notes),
    )


VIEWS: dict[str, View] = {
    **{
        name: View(help=text, build=_unit_map_of(name), of=frozenset({name}), per_unit=True)
        for name, text in (
            ("hidden", "hidden state of the units"),
            ("cell", "cell state of the units"),
            ("input", "input gates"),
            ("forget", "forget gates"),
            ("output", "output gates"),
            ("reset", "reset gates"),
            ("update", "update gates"),
            ("candidate", "what would be written"),
        )
    },
    "gates": View(help="all gates of the last step as strips", build=_gates, of=GATED),
    "unit": View(help="the text, coloured by one unit", build=_unit),
    "surprise": View(help="the text, coloured by each token's bits", build=_surprise),
    "entropy": View(help="the text, coloured by the uncertainty after it", build=_entropy),
    "predict": View(help="the likeliest continuations under each token", build=_predict),
}
"""The views by name."""
