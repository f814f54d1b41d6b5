"""Many heads on one page: each panel at its layer and head, one colour scale, gaps without a head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pictures import attention, faults, is_log, one_map, weights_image, words

from attncli.data import Attention, LayerMaps
from attncli.errors import UsageError
from attncli.plotting import grid
from attncli.plotting.cells import DRAWN, GAP, INVISIBLE, UNDEFINED, Cells
from attncli.plotting.mosaic import compose_panels, plan_mosaic


def panel(figure: Figure, made: Attention, row: int, column: int, down: int, across: int) -> NDArray[Any]:
    """The cells of one panel of the mosaic, cut out of the drawn array."""
    whole = np.ma.asarray(weights_image(figure).get_array())
    rows, columns = (len(side) for side in (made.queries, made.keys))
    tall, wide = (whole.shape[0] - down * rows) // max(down - 1, 1), (whole.shape[1] - across * columns)
    gap = (tall if down > 1 else 0, wide // max(across - 1, 1))
    top, left = row * (rows + gap[0]), column * (columns + gap[1])
    return whole[top : top + rows, left : left + columns]


def test_layers_are_rows_and_heads_are_columns() -> None:
    made = attention(6, 4, heads=[3, 3], kind="cross")
    figure = grid.draw(made)
    for layer in range(2):
        for head in range(3):
            drawn = panel(figure, made, layer, head, 2, 3)
            assert np.asarray(drawn) == pytest.approx(made.layers[layer].weights[head])
    assert "cross-attention · 2 layers x 3 heads" in words(figure)
    assert {"layer", "head", "0", "1", "2"} <= words(figure)


def test_the_whole_mosaic_is_one_image() -> None:
    figure = grid.draw(attention(8, heads=[6] * 6))
    assert [len(axes.images) for axes in figure.axes] == [2, 0]
    assert len(figure.axes) == 2


def test_a_layer_shows_its_heads_and_last_their_mean() -> None:
    made = attention(5, heads=[3])
    figure = grid.draw(made)
    assert {"head 0", "head 1", "head 2", "mean of heads"} <= words(figure)
    assert "encoder self-attention · layer 0 · 3 heads and their mean" in words(figure)
    mean = panel(figure, made, 1, 1, 2, 2)
    assert np.asarray(mean) == pytest.approx(made.layers[0].weights.mean(0))


def test_a_selection_keeps_its_true_numbers() -> None:
    weights = attention(4, heads=[2]).layers[0].weights
    made = attention(4)
    layers = (LayerMaps(2, (5, 7), weights), LayerMaps(9, (7, 11), weights))
    figure = grid.draw(replace(made, layers=layers))
    assert {"2", "9", "5", "7", "11"} <= words(figure)
    assert np.ma.getmaskarray(panel(figure, made, 0, 2, 2, 3)).all()
    assert np.ma.getmaskarray(panel(figure, made, 1, 0, 2, 3)).all()
    assert np.asarray(panel(figure, made, 1, 1, 2, 3)) == pytest.approx(weights[0])


def test_layers_with_fewer_heads_leave_gaps_that_are_no_data() -> None:
    made = attention(6, heads=[4, 2, 3])
    figure = grid.draw(made)
    assert np.ma.getmaskarray(panel(figure, made, 1, 3, 3, 4)).all()
    assert not np.ma.getmaskarray(panel(figure, made, 1, 1, 3, 4)).any()
    assert "undefined" not in words(figure)
    assert not faults(figure)


def test_one_map_per_layer_is_arranged_in_a_near_square() -> None:
    figure = grid.draw(attention(5, heads=[3] * 4).mean("head"))
    assert {f"layer {n}" for n in range(4)} <= words(figure)
    assert "encoder self-attention · 4 layers · mean of heads" in words(figure)
    assert not faults(figure)


def test_all_panels_share_one_scale_unless_each_has_its_own() -> None:
    made = attention(4, heads=[2])
    weights = made.layers[0].weights * np.array([1.0, 0.01])[:, None, None]
    faint = replace(made, layers=(LayerMaps(0, (0, 1), weights),))
    shared, own = grid.draw(faint), grid.draw(faint, each=True)
    assert weights_image(shared).norm.vmax == pytest.approx(weights.max())
    assert panel(shared, faint, 0, 1, 1, 3).max() == pytest.approx(weights[1].max())
    assert panel(own, faint, 0, 1, 1, 3).max() == panel(own, faint, 0, 0, 1, 3).max() == 1.0
    assert any("share one colour scale" in text for text in words(shared))
    assert any("its own colour scale" in text for text in words(own))
    assert any(text.startswith("share of own maximum") for text in words(own))


def test_vmax_and_log_are_used() -> None:
    figure = grid.draw(attention(4, heads=[2, 2]), vmax=2.0, log=True)
    assert weights_image(figure).norm.vmax == 2.0
    assert is_log(figure)


@pytest.mark.parametrize(
    ("queries", "keys", "heads", "causal"),
    [
        *((5, 5, [12] * 6, False), (16, 16, [4] * 4, True), (16, 16, [12] * 12, True), (32, 32, [12] * 12, False)),
        *((128, 128, [3] * 3, True), (512, 512, [2] * 2, False), (3, 60, [6] * 6, False), (1, 1, [1], False)),
        *((9, 9, [13], True), (2, 200, [4], False), (4, 4, [64] * 2, False), (4, 4, [1] * 80, False)),
    ],
)
def test_texts_never_overlap_and_stay_on_the_page(queries: int, keys: int, heads: list[int], causal: bool) -> None:
    made = attention(queries, keys, heads=heads, kind="decoder", causal=causal)
    assert not faults(grid.draw(made, model="some/model", note="text 0 (of 0-1)"))


def test_tokens_label_the_margins_only_where_they_fit() -> None:
    assert {"animal", "tired"} <= words(grid.draw(attention(14, heads=[4] * 4)))
    assert "animal" not in words(grid.draw(attention(256, heads=[4] * 4)))


def test_many_tokens_are_pooled_to_their_largest_as_the_header_says() -> None:
    made = attention(512, heads=[12])
    weights = np.zeros((12, 512, 512), np.float32)
    weights[7, 401, 33] = 0.5
    figure = grid.draw(replace(made, layers=(LayerMaps(0, tuple(range(12)), weights),)))
    drawn = np.ma.asarray(weights_image(figure).get_array())
    assert (drawn == 0.5).sum() == 1
    assert any("each cell is the largest of" in text for text in words(figure))
    assert max(figure.bbox.size) < 3000


def test_undefined_rows_and_masked_keys_have_their_own_looks() -> None:
    made = attention(5, heads=[2, 2], causal=True)
    weights = np.array(made.layers[0].weights)
    weights[0, 3] = np.nan
    figure = grid.draw(replace(made, layers=(LayerMaps(0, (0, 1), weights, made.layers[0].visible), made.layers[1])))
    assert {"undefined", "masked key"} <= words(figure)
    drawn = panel(figure, made, 0, 0, 2, 2)
    assert np.ma.getmaskarray(drawn)[3].all()
    assert not np.ma.getmaskarray(drawn)[4].any()


def test_a_grid_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one layer"):
        grid.draw(replace(attention(3), layers=()))
    with pytest.raises(UsageError, match="at least one layer"):
        grid.draw(attention(0))


def test_pooling_keeps_the_strongest_state_of_each_block() -> None:
    weights = np.array([[0.1, 0.4, 0.0], [0.2, np.nan, np.nan]], np.float32)
    state = np.array([[DRAWN, DRAWN, INVISIBLE], [DRAWN, UNDEFINED, UNDEFINED]], np.uint8)
    pooled = Cells(weights, state).pooled(2, 2)
    assert pooled.weights.tolist() == [[pytest.approx(0.4), 0.0]]
    assert pooled.state.tolist() == [[DRAWN, UNDEFINED]]


def test_smaller_panels_leave_a_gap() -> None:
    def cells(rows: int, columns: int) -> Cells:
        return Cells(np.ones((rows, columns), np.float32), np.full((rows, columns), DRAWN, np.uint8))

    geometry = plan_mosaic((3, 3), (1, 2), (5, 5))
    whole = compose_panels([[cells(3, 3), cells(2, 2)]], geometry)
    assert (whole.state[:, : geometry.columns] == DRAWN).all()
    second = whole.state[:, geometry.left(1) :]
    assert (second[:2, :2] == DRAWN).all()
    assert (second[2] == GAP).all()


def test_a_mean_map_of_layers_draws() -> None:
    figure = grid.draw(attention(4, heads=[2, 2]).mean("layer"))
    assert "encoder self-attention · mean of layers · 2 heads and their mean" in words(figure)
    assert "encoder self-attention · layer 3 · head 5" in words(grid.draw(one_map([[1.0]])))


def test_a_subtitle_that_is_too_wide_is_wrapped_between_its_parts() -> None:
    note = " · ".join(f"part {n} of what is said about the picture" for n in range(12))
    figure = grid.draw(attention(12), model="a/model", note=note)
    lines = [text for text in words(figure) if "of what is said" in text]
    assert len(lines) > 1
    assert not any("…" in line for line in lines)
    assert sorted(part for line in lines for part in line.split(" · ") if part.startswith("part")) == sorted(
        note.split(" · ")
    )
    assert not faults(figure)
