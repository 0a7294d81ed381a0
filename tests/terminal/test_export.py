"""Exports: sound files, nothing hostile in them, nothing outside referred to."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from chargen.errors import ChargenError, UsageError
from chargen.inference.engine import Stepper
from chargen.insight.plot import Figure, Plot, Series
from chargen.insight.trace import record
from chargen.insight.views import Grid, ViewOptions, build_view, token_labels, views_for
from chargen.terminal.export import export
from chargen.terminal.palette import Palette
from tests.conftest import make_model

EVIL = '"><script>alert(1)</script>\x1b[2J\u202e\x00&amp;]]>'
SVG = "{http://www.w3.org/2000/svg}"


def grids() -> dict[str, Grid]:
    file = make_model("lstm", 2)
    tokenizer = file.build_tokenizer()
    tokens = [1, 2, 3, 0, 4, 5, 1, 6]
    trace = record(Stepper(file.config, file.weights), np.array(tokens))
    options = ViewOptions(labels=token_labels(tokenizer, tokens), tokenizer=tokenizer)
    return {name: build_view(name, trace, options) for name in views_for(trace.cell)}


GRIDS = grids()
HOSTILE = {
    layout: Grid(
        values=np.array([[0.1, np.nan], [-2.0, 1.0]][: 1 if layout == "text" else 2], np.float32),
        row_labels=(EVIL, "b")[: 1 if layout == "text" else 2], column_labels=(EVIL, "\n"),
        low=-1, high=1, kind="diverging", title=EVIL, measure=EVIL, layout=layout, notes=(EVIL,),
        cells=((EVIL, "x"), ("y", EVIL)) if layout == "cells" else (),
    )
    for layout in ("heat", "text", "cells", "strips")
}  # fmt: skip


class Page(HTMLParser):
    """What a browser would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset")]


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("name", GRIDS)
def test_an_svg_is_xml_with_every_cell_in_it(name, dark):
    grid = GRIDS[name]
    export(grid, Path("a.svg"), dark=dark)
    root = ElementTree.parse("a.svg").getroot()
    assert root.tag == f"{SVG}svg"
    width, height = int(root.get("width")), int(root.get("height"))
    texts = "".join(element.text or "" for element in root.iter(f"{SVG}text"))
    assert grid.title in texts
    painted = 0
    for path in root.iter(f"{SVG}path"):
        for x, y, wide, tall in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)", path.get("d")):
            assert int(x) + int(wide) <= width
            assert int(y) + int(tall) <= height
            painted += int(wide) * int(tall)
    if grid.layout == "heat":
        assert painted == 9 * 9 * grid.values.size


@pytest.mark.parametrize("name", GRIDS)
def test_a_page_works_offline_and_holds_every_value(name):
    grid = GRIDS[name]
    export(grid, Path("a.html"))
    text = Path("a.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.references == []
    assert "//" not in re.sub(r"const data = .*", "", text), "no address of anything"
    assert "url(" not in text
    assert "import" not in text
    data = json.loads(re.search(r"const data = (.*);\n", text)[1])
    values = np.array(
        [[np.nan if value is None else value for value in row] for row in data["values"]]
    )
    np.testing.assert_allclose(values, grid.values, atol=1e-4)
    assert data["rows"] == list(grid.row_labels)


@pytest.mark.parametrize("layout", HOSTILE)
@pytest.mark.parametrize("ending", [".svg", ".html"])
def test_hostile_texts_do_nothing(layout, ending):
    path = Path(f"a{ending}")
    export(HOSTILE[layout], path)
    text = path.read_text(encoding="utf-8")
    assert not {"\x1b", "\x00", "\u202e"} & set(text)
    if ending == ".svg":
        assert not list(ElementTree.parse(path).getroot().iter(f"{SVG}script"))
    else:
        assert Page(text).tags.count("script") == 1


def test_a_picture_of_pixels_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'chargen\[plot\]'"):
        export(GRIDS["hidden"], Path("a.png"))
    assert not Path("a.png").exists()


def pixels(name: str) -> np.ndarray:
    """The picture (rows, columns, 4) in a .png file, from 0 to 1."""
    from matplotlib.image import imread

    assert Path(name).read_bytes().startswith(b"\x89PNG")
    return imread(name)


def shares_of(colours, image: np.ndarray) -> list[float]:
    """Which share of the pixels has each colour, given from 0 to 255."""
    shown = np.rint(image[:, :, :3] * 255).astype(int)
    return [float((shown == np.array(colour)).all(-1).mean()) for colour in colours]


@pytest.mark.parametrize("dark", [True, False])
def test_a_grid_of_pixels_has_the_colours_of_its_values(dark):
    values = np.array([[-1.0, 1.0], [1.0, 1.0]], np.float32)
    grid = dataclasses.replace(HOSTILE["heat"], values=values)
    export(grid, Path("a.png"), dark=dark)
    ramp = Palette(depth=1 << 24, dark=dark).rgb("diverging")
    least, most, middle = shares_of([ramp[0], ramp[-1], ramp[20]], pixels("a.png"))
    assert most == pytest.approx(3 * least, rel=0.1)
    assert least > 0.05
    assert middle == 0


@pytest.mark.parametrize("points", [True, False])
def test_a_figure_of_pixels_has_the_colours_of_its_curves(points):
    x = np.arange(5.0)
    series = tuple(Series(name=name, x=x, y=y) for name, y in (("$b$", x), (EVIL, 4 - x)))
    plot = Plot(series=series, x_label="$x", y_label="y$", title=EVIL, points=points)
    export(Figure(title="$", plots=(plot, plot)), Path("a.png"))
    palette = Palette(depth=1 << 24)
    colours = [palette.line_rgb(number) for number in range(3)]
    first, second, third = shares_of(colours, pixels("a.png"))
    assert first > 0
    assert second > 0
    assert third == 0


@pytest.mark.parametrize("name", ["hidden", "surprise", "predict", "gates"])
def test_every_layout_can_be_pixels(name):
    export(GRIDS[name], Path("a.png"))
    assert pixels("a.png").std() > 0.01


def test_other_endings_and_places_are_refused():
    with pytest.raises(UsageError, match=r"must end with one of \.svg, \.html, \.png"):
        export(GRIDS["hidden"], Path("a.gif"))
    with pytest.raises(ChargenError, match="cannot be written"):
        export(GRIDS["hidden"], Path("nowhere/a.svg"))
