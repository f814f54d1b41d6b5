"""The pictures of the part `needed`: changes of the output, against the largest weights and against divergences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attncli.data import Array
from attncli.data.described import counted
from attncli.data.labels import escape_invisible, label
from attncli.plotting.axis import join_parts
from attncli.plotting.layout import FigureLayout, Header, legend_style
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, style, with_fixed_style
from attncli.studies.faithfulness.needed.result import LARGEST, Needed

_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)
_COLOURS = ("#31688e", "#d1495b", "#35b779", "#e69f00")
"""One colour for each label, if there are not more."""
_ADVERSARIAL, _UNIFORM, _SEEDS = "#d1495b", "#31688e", "#777777"
_RIGHT, _WIDTH, _HEIGHT, _BELOW = 270, 460, 300, 66
_VIOLIN = 8
"""Least number of texts of a bin whose distribution is drawn."""
_DOTS = 0.3
"""How far dots of one bin are apart at most, up and down."""


@with_fixed_style
def draw_permuted(result: Needed, *, model: str = "", note: str = "") -> Figure:
    """Return the median change of the output with permuted weights, in bins of the largest weight.

    A dot is a text; as in figure 6 of Jain & Wallace 2019 the largest weights are on the left, the changes below. The
    colour is the prediction, if there are few.
    """
    median = f"a point is the median of {counted(result.permutations, 'permutation')} of a text"
    page, axes = _page(
        f"permuted attention: {result.chosen}", model, join_parts(note, _texts(result), median), left=156
    )
    largest, change = result.of_texts["max_weight"], result.of_texts["permuted_tvd"]
    known = ~np.isnan(largest)
    bins = np.clip(np.digitize(largest, _EDGES) - 1, 0, len(_EDGES) - 2)
    colours, handles = _by_prediction(result.of_texts["prediction"])
    for number in range(len(_EDGES) - 1):
        rows = np.flatnonzero(known & (bins == number))
        if len(rows) >= _VIOLIN and np.ptp(change[rows]):
            parts: Any = axes.violinplot(change[rows], [number], orientation="horizontal", showextrema=False)
            for body in parts["bodies"]:
                body.set(facecolor="#c9d3db", edgecolor="none", alpha=0.7)
        up = (np.arange(len(rows)) % 7 - 3) / 3 * _DOTS
        axes.scatter(change[rows], number + up, s=12, c=[colours[row] for row in rows], alpha=0.75, linewidth=0)
        if len(rows):
            middle = float(np.median(change[rows]))
            axes.plot([middle, middle], [number - 0.42, number + 0.42], color=INK, linewidth=1.4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.5, len(_EDGES) - 1.5)
    names = [f"{low:g} to {high:g}" for low, high in pairwise(_EDGES)]
    axes.set_yticks(range(len(names)), labels=names, **style(SMALL))
    axes.set_ylabel("largest weight\nof the rows that predict", **style(SUBTITLE))
    axes.set_xlabel("change of the output (total variation distance)", **style(SUBTITLE))
    handles.append(Line2D([], [], color=INK, linewidth=1.4, label="median of the texts"))
    _legend(axes, handles)
    return page.figure


@with_fixed_style
def draw_adversarial(result: Needed, *, model: str = "", note: str = "") -> Figure:
    """Return the change of the output against the divergence of the weights, as in Wiegreffe & Pinter 2019.

    A point is a text with adversarial or uniform weights, or a text of a model of another seed. Far right and low:
    very different weights give the same output.
    """
    about = join_parts(note, _texts(result), "a point is a text")
    page, axes = _page(f"other attention: {result.chosen}", model, about, left=112)
    texts = result.of_texts
    if result.of_seeds:
        axes.scatter(
            result.of_seeds["jsd"], result.of_seeds["tvd"], s=14, marker="x", c=_SEEDS, label=result.seeds_in_words
        )
    axes.scatter(
        texts["uniform_jsd"],
        texts["uniform_tvd"],
        s=16,
        marker="^",
        c=_UNIFORM,
        alpha=0.75,
        linewidth=0,
        label="uniform",
    )
    if result.steps:
        axes.scatter(
            texts["adversarial_jsd"],
            texts["adversarial_tvd"],
            s=16,
            c=_ADVERSARIAL,
            alpha=0.75,
            linewidth=0,
            label="adversarial",
        )
        axes.axhline(
            result.epsilon, color=_ADVERSARIAL, linewidth=0.8, linestyle="--", label=f"epsilon {result.epsilon:g}"
        )
    axes.axvline(LARGEST, color=FAINT, linewidth=0.8, linestyle=":", label="ln 2, the largest")
    axes.set_xlim(-0.015, 0.72)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("divergence of the weights (Jensen-Shannon, nat)", **style(SUBTITLE))
    axes.set_ylabel("change of the output\n(total variation distance)", **style(SUBTITLE))
    _legend(axes, axes.get_legend_handles_labels()[0])
    return page.figure


def _page(title: str, model: str, note: str, left: int) -> tuple[FigureLayout, Axes]:
    header = Header.of(title, model, note)
    page = FigureLayout.blank(left + _WIDTH + _RIGHT, header.height + _HEIGHT + _BELOW, header)
    axes = page.axes(left, header.height, _WIDTH, _HEIGHT)
    axes.set_frame_on(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
    return page, axes


def _texts(result: Needed) -> str:
    return counted(result.texts, "text")


def _by_prediction(predictions: Array) -> tuple[list[str], list[Line2D]]:
    """Return the colour of each text, and the legend; one colour if there are many predictions."""
    names = list(dict.fromkeys(predictions.tolist()))
    if not 1 < len(names) <= len(_COLOURS):
        return [_COLOURS[0]] * len(predictions), []
    colours = dict(zip(names, _COLOURS, strict=False))
    look: Any = {"marker": "o", "linestyle": "", "markersize": 4}
    handles = [Line2D([], [], color=colours[name], label=label(escape_invisible(name)), **look) for name in names]
    return [colours[name] for name in predictions.tolist()], handles


def _legend(axes: Axes, handles: Sequence[Artist]) -> None:
    legend = axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), **legend_style())
    for text in legend.get_texts():
        text.set_parse_math(False)
