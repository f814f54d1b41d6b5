"""The segments to which each generated token attends: a bar of shares per token, above those of uniform attention."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from attncli.data import Array, Kind, Tokens
from attncli.data.labels import label, labels
from attncli.errors import UsageError
from attncli.plotting.axis import KIND_WORDS, TICK_STYLE, draw_key_ticks, fit_axis_title, fit_labels, join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import SMALL, SUBTITLE, measure, style
from attncli.plotting.theme import with_fixed_style
from attncli.studies.segments.result import Segments

# Okabe & Ito 2008: different for every kind of colour vision; the rest is grey
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_GREYS = {"rest": "#9a9a9a", "special": "#cfcfcf"}
_WIDEST, _NARROWEST, _ROOM = 34, 2, 1500
_SHARES, _UNIFORM, _LEFT, _ABOVE = 260, 110, 64, 34


@with_fixed_style
def draw(segments: Segments, kind: Kind, text: int, queries: Tokens, *, model: str = "", note: str = "") -> Figure:
    """Return the picture of generated tokens: which part of the text does the answer read, token by token?

    A bar for each generated token: the shares of its attention to each segment, the mean over heads and layers. Below:
    the shares of uniform attention over the visible keys, which only the lengths of the segments decide. Raises
    UsageError where no token of this text was generated.

    queries  all tokens of the text
    """
    positions, names, mass, uniform = _shares(segments, kind, text)
    wide = max(_NARROWEST, min(_WIDEST, _ROOM // len(positions)))
    all_labels = labels(queries)
    token_labels = fit_labels([all_labels[n] for n in positions], wide, with_positions=False, largest=SMALL)
    title = f"{KIND_WORDS[kind]} · attention of generated tokens"
    header = Header.of(title, model, join_parts("mean over layers and heads", note))
    segment_labels = [label(name) for name in names]
    width, top = len(positions) * wide, header.height + _ABOVE
    uniform_top = top + _SHARES + _ABOVE + 20
    bottom = uniform_top + _UNIFORM + (20 if token_labels.horizontal else token_labels.width) + 70
    needed = 2 * EDGE + _LEFT + width + measure(segment_labels, SMALL)[0] + 60
    page = FigureLayout.blank(needed, max(bottom, top + 22 * len(names) + 40), header)
    colours = _colours(names)
    for shares, name, axes_top, tall in (
        (mass, "share of the attention", top, _SHARES),
        (uniform, "uniform attention", uniform_top, _UNIFORM),
    ):
        axes = page.axes(EDGE + _LEFT, axes_top, width, tall)
        _draw_bars(axes, shares, colours, wide)
        axes.set_title(name, **style(SUBTITLE, loc="left", pad=6))
    draw_key_ticks(axes, token_labels)
    axes.set_xlabel(fit_axis_title("generated token", width), **style(SUBTITLE))
    handles = [Patch(facecolor=colour, label=name) for name, colour in zip(segment_labels, colours, strict=True)]
    for number, handle in enumerate(reversed(handles)):
        page.legend([handle], EDGE + _LEFT + width + 16, top + 22 * number)
    return page.figure


def _shares(segments: Segments, kind: Kind, text: int) -> tuple[list[int], list[str], Array, Array]:
    """Return the positions of generated tokens, the segments, and [segment, token] shares: measured and uniform."""
    table = segments.tokens_table()
    rows = (table["kind"] == kind) & (table["text"] == text) if table else np.zeros(0, bool)
    if not rows.any():
        raise UsageError(f"there is nothing to draw: no token of text {text}, {kind}, was written by the model")
    queries, targets = (table[name][rows].tolist() for name in ("query", "to"))
    positions, names = list(dict.fromkeys(queries)), list(dict.fromkeys(targets))
    cells = np.array([names.index(name) for name in targets]), np.array([positions.index(query) for query in queries])
    layers = len(dict.fromkeys(table["layer"][rows].tolist()))
    mass, uniform = (np.zeros((len(names), len(positions))) for _ in range(2))
    np.add.at(mass, cells, table["mass"][rows] / layers)
    np.add.at(uniform, cells, table["uniform_mass"][rows] / layers)
    return positions, names, mass, uniform


def _draw_bars(axes: Axes, shares: Array, colours: Sequence[str], wide: int) -> None:
    centres = np.arange(shares.shape[1]) + 0.5
    base = np.zeros(shares.shape[1])
    for row, colour in zip(shares, colours, strict=True):
        axes.bar(centres, row, bottom=base, width=1 - 1 / wide if wide > 4 else 1, color=colour, linewidth=0)
        base += row
    axes.set_xlim(0, shares.shape[1])
    axes.set_ylim(0, 1)
    axes.tick_params(axis="y", **TICK_STYLE)
    axes.set_yticks([0, 0.5, 1], labels=["0", "0.5", "1"], **style(SMALL))
    axes.set_ylabel("fraction", **style(SUBTITLE))


def _colours(names: Sequence[str]) -> list[str]:
    """Return a colour for each segment; many segments go from dark to light in the order of the text."""
    coloured = [name for name in names if name not in _GREYS]
    colours: Sequence[str] = _COLOURS[: len(coloured)]
    if len(coloured) > len(_COLOURS):
        ramp = matplotlib.colormaps["viridis"](np.linspace(0, 1, len(coloured)))
        colours = [matplotlib.colors.to_hex(colour) for colour in ramp]
    by_name = _GREYS | dict(zip(coloured, colours, strict=True))
    return [by_name[name] for name in names]
