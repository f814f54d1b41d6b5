"""Colour scales of weights: their ends, and the advice to use a log scale."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from numpy.typing import NDArray
from pictures import one_map, words

from attncli.plotting import grid, heatmap
from attncli.plotting.captions import faint_note
from attncli.plotting.cells import colour_norm, largest_weight
from attncli.wording import as_arguments


def test_the_largest_weight_is_a_visible_one() -> None:
    small, large = one_map([[0.2, 0.8]]), one_map([[0.1, 0.9]], visible=[[True, False]])
    assert largest_weight([small, large]) == pytest.approx(0.8)
    assert largest_weight([]) == largest_weight([one_map([[0.0]])]) == 1.0


def test_undefined_weights_do_not_count() -> None:
    assert largest_weight([one_map([[0.25, np.nan], [np.inf, 0.5]])]) == 0.5


def test_linear_scale_starts_at_zero_and_log_scale_spans_four_decades() -> None:
    weights = np.array([0.0, 0.2, 0.5])
    linear, beyond = colour_norm(weights, None, log=False)
    assert (linear.vmin, linear.vmax, beyond) == (0.0, 0.5, "neither")
    logarithmic, beyond = colour_norm(weights, None, log=True)
    assert isinstance(logarithmic, LogNorm)
    assert (logarithmic.vmin, logarithmic.vmax, beyond) == (0.5e-4, 0.5, "min")
    assert np.asarray(logarithmic(np.array([0.0, 0.5e-2, 0.5]))) == pytest.approx([0.0, 0.5, 1.0])


def test_weights_above_a_given_top_are_marked_on_the_bar() -> None:
    assert colour_norm(np.array([0.1, 0.9]), 0.5, log=False)[1] == "max"
    assert colour_norm(np.array([0.0, 0.9]), 0.5, log=True)[1] == "both"
    assert colour_norm(np.array([-1.0, 0.5]), None, log=False)[0].vmin == -1.0


def test_a_log_scale_is_advised_only_where_a_sink_receives_nearly_all() -> None:
    def note(weights: NDArray[np.float64], log: bool = False) -> str:
        return faint_note(weights, colour_norm(weights, None, log)[0])

    sink = np.full((40, 40), 0.001)
    sink[:, 0] = 0.961
    assert note(sink) == "97 % of the weights are under 5 % of the scale, use --log to see them"
    assert as_arguments(note(sink)).endswith("of the scale, use log=True to see them")
    assert note(sink, log=True) == note(np.full((40, 40), 1 / 40)) == note(np.zeros((0, 0))) == ""
    assert note(sink) in words(heatmap.draw(one_map(sink)))
    assert any(note(sink) in text for text in words(grid.draw(one_map(sink))))
