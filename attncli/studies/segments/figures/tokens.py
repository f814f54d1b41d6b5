"""Which segment each token that the model wrote looked at: a bar of shares for each, above those of even attention."""

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
from attncli.plotting.axis import KIND_WORDS, draw_key_ticks, fitted, joined, side_of
from attncli.plotting.layout import EDGE, FigureLayout, header_size
from attncli.plotting.text import SMALL, SUBTITLE, measure, style
from attncli.plotting.theme import own_style
from attncli.studies.segments.result import Segments

# Okabe & Ito 2008: told apart by all kinds of colour vision; what is left over is grey
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_GREYS = {"rest": "#9a9a9a", "special": "#cfcfcf"}
_WIDEST, _NARROWEST, _ROOM = 34, 2, 1500
_TALL, _EVEN, _LEFT, _ABOVE = 260, 110, 64, 34


@own_style
def draw(segments: Segments, kind: Kind, text: int, queries: Tokens, *, model: str = "", note: str = "") -> Figure:
    """Which part of the text does the answer read, token by token?

    A bar for each token that the model wrote: the shares of its attention that go to each segment, the mean over
    heads and layers. Below, the shares that even attention over the visible keys would give: what the lengths of the
    segments alone make. `queries` are all tokens of the text.
    """
    at, names, mass, even = _shares(segments, kind, text)
    wide = max(_NARROWEST, min(_WIDEST, _ROOM // len(at)))
    all_labels = labels(queries)
    side = side_of([all_labels[place] for place in at], wide, positions=False, largest=SMALL)
    title = f"{KIND_WORDS[kind]} · what the written tokens look at"
    lines = [line for line in (model, joined("mean over layers and heads", note)) if line]
    shown = [label(name) for name in names]
    key = measure(shown, SMALL)[0] + 60
    least, top = header_size(title, lines)
    width = len(at) * wide
    height = top + _ABOVE + _TALL + _ABOVE + 20 + _EVEN + (20 if side.flat else side.width) + 70
    page = FigureLayout.blank(
        max(2 * EDGE + _LEFT + width + key, least), max(height, top + _ABOVE + 22 * len(names) + 40)
    )
    page.header(title, lines)
    colours = _colours(names)
    for shares, name, down, tall in (
        (mass, "share of the attention", top + _ABOVE, _TALL),
        (even, "even attention", top + _ABOVE + _TALL + _ABOVE + 20, _EVEN),
    ):
        axes = page.axes(EDGE + _LEFT, down, width, tall)
        _stack(axes, shares, colours, wide)
        axes.set_title(name, **style(SUBTITLE, loc="left", pad=6))
    draw_key_ticks(axes, side)
    axes.set_xlabel(fitted("token that the model wrote", width), **style(SUBTITLE))
    handles = [Patch(facecolor=colour, label=name) for name, colour in zip(shown, colours, strict=True)]
    for number, handle in enumerate(reversed(handles)):
        page.legend([handle], EDGE + _LEFT + width + 16, top + _ABOVE + 22 * number)
    return page.figure


def _shares(segments: Segments, kind: Kind, text: int) -> tuple[list[int], list[str], Array, Array]:
    """Positions of the written tokens, the segments, and [segment, token] what goes there, found and even."""
    table = segments.tokens_table()
    there = (table["kind"] == kind) & (table["text"] == text) if table else np.zeros(0, bool)
    if not there.any():
        raise UsageError(f"there is nothing to draw: no token of text {text}, {kind}, was written by the model")
    at, names = (list(dict.fromkeys(table[name][there].tolist())) for name in ("query", "to"))
    place = (
        np.array([names.index(name) for name in table["to"][there].tolist()]),
        np.array([at.index(query) for query in table["query"][there].tolist()]),
    )
    layers = len(dict.fromkeys(table["layer"][there].tolist()))
    found = []
    for name in ("mass", "uniform_mass"):
        shares = np.zeros((len(names), len(at)))
        np.add.at(shares, place, table[name][there] / layers)
        found.append(shares)
    return at, names, found[0], found[1]


def _stack(axes: Axes, shares: Array, colours: Sequence[str], wide: int) -> None:
    places = np.arange(shares.shape[1]) + 0.5
    base = np.zeros(shares.shape[1])
    for row, colour in zip(shares, colours, strict=True):
        axes.bar(places, row, bottom=base, width=1 - 1 / wide if wide > 4 else 1, color=colour, linewidth=0)
        base += row
    axes.set_xlim(0, shares.shape[1])
    axes.set_ylim(0, 1)
    axes.tick_params(axis="y", length=3, width=0.6, pad=2, color="#666666")
    axes.set_yticks([0, 0.5, 1], labels=["0", "0.5", "1"], **style(SMALL))
    axes.set_ylabel("fraction", **style(SUBTITLE))


def _colours(names: Sequence[str]) -> list[str]:
    """A colour for each segment; of many, in the order of the text from dark to light."""
    own = [name for name in names if name not in _GREYS]
    if len(own) <= len(_COLOURS):
        chosen = list(_COLOURS[: len(own)])
    else:
        ramp = matplotlib.colormaps["viridis"](np.linspace(0, 1, len(own)))
        chosen = [matplotlib.colors.to_hex(colour) for colour in ramp]
    found = dict(zip(own, chosen, strict=True))
    return [_GREYS.get(name) or found[name] for name in names]
