"""One head as a picture: what is drawn, where the labels are, how masked and undefined cells look."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pictures import attention, faults, is_log, one_map, tokens, weights_image, words

from attncli.errors import UsageError
from attncli.plotting import heatmap

GREY = (0xD9, 0xD9, 0xD9)


@cache
def square(count: int) -> Figure:
    """Return the picture of a map of this number of tokens."""
    return heatmap.draw(attention(count))


@cache
def pixels(figure: Figure) -> NDArray[np.uint8]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def cell(figure: Figure, row: int, column: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The pixels of one cell."""
    image = pixels(figure)
    box = figure.axes[0].get_window_extent()
    top, left = image.shape[0] - round(box.y1), round(box.x0)
    tall, wide = round(box.height / shape[0]), round(box.width / shape[1])
    return image[top + row * tall : top + (row + 1) * tall, left + column * wide : left + (column + 1) * wide]


def test_weights_are_drawn_as_they_are_first_query_on_top() -> None:
    weights = [[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]]
    figure = heatmap.draw(one_map(weights))
    image = weights_image(figure)
    assert np.asarray(image.get_array()) == pytest.approx(np.array(weights))
    assert image.get_cmap().name == "viridis"
    assert tuple(image.get_extent()) == (0, 3, 2, 0)
    brightest = cell(figure, 0, 0, (2, 3)).mean(axis=(0, 1))
    darkest = cell(figure, 0, 2, (2, 3)).mean(axis=(0, 1))
    assert brightest.sum() > darkest.sum()


def test_title_axes_and_colour_bar_name_what_is_drawn() -> None:
    figure = heatmap.draw(one_map(np.full((6, 6), 1 / 6)), model="bert-base", note="text 2 of 3")
    texts = words(figure)
    assert "encoder self-attention · layer 3 · head 5" in texts
    assert {"bert-base", "text 2 of 3", "query token", "key token"} <= texts
    assert any(text.startswith("attention weight") for text in texts)


def test_aggregates_and_transforms_are_named() -> None:
    made = attention(4, heads=[3])
    assert "encoder self-attention · layer 0 · mean of heads" in words(heatmap.draw(made.mean("head")))
    mean = attention(4, heads=[1, 1]).mean("layer")
    assert "encoder self-attention · mean of layers · head 0" in words(heatmap.draw(mean))


def test_each_token_has_its_label_on_both_axes_where_there_is_room() -> None:
    axes = heatmap.draw(attention(13, 7, kind="cross")).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(tokens(13).pieces)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(tokens(7).pieces)


@pytest.mark.parametrize(
    ("queries", "keys", "causal"),
    [
        *((1, 1, False), (2, 40, False), (5, 5, True), (32, 32, True), (128, 128, False)),
        *((512, 512, True), (3, 512, False), (200, 4, False)),
    ],
)
def test_texts_never_overlap_and_stay_on_the_page(queries: int, keys: int, causal: bool) -> None:
    figure = heatmap.draw(attention(queries, keys, kind="decoder", causal=causal), model="a/model", note="text 1")
    assert not faults(figure)


def test_fewer_labels_are_evenly_spaced_and_have_their_position() -> None:
    axes = square(512).axes[0]
    shown = [tick.get_text() for tick in axes.get_yticklabels()]
    positions = [int(text.split()[1]) for text in shown]
    steps = {later - earlier for earlier, later in pairwise(positions)}
    assert len(steps) == 1
    assert 40 < len(shown) < 512
    assert all(text.split()[0] == tokens(512).pieces[n] for text, n in zip(shown, positions, strict=True))
    assert [float(at) for at in axes.get_yticks()] == [n + 0.5 for n in positions]


def test_figure_grows_with_tokens_but_not_without_end() -> None:
    widths = [square(count).get_size_inches()[0] for count in (5, 33, 100, 512)]
    assert widths == sorted(widths)
    assert widths[-1] < 14


@pytest.mark.parametrize("count", [5, 33, 100, 512])
def test_cells_are_whole_pixels(count: int) -> None:
    box = square(count).axes[0].get_window_extent()
    assert box.width / count == pytest.approx(round(box.width / count), abs=1e-6)
    assert box.height / count == pytest.approx(round(box.height / count), abs=1e-6)


def test_few_weights_are_written_into_their_cells() -> None:
    assert {"0.25", "0.75"} <= words(heatmap.draw(one_map([[0.25, 0.75]])))
    assert not any(text.startswith("0.0") and len(text) == 4 for text in words(heatmap.draw(attention(9))) - {"0.00"})


def test_masked_keys_are_grey_with_a_legend() -> None:
    figure = heatmap.draw(attention(4, causal=True))
    assert (cell(figure, 0, 3, (4, 4)) == GREY).all()
    assert not (cell(figure, 3, 0, (4, 4)) == GREY).all(-1).any()
    assert "masked key" in words(figure)
    assert "undefined" not in words(figure)
    assert "masked key" not in words(heatmap.draw(attention(4)))


def test_undefined_rows_are_hatched_with_a_legend() -> None:
    weights = np.full((4, 4), 0.25)
    weights[2] = np.nan
    figure = heatmap.draw(one_map(weights))
    hatched = cell(figure, 2, 1, (4, 4))
    assert len(np.unique(hatched.reshape(-1, 3), axis=0)) > 1
    assert (hatched.max(-1).astype(int) - hatched.min(-1) < 3).all()
    assert (hatched > 150).all()
    assert "undefined" in words(figure)
    assert not np.ma.getmaskarray(weights_image(figure).get_array())[[0, 1, 3]].any()


@pytest.mark.parametrize("sees", ["nothing", "earlier keys"])
def test_an_undefined_row_looks_the_same_whatever_its_mask_is(sees: str) -> None:
    made = attention(4, causal=True)
    (maps,) = made.layers
    weights, visible = np.array(maps.weights), np.array(maps.visible)
    weights[0, 1] = np.nan
    if sees == "nothing":
        visible[0, 1] = False
    figure = heatmap.draw(replace(made, layers=(replace(maps, weights=weights, visible=visible),)))
    for column in range(4):
        hatched = cell(figure, 1, column, (4, 4))
        assert len(np.unique(hatched.reshape(-1, 3), axis=0)) > 1
        assert (hatched > 150).all()
    assert (cell(figure, 2, 3, (4, 4)) == GREY).all()
    assert {"undefined", "masked key"} <= words(figure)


def test_everything_undefined_still_draws() -> None:
    assert "undefined" in words(heatmap.draw(one_map(np.full((3, 3), np.nan))))
    assert "undefined" in words(heatmap.draw(one_map(np.full((3, 3), np.nan)), log=True))


def test_colour_scale_ends_at_the_largest_weight_or_at_vmax() -> None:
    assert weights_image(heatmap.draw(one_map([[0.2, 0.4]]))).norm.vmax == pytest.approx(0.4)
    assert weights_image(heatmap.draw(one_map([[0.2, 0.4]]), vmax=1.0)).norm.vmax == 1.0


def test_log_scale_is_an_option_that_the_colour_bar_names() -> None:
    figure = heatmap.draw(attention(5), log=True)
    assert is_log(figure)
    assert any("log scale" in text for text in words(figure))
    assert not is_log(heatmap.draw(attention(5)))


def test_more_tokens_than_pixels_are_pooled_without_losing_a_weight() -> None:
    weights = np.zeros((3, 5000), np.float32)
    weights[1, 4321] = 0.7
    figure = heatmap.draw(one_map(weights))
    drawn = np.ma.asarray(weights_image(figure).get_array())
    assert drawn.shape == (3, 1667)
    assert drawn[1, 4321 // 3] == pytest.approx(0.7)
    assert any("each cell is the largest of 1 x 3 weights" in text for text in words(figure))
    assert not faults(figure)


def test_several_maps_are_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"one map, got 2 in layer 0, 2 in layer 1: select one layer and one head"):
        heatmap.draw(attention(3, heads=[2, 2]))


def test_a_map_of_no_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one query and one key"):
        heatmap.draw(attention(0))


def test_labels_fall_back_to_positions_where_lengths_differ() -> None:
    made = replace(one_map([[0.5, 0.5]]), keys=tokens(9))
    axes = heatmap.draw(made).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1"]


def test_eight_times_the_tokens_need_less_than_twice_the_artists() -> None:
    few, many = (len(square(count).findobj()) for count in (64, 512))
    assert many < 2 * few
