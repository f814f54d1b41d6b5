"""Long texts as pictures: pooled cells, windows, round positions, and where parts of the text begin."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from pictures import attention, faults, is_log, shown, tokens, weights_image, words

from attncli.data import Attention, Tokens, Zoom
from attncli.data.transforms import zoomed
from attncli.plotting import grid, heatmap
from attncli.plotting.cells import DRAWN, INVISIBLE, Cells
from attncli.plotting.marks import segment_starts
from attncli.studies.heatmap.report import PictureChoice, pictures


def pooled(count: int, resolution: int, pool: Any = "mean", **more: Any) -> Attention:
    made = attention(count, kind="decoder", causal=True, **more)
    return zoomed(made, Zoom(resolution, pool))


def on_heads(made: Attention, counts: list[int]) -> Attention:
    """Return the map of one head for every head of layers with these numbers of heads."""
    (maps,) = made.layers
    layers = (
        replace(maps, layer=layer, heads=tuple(range(count)), weights=np.repeat(maps.weights, count, axis=0))
        for layer, count in enumerate(counts)
    )
    return replace(made, layers=tuple(layers))


def ticks(figure: Figure, axis: str = "y") -> list[str]:
    axes = figure.axes[0]
    return [tick.get_text() for tick in (axes.get_yticklabels() if axis == "y" else axes.get_xticklabels())]


def lines(figure: Figure) -> list[LineCollection]:
    return [artist for artist in figure.axes[0].collections if isinstance(artist, LineCollection)]


def tokens_in_segments(count: int, **names: int) -> Tokens:
    """Tokens in segments of these lengths."""
    segments = [name for name, share in names.items() for _ in range(share)]
    return replace(tokens(count), segments=tuple(segments))


def test_the_colour_bar_names_the_pooling() -> None:
    assert "mean attention weight in 4 x 4 tokens (fraction)" in words(heatmap.draw(pooled(60, 15)))
    made = pooled(60, 20, "max")
    assert "largest attention weight in 3 x 3 tokens (fraction, log scale)" in words(heatmap.draw(made, log=True))
    assert any("attention weight (fraction)" in text for text in words(heatmap.draw(attention(12))))


def test_fully_masked_cells_are_grey_in_pooled_maps_too() -> None:
    figure = heatmap.draw(pooled(60, 15))
    drawn = np.ma.getmaskarray(weights_image(figure).get_array())
    np.testing.assert_array_equal(drawn, ~np.tri(15, dtype=bool))
    assert "masked key" in words(figure)


@pytest.mark.parametrize(("count", "resolution"), [(300, 100), (2000, 200), (777, 64), (5000, 50)])
def test_pooled_axes_carry_round_positions(count: int, resolution: int) -> None:
    made = zoomed(attention(count, 40, kind="cross"), Zoom(resolution))
    figure = heatmap.draw(made)
    places = [int(text) for text in ticks(figure)]
    (step,) = {later - earlier for earlier, later in pairwise(places)}
    assert places[0] == 0
    assert str(step).rstrip("0") in {"1", "2", "5"}
    assert 3 <= len(places) <= 40
    at = [float(place) for place in figure.axes[0].get_yticks()]
    assert at == pytest.approx([(place + 0.5) / made.cell[0] for place in places])
    assert "target position (read)" in words(figure)
    assert not faults(figure)


def test_a_small_window_names_each_token_with_its_position() -> None:
    made = zoomed(attention(400), Zoom(rows=(300, 312), keys=(0, 5)))
    figure = heatmap.draw(made)
    assert ticks(figure) == [f"{tokens(400).pieces[at]} {at}" for at in range(300, 313)]
    assert ticks(figure, "x")[-1].endswith(" 5")
    assert any("queries 300-312, keys 0-5" in text for text in words(figure))
    np.testing.assert_array_equal(np.asarray(weights_image(figure).get_array()), made.layers[0].weights[0])


def test_a_large_window_has_round_positions_of_the_text() -> None:
    figure = heatmap.draw(zoomed(attention(900), Zoom(rows=(313, 850))))
    places = [int(text) for text in ticks(figure)]
    assert places[0] > 313
    assert all(place % (places[1] - places[0]) == 0 for place in places)
    assert float(figure.axes[0].get_yticks()[0]) == places[0] - 313 + 0.5
    assert not faults(figure)


def test_segments_of_a_long_text_are_lines_with_names() -> None:
    side = tokens_in_segments(300, system=40, user=100, assistant=160)
    figure = heatmap.draw(zoomed(attention(side), Zoom(100)))
    across, down = lines(figure)
    assert [float(segment[0][1]) for segment in across.get_segments()] == pytest.approx([40 / 3, 140 / 3])
    assert [float(segment[0][0]) for segment in down.get_segments()] == pytest.approx([40 / 3, 140 / 3])
    named = [text.get_text() for text in shown(figure)]
    assert [named.count(name) for name in ("system", "user", "assistant")] == [2, 2, 2]
    assert not faults(figure)


def test_paragraphs_are_lines_by_the_blank_lines_of_the_text() -> None:
    text = "ab " * 100 + "\n \n" + "cd " * 100 + "\n\n\n" + "ef " * 100
    at = [(n, n + 2) for n in range(0, len(text), 3) if text[n : n + 3].strip()]
    made = replace(tokens(len(at)), text=text, offsets=np.array(at))
    figure = heatmap.draw(zoomed(attention(made), Zoom(150)))
    across, _ = lines(figure)
    assert [float(segment[0][1]) for segment in across.get_segments()] == [50.0, 100.0]
    assert {"¶1", "¶2", "¶3"} <= words(figure)
    window = zoomed(attention(made), Zoom(rows=(90, 120), keys=(120, 130)))
    across, *down = lines(heatmap.draw(window))
    assert [float(segment[0][1]) for segment in across.get_segments()] == [10.0]
    assert down == []


def test_short_texts_and_crowded_parts_have_no_lines() -> None:
    assert not lines(heatmap.draw(attention(tokens_in_segments(60, a=30, b=30))))
    many = replace(tokens(400), segments=tuple("ab"[n % 2] for n in range(400)))
    assert not lines(heatmap.draw(zoomed(attention(many), Zoom(100))))


def test_tokens_of_no_segment_belong_to_the_one_before() -> None:
    side = replace(tokens(6), segments=("", "a", "a", "", "b", ""))
    assert segment_starts(side) == [(1, "a"), (4, "b")]


def test_a_page_of_long_texts_has_positions_and_lines_of_segments() -> None:
    side = tokens_in_segments(1000, user=500, assistant=500)
    made = zoomed(attention(side, heads=[4, 4], causal=True), Zoom(100))
    figure = grid.draw(made, model="m")
    assert {"0", "200", "800"} <= words(figure)
    assert any("each cell is the mean of 10 x 10 weights" in text for text in words(figure))
    assert any("lines where segments begin: user, assistant" in text for text in words(figure))
    assert len(lines(figure)) == 2 * 8
    assert not faults(figure)


@pytest.mark.parametrize(("count", "heads"), [(700, [12] * 12), (300, [8]), (2000, [3] * 3), (400, [32] * 8)])
def test_pages_of_long_texts_never_overlap(count: int, heads: list[int]) -> None:
    side = tokens_in_segments(count, system=count // 4, user=count - count // 4)
    made = on_heads(zoomed(attention(side), Zoom(100)), heads)
    assert not faults(grid.draw(made, model="some/model", note="text 0 (of 0-1)"))


def test_means_are_pooled_by_their_mean_and_maxima_by_their_maximum() -> None:
    weights = np.array([[0.1, 0.5, 0.3], [0.2, 0.9, 0.7]], np.float32)
    state = np.array([[DRAWN, INVISIBLE, DRAWN], [DRAWN, DRAWN, INVISIBLE]], np.uint8)
    pooled_cells = Cells(weights, state).pooled(2, 2, mean=True)
    np.testing.assert_allclose(pooled_cells.weights, [[0.4, 0.3]], rtol=1e-6)
    assert pooled_cells.state.tolist() == [[DRAWN, DRAWN]]
    whole = on_heads(attention(900), [12])
    page = grid.draw(zoomed(whole, Zoom(899, panel=700)))
    assert any("each cell is the mean of" in text and "means of 2 x 2 weights" in text for text in words(page))
    page = grid.draw(zoomed(whole, Zoom(899, "max", panel=700)))
    assert any("each cell is the largest of 4 x 4 weights" in text for text in words(page))


def test_maps_pooled_for_a_page_have_at_most_the_pixels_of_a_panel() -> None:
    zoom = PictureChoice().fit(Zoom(1024), [[12] * 12])
    assert zoom.panel == 1900 // 12
    made = zoomed(attention(2000), zoom)
    figure = grid.draw(made)
    assert not any("means of" in text for text in words(figure))
    assert PictureChoice(layers=True).fit(Zoom(1024), [[12]]) == Zoom(1024, beside=("mean",))
    assert PictureChoice().fit(Zoom(), [[12]]) == Zoom(beside=("mean",))


@pytest.mark.parametrize(
    ("count", "log", "expected"), [(256, None, False), (257, None, True), (257, False, False), (9, True, True)]
)
def test_colours_are_logarithmic_by_default_past_256_tokens(count: int, log: bool | None, expected: bool) -> None:
    (picture,) = pictures(attention(3, count, kind="cross"), PictureChoice(each=True))
    assert is_log(picture.draw("m", log=log)) is expected


def test_hostile_tokens_and_segments_are_drawn() -> None:
    many = [*HOSTILE] * (600 // len(HOSTILE) + 1)
    side = replace(Tokens.plain(many), segments=tuple(["$a$\u202e"] * 300 + ["[/INST]"] * (len(many) - 300)))
    for made in (zoomed(attention(side), Zoom(100)), zoomed(attention(side), Zoom(rows=(290, 310), keys=(0, 9)))):
        figure = heatmap.draw(made)
        assert not faults(figure)
        assert not any("\u202e" in text.get_text() for text in shown(figure))
        assert not any(text.get_parse_math() for text in shown(figure) if "$" in text.get_text())
