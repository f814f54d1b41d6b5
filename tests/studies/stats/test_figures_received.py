"""The picture of received attention: strong keys are never lost, sinks have dots and names, nothing is cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pictures import faults, is_log, shown, tokens, weights_image, words

from attncli.data import Array, Received, Tokens
from attncli.data.labels import label, label_with_position
from attncli.studies.stats.figures import draw_received


def made(values: Array, *, heads: Sequence[int] = (), keys: Tokens | None = None, causal: bool = False) -> Received:
    """`heads` counts the heads of each layer; values [head, key]."""
    rows, n = values.shape
    counts = heads or (rows,)
    layers = np.repeat(np.arange(len(counts)), counts)
    numbers = np.concatenate([np.arange(count) for count in counts])
    seen = np.tile(np.arange(n, 0, -1) if causal else np.full(n, n), (rows, 1))
    sides = tokens(n) if keys is None else keys
    return Received(0, "decoder", sides, layers, numbers, values, seen, np.full(rows, n))


def flat(rows: int, keys: int, sinks: Sequence[tuple[int, int]] = ()) -> Array:
    values = np.full((rows, keys), 1 / keys)
    for place in sinks:
        values[place] = 0.9
    return values


def dots(figure: Figure) -> list[tuple[float, float]]:
    (line,) = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    return list(zip(*np.asarray(line.get_data()).tolist(), strict=True))


def test_rows_are_heads_with_gaps_between_layers_and_columns_are_keys() -> None:
    values = np.random.default_rng(0).random((6, 9)) / 9
    image = weights_image(draw_received(made(values, heads=[2, 4])))
    drawn = np.ma.asarray(image.get_array())
    assert drawn.shape == (7, 9)
    assert np.ma.getmaskarray(drawn)[2].all()
    assert np.delete(drawn.data, 2, axis=0) == pytest.approx(values)


def test_in_a_long_text_each_column_shows_its_largest_key() -> None:
    values = flat(3, 5000, [(1, 4321)])
    figure = draw_received(made(values), model="m")
    drawn = np.ma.asarray(weights_image(figure).get_array())
    assert drawn.shape == (3, 1250)
    assert np.argwhere(drawn.data > 0.5).tolist() == [[1, 4321 // 4]]
    assert {
        "each column is the largest of 4 keys",
        "key position",
        f"{tokens(5000).pieces[4321]} 4321",
    } <= words(figure)
    assert not faults(figure)


def test_sinks_have_a_dot_and_their_token_is_named_once() -> None:
    figure = draw_received(made(flat(4, 30, [(0, 0), (2, 0), (3, 17)]), heads=[2, 2]))
    assert dots(figure) == [(0.5, 0.5), (0.5, 3.5), (17.5, 4.5)]
    assert {"the 0", "not 17", "sink: receives at least 0.3"} <= words(figure)
    assert "the 0" not in words(draw_received(made(flat(4, 30, [(0, 0)])), threshold=0.95))


def test_names_of_neighbouring_sinks_do_not_touch() -> None:
    near = [(at % 5, 3 * at) for at in range(30)] + [(1, 399)]
    figure = draw_received(made(flat(5, 400, near)))
    assert not faults(figure)
    ends = [line.get_xdata() for line in figure.axes[0].get_lines() if line.get_marker() != "o"]
    assert len(ends) == 31
    assert sorted(float(np.asarray(end)[0]) for end in ends) == [3 * at + 0.5 for at in range(30)] + [399.5]


def test_of_too_many_sinks_the_rarest_are_not_named() -> None:
    everywhere = np.full((3, 1300), 0.5)
    everywhere[0, ::2] = 0.1
    figure = draw_received(made(everywhere))
    assert not faults(figure)
    named = sum(1 for line in figure.axes[0].get_lines() if isinstance(line, Line2D) and line.get_marker() != "o")
    assert 60 < named < 100


def test_keys_that_few_queries_see_are_hatched() -> None:
    values = flat(2, 40)
    values[:, -2:] = 0.9
    figure = draw_received(made(values, causal=True))
    mask = np.ma.getmaskarray(weights_image(figure).get_array())
    assert np.flatnonzero(mask[0]).tolist() == [36, 37, 38, 39]
    assert "visible to fewer than 5 queries" in words(figure)
    assert not [line for line in figure.axes[0].get_lines() if len(line.get_xdata())]


def test_very_many_heads_are_combined_to_the_largest_of_each_layer() -> None:
    figure = draw_received(made(flat(600, 20, [(599, 3), (10, 5)]), heads=[20] * 30))
    drawn = np.ma.asarray(weights_image(figure).get_array())
    assert drawn.shape == (30, 20)
    assert np.argwhere(drawn.data > 0.5).tolist() == [[0, 5], [29, 3]]
    assert not faults(figure)


@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (1, 2), (2, 60), (144, 13), (400, 3000)])
def test_pictures_of_any_size_are_complete(rows: int, keys: int) -> None:
    figure = draw_received(made(flat(rows, keys, [(0, 0)])), model="a/model", note="text 0 (of 0-1)")
    assert is_log(figure)
    assert not faults(figure)
    assert {"a/model", "received (fraction, log scale)"} <= {word.replace("\n", " ") for word in words(figure)}


@pytest.mark.parametrize(("smallest", "low"), [(0.02, 0.02), (0.4, 0.05), (0.0, 0.05), (1e-9, 0.5e-4)])
def test_the_scale_spans_the_values_but_at_least_one_decade_and_at_most_four(smallest: float, low: float) -> None:
    values = np.full((1, 4), 0.5)
    values[0, 0] = smallest
    norm = weights_image(draw_received(made(values))).norm
    assert (norm.vmin, norm.vmax) == pytest.approx((low, 0.5))


def test_hostile_tokens_are_named_as_labels() -> None:
    n = len(HOSTILE)
    values = flat(n, n, [(at, at) for at in range(n)])
    figure = draw_received(made(values, keys=Tokens.plain(HOSTILE)), model="$a$ [/x]")
    names = {label_with_position(label(piece, "plain", 16), at) for at, piece in enumerate(HOSTILE)}
    assert len(names & words(figure)) > n // 2
    assert not any(text.get_parse_math() for text in shown(figure) if "$" in text.get_text())
