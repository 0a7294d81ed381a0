"""A session as JSON: texts, branches, settings, and what was held; states are made again from them.

A session's file may be anybody's: everything in it is checked before anything is changed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from chargen.api import load
from chargen.errors import ChargenError, UsageError
from chargen.files import parse_json, write_json
from chargen.inference.engine import Clamps
from chargen.inference.tree import ROOT, TextTree, check_branch_name
from chargen.insight.views import ORDERS, VIEWS, find_view
from chargen.model.config import ModelConfig
from chargen.model.unit_names import Unit
from chargen.repl.session import PIN_LIMIT, Session
from chargen.repl.settings import TABLE, Settings, set_value

KIND, FORMAT = "chargen session", 1
_MOST = 50_000_000


def write_session(path: Path, session: Session) -> None:
    """Write everything that a session is.

    Raises:
        ChargenError: the file cannot be written; what was there is unchanged.
    """
    tree = session.tree
    needed = sorted({ROOT}.union(*(_line(tree, end) for end in tree.branches.values())))
    number = {node: place for place, node in enumerate(needed)}
    held: list[Clamps] = []
    nodes = []
    for node in needed[1:]:
        holds = tree.holds(node)
        if holds not in held:
            held.append(holds)
        hidden = tree.position(node) == tree.position(tree.parent(node))
        nodes.append(
            [number[tree.parent(node)], tree.token(node), round(tree.logprob(node), 6),
             held.index(holds), int(hidden)]
        )  # fmt: skip
    model = session.model
    write_json(
        path,
        {
            "kind": KIND,
            "format": FORMAT,
            "model": None if model.path is None else str(model.path.absolute()),
            "weights": weights_digest(session),
            "settings": {name: str(row.read(session.settings)) for name, row in TABLE.items()},
            "seed": session.seed,
            "drawn": session.drawn,
            "starts": [[number[start], written] for start, written in session.starts
                       if start in number],
            "watched": [[one.layer, one.index, one.state] for one in session.watched],
            "heat": [session.heat.view, session.heat.layer, session.heat.order, session.heat_on],
            "branch": tree.branch,
            "branches": {name: number[end] for name, end in tree.branches.items()},
            "held": [[[layer, *there] for layer, there in one.items()]
                     for one in held],
            "pinned": [[one.layer, one.index, one.state, value]
                       for one, value in session.pinned.items()],
            "nodes": nodes,
        },
    )  # fmt: skip


def read_session(path: Path, session: Session) -> None:
    """Bring a session back: the same texts, and, by the same steps, the same states.

    Raises:
        ChargenError: it is no session's file, or of a model that is not here; nothing is changed.
    """
    try:
        raw = path.read_bytes()
        value = parse_json(raw.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{path}: is no session's file") from error
    try:
        _restore(value, session)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{path}: is no session's file, or is damaged") from error
    except ChargenError as error:
        raise UsageError(f"{path}: {error}") from error


def _restore(value: Any, session: Session) -> None:
    if value["kind"] != KIND:
        raise ValueError("of another kind")
    if value["format"] != FORMAT:
        raise UsageError(f"is of format {value['format']}; this chargen reads {FORMAT}")
    model = session.model
    if not isinstance(value["weights"], str):
        raise ValueError("its model")
    if value["weights"] != weights_digest(session):
        other = str(value["model"])
        try:
            fresh = Session(load(other), seed=0)
        except ChargenError as error:
            raise UsageError(f"was written with {other}, which is not here") from error
        if value["weights"] != weights_digest(fresh):
            raise UsageError(f"was written with {other}, which was trained on since")
        model = fresh.model
    settings = Settings()
    for name, text in value["settings"].items():
        set_value(settings, str(name), str(text))
    config = model.config
    held = [_holds(one, config.state_shape) for one in value["held"]]
    tree = TextTree(model.stepper)
    nodes = value["nodes"]
    if not isinstance(nodes, list) or len(nodes) > _MOST:
        raise ValueError("its nodes")
    for parent, token, logprob, holds, hidden in nodes:
        whole = all(type(one) is int for one in (parent, token, holds))
        if not (whole and 0 <= parent < len(tree) and 0 <= token < config.vocab_size):
            raise ValueError(f"node {len(tree)}")
        tree.restore(parent, token, float(logprob), held[_index(holds, held)], bool(hidden))
    for name in value["branches"]:
        check_branch_name(name)
    branches = {str(name): _index(end, range(len(tree))) for name, end in value["branches"].items()}
    branch, seed, drawn = value["branch"], value["seed"], value["drawn"]
    if branch not in branches or not all(type(one) is int and one >= 0 for one in (seed, drawn)):
        raise ValueError("its branches or seed")
    pinned = {_unit(place, config): float(number) for *place, number in value["pinned"]}
    if not all(-PIN_LIMIT <= one <= PIN_LIMIT for one in pinned.values()):
        raise ValueError("what it held")
    starts = [
        (_index(start, range(len(tree))), bool(written)) for start, written in value["starts"]
    ]
    watched = [_unit(one, config) for one in value["watched"]]
    view, layer, order, live = value["heat"]
    find_view(view, config.cell_row)
    if not VIEWS[view].every or order not in ORDERS:
        raise ValueError("its heatmap")
    layer = _index(layer, range(config.num_layers))
    session.use(model)
    session.starts, session.watched, session.heat_on = starts, watched, bool(live)
    session.heat.look(view=view, layer=layer, order=order)
    session.settings, session.seed, session.drawn = settings, seed, drawn
    tree.branches, tree.branch = branches, branch
    session.tree = session.composer.tree = tree
    for unit, number in pinned.items():
        session.hold(unit, number)


def _unit(place: Any, config: ModelConfig) -> Unit:
    layer, index, state = place
    return Unit(
        _index(layer, range(config.num_layers)),
        _index(index, range(config.hidden_size)),
        _index(state, config.cell_row.states),
    )


def is_session(path: Path) -> bool:
    """Whether a file is a session's, as far as its beginning tells."""
    try:
        with path.open("rb") as stream:
            return KIND.encode() in stream.read(200)
    except OSError:
        return False


def _index(number: Any, things: Any) -> int:
    if type(number) is not int or not 0 <= number < len(things):
        raise ValueError(f"number {number}")
    return number


def _holds(value: Any, shape: tuple[int, int, int]) -> Clamps:
    layers, states, size = shape
    holds: dict[int, tuple[list[int], list[int], list[float]]] = {}
    for layer, which, units, values in value:
        holds[_index(layer, range(layers))] = (
            [_index(one, range(states)) for one in which],
            [_index(one, range(size)) for one in units],
            [float(one) for one in values],
        )
        if not len(which) == len(units) == len(values):
            raise ValueError("what it held")
    return holds


def _line(tree: TextTree, node: int) -> set[int]:
    found = set()
    while node != ROOT:
        found.add(node)
        node = tree.parent(node)
    return found


def weights_digest(session: Session) -> str:
    """SHA-256 of the model's tensors: which model a session belongs to."""
    digest = hashlib.sha256()
    for name, tensor in sorted(session.model.file.weights.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()
