"""Which weight gets which colour: one scale for all panels of a run, linear or logarithmic."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from attncli.data import Array, Attention
from attncli.views._cells import cells_of

DECADES = 4
WEIGHT, LOG_WEIGHT = "attention weight (fraction)", "attention weight (fraction, log scale)"
_FAINT_SHARE, _FAINT = 0.9, 0.05


def top(attentions: Iterable[Attention]) -> float:
    """The largest weight in all of these maps: the shared upper end of their colour scales."""
    tops = [cells_of(maps).drawn.max(initial=0.0) for attention in attentions for maps in attention.layers]
    return float(max(tops, default=0.0)) or 1.0


def wants_log(attentions: Iterable[Attention]) -> bool:
    """Would a linear scale show nearly all weights as the darkest colour?

    True where at least 90 % of the weights lie below 5 % of the largest one, as when a sink takes it all.
    """
    drawn = np.concatenate([cells_of(maps).drawn for each in attentions for maps in each.layers] or [np.zeros(0)])
    return drawn.size > 0 and float(np.mean(drawn < _FAINT * drawn.max())) >= _FAINT_SHARE


def norm_of(drawn: Array, vmax: float | None, log: bool) -> tuple[Normalize, str]:
    """The colour scale for these weights, and at which ends some lie beyond it (as matplotlib's `extend`)."""
    largest = float(drawn.max(initial=0.0))
    high = vmax or largest or 1.0
    low = high / 10**DECADES if log else min(0.0, float(drawn.min(initial=0.0)))
    beyond = (bool((drawn < low).any()), largest > high * (1 + 1e-6))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    return (LogNorm(low, high, clip=True) if log else Normalize(low, high)), extend
