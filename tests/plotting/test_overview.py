"""All heads by numbers: a panel per metric, a colour scale per unit; undefined heads are hatched."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from pictures import faults, shown, statistics, words

from attncli.data import Kind, Statistics
from attncli.errors import UsageError
from attncli.plotting import overview
from attncli.plotting.colours import DIVERGING

ONE = [("encoder", layer, head) for layer, head in product(range(2), range(3))]


def panels(figure: Figure) -> dict[str, list[Axes]]:
    """Axes by the metric in their title."""
    found: dict[str, list[Axes]] = {}
    for axes in figure.axes:
        if name := axes.get_title("left"):
            found.setdefault(name, []).append(axes)
    return found


def image(axes: Axes) -> AxesImage:
    return next(image for image in axes.images if np.ma.asarray(image.get_array()).ndim == 2)


def bars(figure: Figure) -> dict[str, Axes]:
    """Colour bars by their label."""
    return {gid.removeprefix("scale: "): axes for axes in figure.axes if (gid := axes.get_gid())}


def many(kinds: list[Kind], layers: int, heads: int, metrics: int) -> Statistics:
    places = list(product(kinds, range(layers), range(heads)))
    rng = np.random.default_rng(0)
    return statistics(places, **{name: rng.random(len(places)) for name in overview.MAIN[:metrics]})


def test_values_are_drawn_at_their_layer_and_head() -> None:
    values = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    (axes,) = panels(overview.draw(statistics(ONE, sink=values)))["sink"]
    assert np.asarray(image(axes).get_array()) == pytest.approx(np.reshape(values, (2, 3)))
    assert {"0.00", "0.50"} <= {text.get_text() for text in axes.texts}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("layer", "head")


def test_each_panel_has_its_unit() -> None:
    made = statistics(
        ONE,
        sink=np.ones(6) / 2,
        distance=(np.arange(6.0), "tokens", (0.0, None)),
        distance_ratio=(np.ones(6), "1", (0.0, None)),
    )
    assert {"tokens", "fraction", "ratio"} <= words(overview.draw(made))


def test_main_metrics_come_first_and_others_on_request() -> None:
    made = statistics(ONE, entropy=np.ones(6), sink=np.ones(6), confidence=np.ones(6))
    assert list(panels(overview.draw(made))) == ["confidence", "sink"]
    assert list(panels(overview.draw(made, metrics=["entropy"]))) == ["entropy"]
    assert list(panels(overview.draw(statistics(ONE, mine=np.ones(6))))) == ["mine"]


def test_unknown_metric_offers_close_names() -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'sinc': did you mean 'sink'\?"):
        overview.draw(statistics(ONE, sink=np.ones(6)), metrics=["sinc"])


def test_scale_starts_at_the_smallest_possible_value() -> None:
    made = statistics(ONE, sink=np.linspace(0.4, 0.8, 6), other=(np.linspace(-3, 2, 6), "tokens", (None, None)))
    found = panels(overview.draw(made, metrics=["sink", "other"]))
    assert (image(found["sink"][0]).norm.vmin, image(found["sink"][0]).norm.vmax) == (0.0, pytest.approx(0.8))
    assert (image(found["other"][0]).norm.vmin, image(found["other"][0]).norm.vmax) == (-3.0, 2.0)


def test_numbers_of_a_colour_bar_stand_apart() -> None:
    made = statistics(ONE, mine=(np.linspace(0, 0.0248, 6), "1", (0.0, None)))
    ticks = bars(overview.draw(made))["ratio"].get_xticklabels()
    left, right = (np.array([getattr(tick.get_window_extent(), side) for tick in ticks]) for side in ("x0", "x1"))
    assert len(ticks) >= 2
    assert (left[1:] - right[:-1]).min() > 5


def test_metrics_with_a_middle_have_two_colours_around_it() -> None:
    made = statistics(ONE, distance_ratio=([0.5, 1, 1, 1, 1, 3.0], "1", (0.0, None)))
    figure = overview.draw(made, neutral={"distance_ratio": 1.0})
    drawn = image(panels(figure)["distance ratio"][0])
    assert drawn.get_cmap().name == DIVERGING
    assert (drawn.norm.vmin, drawn.norm.vmax) == (-1.0, 3.0)
    assert bars(figure)["ratio"].get_xlim() == (0.0, 3.0)


def test_metrics_of_a_unit_share_a_scale_and_a_bar_that_their_titles_name() -> None:
    made = statistics(
        ONE,
        sink=np.linspace(0, 0.4, 6),
        self_mass=np.linspace(0.1, 0.8, 6),
        distance=(np.arange(6.0), "tokens", (0.0, None)),
        offset=(np.arange(6.0), "tokens", (None, None)),
    )
    figure = overview.draw(made, metrics=list(made.heads), neutral={"offset": 0.0}, labels={"self_mass": "to itself"})
    assert [image(axes).norm.vmax for axes in (*panels(figure)["sink"], *panels(figure)["to itself"])] == [0.8, 0.8]
    assert [axes.get_gid() for axes in figure.axes if axes.get_gid()] == [
        "scale: fraction",
        "scale: tokens: distance",
        "scale: tokens: offset",  # a scale of two colours
    ]
    said = [text.get_text() for text in shown(figure)]
    assert (said.count("fraction"), said.count("tokens")) == (1 + 2, 2)
    alone = [text.get_text() for text in shown(overview.draw(made, metrics=["sink", "self_mass"]))]
    assert alone.count("fraction") == 1
    assert "self mass" in alone


def test_changes_are_centred_on_no_change_and_say_so() -> None:
    made = statistics(ONE, sink=np.linspace(-0.1, 0.3, 6), js_distance=(np.ones(6), "√nat", (0.0, 0.84)))
    figure = overview.draw(made, metrics=["js_distance", "sink"], changes=["sink"])
    assert list(bars(figure)) == ["√nat", "change (fraction)"]
    assert bars(figure)["change (fraction)"].get_xlim() == pytest.approx((-0.3, 0.3))


def test_a_metric_has_one_scale_in_all_kinds_and_a_row_for_each() -> None:
    places: list[tuple[Kind, int, int]] = [("encoder", 0, 0), ("decoder", 0, 0), ("cross", 0, 0)]
    figure = overview.draw(statistics(places, sink=[0.1, 0.5, 0.9], self_mass=[0.1, 0.2, np.nan]))
    found = panels(figure)
    assert [image(axes).norm.vmax for axes in found["sink"]] == [0.9, 0.9, 0.9]
    assert len(found["self mass"]) == 2
    assert {"encoder self-attention", "decoder self-attention", "cross-attention"} <= words(figure)


def test_undefined_is_hatched_and_a_missing_head_is_blank() -> None:
    places: list[tuple[Kind, int, int]] = [("decoder", 0, 0), ("decoder", 0, 1), ("decoder", 1, 0)]
    figure = overview.draw(statistics(places, sink=[0.5, np.nan, 0.2]))
    (axes,) = panels(figure)["sink"]
    assert np.ma.getmaskarray(image(axes).get_array()).tolist() == [[False, True], [False, True]]
    under: Any = axes.images[0].get_array()
    assert under[0, 1, 3] == 0
    assert under[1, 1].tolist() == [255] * 4
    assert axes.patch.get_hatch()
    assert "undefined" in words(figure)


def test_no_value_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to draw"):
        overview.draw(statistics(ONE, sink=np.full(6, np.nan)))
    with pytest.raises(UsageError, match="nothing to draw"):
        overview.draw(Statistics({}))


def test_equal_values_still_have_a_scale() -> None:
    made = statistics(ONE, sink=np.zeros(6), distance_ratio=(np.ones(6), "1", (0.0, None)))
    assert not faults(overview.draw(made, neutral={"distance_ratio": 1.0}))


@pytest.mark.parametrize(
    ("kinds", "layers", "heads", "metrics"),
    [
        (["encoder"], 6, 12, 13),
        (["decoder"], 30, 9, 12),
        (["encoder", "decoder", "cross"], 2, 4, 7),
        (["decoder"], 80, 64, 5),
        (["decoder"], 1, 1, 1),
        (["encoder"], 24, 2, 3),
    ],
)
def test_texts_never_overlap_and_stay_on_the_page(kinds: list[Kind], layers: int, heads: int, metrics: int) -> None:
    figure = overview.draw(many(kinds, layers, heads, metrics), model="a/model", note="mean over 3 texts")
    assert not faults(figure)
    assert figure.bbox.width <= 1400
