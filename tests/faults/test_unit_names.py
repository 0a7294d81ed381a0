"""Names of units that were found, or that a person gave, are not erased by a poorer text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chargen.model.unit_names import NamedUnit, Unit, load_names, save_names
from tests.conftest import make_model

MODEL = make_model("lstm", 2)
PATH = Path("units.json")


def save(**named):
    units = {
        name: NamedUnit(unit=Unit(0, unit), says=f"AUC {score}", score=score, own=own)
        for name, (unit, score, own) in named.items()
    }
    save_names(PATH, MODEL.weights, MODEL.config, units)


def names() -> dict[str, int]:
    loaded = load_names(PATH, MODEL.weights, MODEL.config)
    return {name: unit.index for name, unit in loaded.items()}


def test_a_text_without_evidence_erases_nothing():
    save(quotes=(3, 0.97, False), mine=(4, 0.8, True))
    save()
    save(digits=(5, 0.99, False))
    assert names() == {"quotes": 3, "mine": 4, "digits": 5}


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ((3, 0.9, False), (5, 0.95, False), 5),
        ((3, 0.9, False), (5, 0.85, False), 3),
        ((3, 0.9, True), (5, 0.99, False), 3),
        ((3, 0.9, False), (5, 0.7, True), 5),
        ((3, 0.9, True), (5, 0.7, True), 5),
    ],
)
def test_the_better_unit_has_the_name_and_a_persons_own_stays(before, after, kept):
    save(quotes=before)
    save(quotes=after)
    assert names() == {"quotes": kept}


def test_names_of_older_versions_give_way():
    save(quotes=(3, 0.9, False))
    value = json.loads(PATH.read_text())
    for entry in value["units"]:
        del entry["score"], entry["own"]
    PATH.write_text(json.dumps(value))
    save(quotes=(5, 0.6, False))
    assert names() == {"quotes": 5}


def test_names_of_other_weights_are_not_taken_over():
    save(quotes=(3, 0.9, False))
    other = make_model("lstm", 2, seed=9)
    unit = NamedUnit(unit=Unit(0, 5), says="AUC 0.9", score=0.9)
    save_names(PATH, other.weights, other.config, {"digits": unit})
    assert set(load_names(PATH, other.weights, other.config)) == {"digits"}
