"""Long words use the free space of a page before they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from pictures import faults, words

from attncli.data import Attention, LayerMaps, Tokens
from attncli.data.labels import shorten
from attncli.plotting import grid, heatmap
from attncli.plotting.text import fit_label, measure

LONG = "Rindfleischetikettierungsgesetz"
ENDLESS = "x" * 400


def maps(*tokens: str) -> Attention:
    side = Tokens.plain(list(tokens))
    weights = np.random.default_rng(0).dirichlet(np.ones(len(tokens)), (4, len(tokens)))
    return Attention("encoder", side, side, (LayerMaps(0, (0, 1, 2, 3), weights),))


@given(label=st.text("abcdefgiklWM", min_size=1, max_size=60), room=st.floats(0, 900))
def test_a_label_is_cut_only_beyond_its_room(label: str, room: float) -> None:
    fitted = fit_label(label, 8.0, room)
    width = measure([fitted], 8.0)[0]
    assert width <= max(room, measure([shorten(label)], 8.0)[0])
    if fitted != label:
        kept = fitted.removesuffix("…")
        assert label.startswith(kept)
        assert measure([f"{label[: len(kept) + 1]}…"], 8.0)[0] > room


def drawn(kind: str, *tokens: str) -> Figure:
    attention = maps(*tokens)
    return heatmap.draw(attention.sel(head=0)) if kind == "heatmap" else grid.draw(attention.sel(layer=0))


@pytest.mark.parametrize("kind", ["heatmap", "grid"])
def test_maps_show_long_words_and_cut_endless_ones(kind: str) -> None:
    figure = drawn(kind, "the", LONG, "was", "long")
    assert LONG in words(figure)
    assert not faults(figure)
    endless = drawn(kind, "the", ENDLESS, "was", "long")
    assert any(word.startswith("xxxx") and word.endswith("…") for word in words(endless))
    assert max(endless.bbox.width, endless.bbox.height) <= 1300
    assert not faults(endless)


def test_where_a_map_fills_the_page_labels_are_cut_as_before() -> None:
    assert shorten(LONG) in words(drawn("heatmap", *["word", LONG] * 40))
