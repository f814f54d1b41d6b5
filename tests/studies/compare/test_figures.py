"""The picture of differences: distances first, then changes on a scale of two colours with 0 in the middle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from pictures import faults, words

from attncli.data import Scores
from attncli.studies.compare import figures as comparison
from attncli.studies.compare.result import Comparison


def made(layers: int, heads: int, metrics: tuple[str, ...] = ("entropy", "sink")) -> Comparison:
    count = layers * heads
    places = {
        "kind": np.array(["encoder"] * count, dtype=object),
        "layer": np.repeat(np.arange(layers), heads),
        "head": np.tile(np.arange(heads), layers),
        "texts": np.full(count, 3),
    }
    coords = {name: ("head", column) for name, column in places.items()}
    distance = Scores("js_distance", np.linspace(0, 0.4, count), ("head",), coords, "√nat", (0.0, 0.84), "made up")
    rows = {name: ("row", np.tile(column, len(metrics))) for name, column in places.items()}
    rows["metric"] = ("row", np.repeat(np.array(metrics, dtype=object), count))
    change = np.random.default_rng(0).normal(0, 0.1, count * len(metrics))
    return Comparison(
        {"js_distance": distance}, {"change": Scores("change", change, ("row",), rows, "", (None, None), "")}
    )


def drawn(found: Comparison, names: tuple[str, str] = ("A", "B")) -> Figure:
    figure = comparison.draw(found, names=names)
    assert figure is not None
    return figure


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (6, 12), (40, 40)])
def test_pictures_of_any_size_are_complete(layers: int, heads: int) -> None:
    figure = drawn(made(layers, heads), names=("one", "$\\foo$"))
    assert not faults(figure)
    assert {"distance of the maps", "sink", "A: one   B: $\\foo$"} <= words(figure)
    assert "change from A to B · mean over 3 texts" in words(figure)


def test_no_change_is_the_middle_of_the_scale() -> None:
    figure = drawn(made(2, 2, ("sink",)))
    image = next(axes.images[-1] for axes in figure.axes if axes.get_title("left") == "sink")
    assert isinstance(image.norm, Normalize)
    assert image.norm.vmin == -image.norm.vmax
    assert image.cmap(image.norm(0.0))[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.03)


def test_heads_without_a_distance_still_have_their_changes() -> None:
    found = made(2, 2)
    nothing = replace(found.heads["js_distance"], values=np.full(4, np.nan))
    assert "distance of the maps" not in words(drawn(replace(found, heads={"js_distance": nothing})))


def test_two_texts_stand_below_the_title() -> None:
    figure = comparison.draw(made(2, 2), names=("m", "m"), texts=[("It was $tired$.", "It was wide."), ("a", "b")])
    assert figure is not None
    assert {"m", "A: It was $tired$.", "B: It was wide.", "and 1 more pair of texts"} <= words(figure)
    assert "change from A to B · mean over 3 texts" in words(figure)


def test_long_texts_are_cut_around_their_first_difference() -> None:
    same = "the same words at the start, " * 8
    figure = comparison.draw(made(2, 2), texts=[(f"{same}one {same}", f"{same}two {same}")])
    lines = [line for line in words(figure) if line.startswith(("A: …", "B: …"))] if figure else []
    assert sorted(line[:50].rpartition(",")[2].split()[0] for line in lines) == ["one", "two"]
    assert figure is not None
    assert not faults(figure)
