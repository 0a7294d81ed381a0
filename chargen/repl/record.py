"""How does a session become a JSON file, and come back from it?

The file has the texts, branches, settings and clamped units; states are computed again from them.
A file may come from anybody, so everything in it is checked before the session changes.
"""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import Any

from chargen.api import Model, load
from chargen.errors import ChargenError, UsageError
from chargen.files import json_bytes, parse_json
from chargen.inference.engine import Clamps
from chargen.inference.tree import ROOT, TextTree, check_branch_name
from chargen.insight.views import ORDERS, VIEWS, find_view
from chargen.model.checkpoint import tensor_digest
from chargen.model.config import ModelConfig
from chargen.model.runs import named_model
from chargen.model.unit_names import Unit
from chargen.own_files import write_own
from chargen.repl.session import MAX_CLAMP_VALUE, Session
from chargen.repl.settings import TABLE, Settings, set_value

KIND, FORMAT = "chargen session", 1
_MAX_NODES = 50_000_000
_LOGPROB_DIGITS = 6
_KIND_BYTES = 200
"""The first bytes of a session file, which have its kind."""


def write_session(path: Path, session: Session, *, overwrite: bool = False) -> None:
    """Writes a session to a file: all nodes that some branch reaches, numbered from the root.

    Args:
        path: the file.
        session: what is written.
        overwrite: whether a file that is no session may be replaced.

    Raises:
        UsageError: a file that is no session is there.
        ChargenError: the file cannot be written; the file that was there is unchanged.
    """
    data = json_bytes(session_record(session))
    write_own(path, data, is_session, overwrite=overwrite)


def session_record(session: Session) -> dict[str, Any]:
    """Returns the content of a session file as plain values.

    It has the model's name, and no path: a session file may be given to others.
    """
    tree = session.tree
    nodes = sorted({ROOT}.union(*(_nodes_up_to(tree, end) for end in tree.branches.values())))
    number = {node: index for index, node in enumerate(nodes)}
    clamps: list[Clamps] = []
    node_rows = []
    for node in nodes[1:]:
        node_clamps = tree.clamps(node)
        if node_clamps not in clamps:
            clamps.append(node_clamps)
        hidden = tree.position(node) == tree.position(tree.parent(node))
        node_rows.append(
            [number[tree.parent(node)], tree.token(node), round(tree.logprob(node),
             _LOGPROB_DIGITS), clamps.index(node_clamps), int(hidden)]
        )  # fmt: skip
    heat = session.heat
    return {
        "kind": KIND,
        "format": FORMAT,
        "model": session.name,
        "weights": tensor_digest(session.model.file.weights, separator=b""),
        "settings": {name: str(row.read(session.settings)) for name, row in TABLE.items()},
        "seed": session.seed,
        "drawn": session.drawn,
        "starts": [
            [number[start], written] for start, written in session.starts if start in number
        ],
        "watched": [_unit_row(unit) for unit in session.watched],
        "heat": [heat.view, heat.layer, heat.order, session.heat_on],
        "branch": tree.branch,
        "branches": {name: number[end] for name, end in tree.branches.items()},
        # "held" (clamped units of nodes) and "drawn" are names in files.
        "held": [[[layer, *units] for layer, units in group.items()] for group in clamps],
        "pinned": [[*_unit_row(unit), value] for unit, value in session.pinned.items()],
        "nodes": node_rows,
    }


def read_session(path: Path, session: Session, *, own: bool = False) -> None:
    """Replaces a session by the one in a file; the same steps compute the same states.

    Args:
        path: the file.
        session: what is replaced.
        own: whether the file was kept for this user alone, so that the path of its model may be
            opened. The path in a file from anybody is never opened.

    Raises:
        UsageError: the file is not a session, or its model is not here; nothing is changed.
    """
    try:
        value = parse_json(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{path}: is not a session file; /save writes one") from error
    try:
        _restore(value, session, own)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{path}: is not a session file, or is damaged") from error
    except ChargenError as error:
        raise UsageError(f"{path}: {error}") from error


def is_session(path: Path) -> bool:
    """Whether the first bytes of a file are those of a session file."""
    try:
        with path.open("rb") as stream:
            return KIND.encode() in stream.read(_KIND_BYTES)
    except OSError:
        return False


def _restore(value: Any, session: Session, own: bool) -> None:
    """Checks everything in a session file, then changes the session.

    Raises:
        ChargenError: a value is wrong, and the message says which.
        ValueError: the file has another form. A `KeyError`, `TypeError`, `AttributeError` or
            `OverflowError` says the same.
    """
    if value["kind"] != KIND:
        raise ValueError("kind")
    if value["format"] != FORMAT:
        raise UsageError(f"has format {value['format']}; this version of chargen reads {FORMAT}")
    model = _find_model(value, session, own)
    config = model.config
    settings = Settings()
    for name, text in value["settings"].items():
        set_value(settings, str(name), str(text))
    tree = _read_tree(value, model)
    branches, branch = tree.branches, value["branch"]
    seed, drawn = value["seed"], value["drawn"]
    if branch not in branches or not all(_is_count(number) for number in (seed, drawn)):
        raise ValueError("branch, seed or drawn")
    pinned = {_read_unit(row, config): float(number) for *row, number in value["pinned"]}
    if not all(-MAX_CLAMP_VALUE <= number <= MAX_CLAMP_VALUE for number in pinned.values()):
        raise ValueError("pinned")
    starts = [(_read_index(start, tree), bool(written)) for start, written in value["starts"]]
    watched = [_read_unit(row, config) for row in value["watched"]]
    view, layer, order, heat_on = value["heat"]
    find_view(view, config.cell_row)
    if not VIEWS[view].per_unit or order not in ORDERS:
        raise ValueError("heat")
    layer = _read_index(layer, range(config.num_layers))

    session.use(model)
    session.starts, session.watched, session.heat_on = starts, watched, bool(heat_on)
    session.heat.set_view(view=view, layer=layer, order=order)
    session.settings, session.seed, session.drawn = settings, seed, drawn
    tree.branch = branch
    session.tree = session.composer.tree = tree
    for unit, number in pinned.items():
        session.clamp(unit, number)


def _find_model(value: Any, session: Session, own: bool) -> Model:
    """Returns the model that the session was written with; loads it if it is not the present one.

    From a file that may come from anybody only the name is taken, never a path.

    Raises:
        UsageError: it is not here, or it has other weights now.
    """
    if not isinstance(value["weights"], str):
        raise ValueError("weights")
    if value["weights"] == tensor_digest(session.model.file.weights, separator=b""):
        return session.model
    name, found = named_model(str(value["model"])), False
    places = session.places_of(name)
    if own and isinstance(value.get("path"), str):
        places.insert(0, Path(value["path"]))
    for place in places:
        try:
            model = load(place)
        except ChargenError:
            continue
        found = True
        if value["weights"] == tensor_digest(model.file.weights, separator=b""):
            return model
    if found:
        raise UsageError(f"was written with {name}, which has other weights now")
    raise UsageError(f"was written with {name}, which is not here; /load that model first")


def _read_tree(value: Any, model: Model) -> TextTree:
    """Returns the tree with its nodes and branches; its states are computed when needed."""
    config = model.config
    clamps = [_read_clamps(rows, config.state_shape) for rows in value["held"]]  # name in files
    tree = TextTree(model.stepper)
    nodes = value["nodes"]
    if not isinstance(nodes, list) or len(nodes) > _MAX_NODES:
        raise ValueError("nodes")
    for parent, token, logprob, clamps_index, hidden in nodes:
        _read_index(parent, tree)
        _read_index(token, range(config.vocab_size))
        node_clamps = clamps[_read_index(clamps_index, clamps)]
        tree.restore(parent, token, float(logprob), node_clamps, bool(hidden))
    for name in value["branches"]:
        check_branch_name(name)
    tree.branches = {str(name): _read_index(end, tree) for name, end in value["branches"].items()}
    return tree


def _read_clamps(rows: Any, shape: tuple[int, int, int]) -> Clamps:
    num_layers, num_states, size = shape
    clamps: dict[int, tuple[list[int], list[int], list[float]]] = {}
    for layer, states, units, values in rows:
        clamps[_read_index(layer, range(num_layers))] = (
            [_read_index(state, range(num_states)) for state in states],
            [_read_index(unit, range(size)) for unit in units],
            [float(number) for number in values],
        )
        if not len(states) == len(units) == len(values):
            raise ValueError("held")
    return clamps


def _unit_row(unit: Unit) -> list[int]:
    return [unit.layer, unit.index, unit.state]


def _read_unit(row: Any, config: ModelConfig) -> Unit:
    layer, index, state = row
    return Unit(
        _read_index(layer, range(config.num_layers)),
        _read_index(index, range(config.hidden_size)),
        _read_index(state, config.cell_row.states),
    )


def _read_index(number: Any, items: Sized) -> int:
    """Returns the number if it is an index into `items`.

    Raises:
        ValueError: it is not.
    """
    if not _is_count(number) or number >= len(items):
        raise ValueError(f"index {number}")
    return int(number)


def _is_count(number: object) -> bool:
    """Whether a value is a whole number and at least 0; True and False are not."""
    return type(number) is int and number >= 0


def _nodes_up_to(tree: TextTree, node: int) -> set[int]:
    """Returns a node and all nodes before it, without the root."""
    nodes = set()
    while node != ROOT:
        nodes.add(node)
        node = tree.parent(node)
    return nodes
