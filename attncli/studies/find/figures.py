"""The row of the head that `find` ranks first: a bar for each key."""

import numpy as np
from matplotlib.figure import Figure

from attncli.data import Array
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import label_with_position, labels
from attncli.plotting.axis import join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, fit_label, measure, style, with_fixed_style
from attncli.studies.find.result import HeadRow, RankedHeads

KEY_COLOUR, OTHER_COLOUR = "#D55E00", "#9fb4c7"
_MOST_BARS, _MOST_KEY_TOKENS = 32, 12
_BAR, _WIDTH, _NUMBER = 20, 420, 60
_LABEL_ROOM, _LONGEST = 640, 120
"""Most pixels and columns of a label: a page of 1200 pixels has this room beside the bars."""


@with_fixed_style
def draw(result: RankedHeads, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the weights of the first head from the query to all keys; the key is marked by its colour.

    Of many keys the strongest and the first tokens of the key are shown, in the order of the text, with their
    positions; the picture says what the others sum to.
    """
    row = result.row
    shown = _shown_keys(row)
    names = labels(row.tokens, _LONGEST)
    texts = [label_with_position(fit_label(names[key], SUBTITLE, _LABEL_ROOM), key) for key in shown]
    left = EDGE + measure(texts, SUBTITLE)[0] + 10
    title = join_parts(kinds.title(row.kind), f"layer {row.layer}", f"head {row.head}", f"from {result.title}")
    header = Header.of(title, model, join_parts(note, _cut_note(row, shown)), _numbers(result))
    page = FigureLayout.blank(left + _WIDTH + _NUMBER + EDGE, header.height + _BAR * len(shown) + 54, header)
    axes = page.axes(left, header.height, _WIDTH, _BAR * len(shown))
    bars = np.arange(len(shown))
    is_key = np.isin(shown, row.keys)
    weights = row.weights[shown]
    axes.barh(bars, weights, height=0.72, color=np.where(is_key, KEY_COLOUR, OTHER_COLOUR).tolist())
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, max(float(weights.max(initial=0)), 1e-9))
    axes.set_yticks(bars, labels=texts, **style(SUBTITLE))
    axes.tick_params(axis="y", length=0, pad=6)
    for label, of_key in zip(axes.get_yticklabels(), is_key, strict=True):
        label.set_color(KEY_COLOUR if of_key else INK)
    for bar, weight in zip(bars, weights, strict=True):
        axes.annotate(f"{weight:.3f}", (weight, bar), (5, 0), textcoords="offset points", va="center", **style(SMALL))
    key = kinds.axes(row.kind)[1]
    whose = "" if key == "key token" else f" on each {key}"
    axes.set_xlabel(f"attention weight{whose} (fraction)", **style(SUBTITLE, FAINT))
    axes.axvline(0, color=FAINT, linewidth=0.8)
    return page.figure


def _visible_count(row: HeadRow) -> int:
    """Return how many keys the rows can see at most: in a decoder those up to the last row."""
    return max(row.rows) + 1 if row.kind == "decoder" else len(row.tokens)


def _shown_keys(row: HeadRow) -> Array:
    """Return positions of the keys that are drawn, ascending: the strongest, and the first of the key tokens."""
    count = _visible_count(row)
    if count <= _MOST_BARS:
        return np.arange(count)
    strongest = np.argsort(-row.weights[:count], kind="stable")[:_MOST_BARS]
    return np.union1d(strongest[: _MOST_BARS - min(len(row.keys), _MOST_KEY_TOKENS)], row.keys[:_MOST_KEY_TOKENS])


def _cut_note(row: HeadRow, shown: Array) -> str:
    """Return which of many keys are drawn, and the weight of all others; empty if all are drawn."""
    weights = row.weights[: _visible_count(row)]
    others = np.delete(weights, shown)
    if not len(others):
        return ""
    strongest = weights[shown].min() >= others.max()
    which = "the strongest" if strongest else "the strongest, and tokens of the key"
    return f"{len(shown)} of {len(weights)} keys: {which}; the others sum to {others.sum():.3f}"


def _numbers(result: RankedHeads) -> str:
    """Return the weight of the first head with its baselines, and how many heads were searched."""
    best = result.best
    texts = f" (mean over {best['texts']} texts)" if best["texts"] > 1 else ""
    weights = f"{best['weight']:.3f} to the key{texts}, {best['weight_uniform']:.3f} under uniform attention"
    position = best["weight_positional"]
    by_position = "" if position is None else f"{position:.3f} by distance alone"
    return join_parts(weights, by_position, f"best of {result.searched} heads")
