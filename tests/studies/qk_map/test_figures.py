"""The pictures of maps: what they show, for one head and for many, in each colouring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from pictures import faults, words

from attncli.data import RunInfo
from attncli.studies.qk_map import figures
from attncli.studies.qk_map.colouring import SIDE_COLOURS, colouring
from attncli.studies.qk_map.head_maps import HeadMaps, MapTokens
from attncli.studies.qk_map.options import QueryKeyMapOptions
from attncli.studies.qk_map.quality import QUALITY
from attncli.studies.qk_map.result import QueryKeyMap

RANDOM = np.random.default_rng(0)


def made(
    heads: list[tuple[int, int]], count: int = 24, *, color: str = "side", correlation: float = 0.62
) -> QueryKeyMap:
    """A made map of these heads, half of its points queries."""
    names = tuple((HOSTILE * count)[:count])
    places = np.arange(count) % (count // 2)
    tokens = MapTokens(places // 4, places % 4, names, places % 4, count // 2)
    layers, numbers = np.array(heads).T
    quality = dict.fromkeys(QUALITY, np.full(len(heads), 0.1)) | {"correlation": np.full(len(heads), correlation)}
    points, norms = RANDOM.normal(size=(len(heads), count, 2)), 1 + RANDOM.random((len(heads), count))
    empty = np.zeros((len(heads), count // 2, 8))
    group = HeadMaps(tokens, layers, numbers, points, norms, (), np.ones(len(heads)), empty.astype(int), empty, quality)
    return QueryKeyMap(RunInfo("made"), (), {"encoder": group}, QueryKeyMapOptions(color=color))


def points_of(figure: Figure) -> list[PathCollection]:
    return [part for axes in figure.axes for part in axes.collections if isinstance(part, PathCollection)]


def test_every_head_has_a_panel_with_its_name_and_how_true_it_is() -> None:
    heads = [(layer, head) for layer in (0, 2) for head in range(3)]
    figure = figures.draw_heads(made(heads), "encoder", model="a/model", note="a note")
    assert {"0.0", "0.1", "0.2", "2.0", "2.2", "0.62", "layer 0", "layer 2", "query", "key"} <= words(figure)
    drawn = points_of(figure)
    assert len(drawn) == 6
    assert all(len(part.get_offsets()) == 24 for part in drawn)
    assert not faults(figure)


def test_a_poor_map_has_another_background_and_says_why() -> None:
    good, poor = (made([(3, 1)], correlation=value) for value in (0.62, 0.2))
    pictures = [figures.draw_head(result, "encoder") for result in (good, poor)]
    assert pictures[0].axes[0].get_facecolor() != pictures[1].axes[0].get_facecolor()
    said = "a poor map: near says little about attention; its vectors do not show it in all dimensions either"
    assert [said in words(figure) for figure in pictures] == [False, True]
    assert "a good map: near means attended" in words(pictures[0])
    lines = " ".join(words(pictures[1]))
    assert "rank correlation 0.20 (all dimensions 0.10, random points up to 0.10)" in lines
    assert "strongest key among the 10 nearest: 10% (all dimensions 10%, chance 10%)" in lines
    assert not faults(pictures[1])


def test_one_head_shows_tokens_where_they_cover_no_other_label() -> None:
    figure = figures.draw_head(made([(0, 0)], 400), "encoder")
    labels = [text for text in figure.axes[0].texts if text.get_text()]
    assert 20 < len(labels) <= 110
    assert not faults(figure)


@pytest.mark.parametrize(("color", "label"), [("position", "position in the text"), ("text", "text")])
def test_numbers_get_a_colour_bar(color: str, label: str) -> None:
    figure = figures.draw_heads(made([(0, 0), (0, 1)], color=color), "encoder")
    assert label in {axes.get_ylabel() for axes in figure.axes}
    assert not faults(figure)


def test_the_bar_of_norms_that_differ_little_has_more_numbers_than_1() -> None:
    result = made([(0, 0)], color="norm")
    group = replace(result.groups["encoder"], norms=1 + RANDOM.random((1, 24)) / 10)
    figure = figures.draw_heads(replace(result, groups={"encoder": group}), "encoder")
    bar = next(axes for axes in figure.axes if axes.get_ylabel().startswith("norm"))
    assert [label.get_text() for label in bar.get_yticklabels(which="both")] == ["0.8", "0.9", "1", "1.1", "1.25"]


def test_colours_of_sides_types_and_norms() -> None:
    result = made([(0, 0)])
    assert set(colouring(result, "encoder").of_head(0)[:12]) == {SIDE_COLOURS[0]}
    assert set(colouring(result, "encoder").of_head(0)[12:]) == {SIDE_COLOURS[1]}
    types = colouring(replace(result, options=QueryKeyMapOptions(color="type")), "encoder")
    assert list(types.names) == ["word", "piece", "punctuation", "special"]
    assert len(set(types.of_head(0))) == 4
    norms = colouring(replace(result, options=QueryKeyMapOptions(color="norm")), "encoder")
    group = result.groups["encoder"]
    for side in (slice(0, 12), slice(12, None)):
        own = group.norms[0, side]
        assert norms.values[0, side] == pytest.approx(own / np.median(own))
