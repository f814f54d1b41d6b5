"""The spread of heads by layer: a point per head, the line at the medians, nothing cut or random."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from pictures import faults, statistics, words

from attncli.errors import UsageError
from attncli.studies.stats.figures import draw_spread

PLACES = [("encoder", layer, head) for layer, head in product(range(3), range(4))]
VALUES = np.array([0.1, 0.2, 0.3, 0.8, 0.5, 0.5, 0.5, 0.5, 0.0, 0.4, 0.6, 1.0])


def panel(figure: Figure, name: str) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_title("left") == name]
    return axes


def test_every_head_is_a_point_at_its_layer() -> None:
    axes = panel(draw_spread(statistics(PLACES, sink=VALUES)), "sink")
    clouds = [cloud for cloud in axes.collections if isinstance(cloud, PathCollection)]
    points = np.concatenate([np.asarray(cloud.get_offsets()) for cloud in clouds])
    expected = {(layer, value) for (_, layer, _), value in zip(PLACES, VALUES, strict=True)}
    assert {(round(x), float(y)) for x, y in points} == expected
    assert points[:, 0] == pytest.approx(np.round(points[:, 0]))


def test_the_line_joins_the_medians_of_the_layers() -> None:
    axes = panel(draw_spread(statistics(PLACES, sink=VALUES)), "sink")
    line = max(axes.lines, key=lambda line: len(line.get_xdata()))
    assert np.asarray(line.get_ydata()) == pytest.approx([0.25, 0.5, 0.5])


def test_panels_name_unit_and_layers_and_nothing_overlaps_or_is_cut() -> None:
    many = [("decoder", layer, head) for layer, head in product(range(40), range(3))]
    values = np.linspace(0, 1, len(many))
    figure = draw_spread(statistics(many, sink=values, distance=(values * 9, "tokens", (0.0, None))), model="m")
    assert {"layer", "fraction", "tokens", "m"} <= words(figure)
    axes = panel(figure, "sink")
    assert axes.get_xlim() == (-0.5, 39.5)
    assert axes.yaxis.label.get_visible()
    assert not faults(figure)


def test_an_undefined_head_has_no_point() -> None:
    values = VALUES.copy()
    values[3] = np.nan
    axes = panel(draw_spread(statistics(PLACES, sink=values)), "sink")
    assert sum(len(cloud.get_offsets()) for cloud in axes.collections if isinstance(cloud, PathCollection)) == 11


def test_without_values_there_is_nothing_to_draw() -> None:
    with pytest.raises(UsageError, match="nothing to draw"):
        draw_spread(statistics(PLACES, sink=np.full(12, np.nan)))
