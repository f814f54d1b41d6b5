"""The picture of the rationales: how well each method finds them, with intervals."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from attncli.plotting.axis import join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, measure, style, with_fixed_style
from attncli.studies.faithfulness.orders import BASELINES_OF_ORDER
from attncli.studies.faithfulness.rationales.result import MEASURES, RationaleScores

_BAR, _PANEL, _BETWEEN, _ABOVE, _BELOW = 24, 190, 34, 28, 54
_TITLES = {"auprc": "AUPRC", "auroc": "AUROC", "token_f1": "token F1", "top1": "first unit is named"}
_METHOD, _BASELINE = "#31688e", "#a9b4bc"


@with_fixed_style
def draw_rationales(result: RationaleScores, *, model: str = "", note: str = "") -> Figure:
    """Return a page with a panel of bars for each measure, a bar for each method."""
    means, count = result.means, len(result.methods)
    left = EDGE + measure(list(result.methods), SUBTITLE)[0] + 12
    has_intervals = bool(np.isfinite(means["auprc_low"]).any())
    header = Header.of(
        "agreement with people's rationales",
        model,
        join_parts(note, "lines: 95 % intervals over texts" if has_intervals else ""),
    )
    width = left + len(MEASURES) * (_PANEL + _BETWEEN) + EDGE
    page = FigureLayout.blank(width, header.height + _ABOVE + _BAR * count + _BELOW, header)
    rows = np.arange(count)
    colours = [_BASELINE if name in BASELINES_OF_ORDER else _METHOD for name in result.methods]
    for number, name in enumerate(MEASURES):
        axes = page.axes(left + number * (_PANEL + _BETWEEN), header.height + _ABOVE, _PANEL, _BAR * count)
        values = np.nan_to_num(means[name])
        axes.barh(rows, values, height=0.7, color=colours)
        low, high = means[f"{name}_low"], means[f"{name}_high"]
        known = np.isfinite(low)
        if known.any():
            reach = np.stack([values - low, high - values])[:, known].clip(min=0)
            axes.errorbar(
                values[known], rows[known], xerr=reach, fmt="none", ecolor="#222222", elinewidth=0.8, capsize=2
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_xticks([0, 0.5, 1], labels=["0", "0.5", "1"], **style(SMALL, FAINT))
        axes.tick_params(axis="x", length=3, width=0.6, color=FAINT)
        axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.set_title(_TITLES[name], **style(SUBTITLE, pad=5))
        if not number:
            axes.set_yticks(rows, labels=list(result.methods), **style(SUBTITLE))
            axes.tick_params(axis="y", length=0, pad=6)
    return page.figure
