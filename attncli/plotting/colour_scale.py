"""Which weight gets which colour: one scale for all panels of a run, linear or logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from attncli.data import Array, Attention, By
from attncli.plotting.cells import cells_of

DECADES = 4
NAMES: dict[By, str] = {"weight": "attention weight", "norm": "value-weighted norm ‖A f(x)‖"}
UNITS: dict[By, str] = {"weight": "fraction", "norm": "as hidden states"}
_FAINT, _FAINT_SHARE = 0.05, 0.9


def weight_label(attention: Attention, log: bool, factors: tuple[int, int]) -> str:
    """What the colour bar shows of these maps, of which the picture joins so many cells, down and across."""
    name, unit = NAMES[attention.by], f"({UNITS[attention.by]}{', log scale' if log else ''})"
    if attention.pool == "none":
        return f"{name} {unit}"
    rows, keys = (tokens * factor for tokens, factor in zip(attention.cell, factors, strict=True))
    what = "mean" if attention.pool == "mean" else "largest"
    return f"{what} {name} in {rows} x {keys} tokens {unit}"


def top(attentions: Iterable[Attention]) -> float:
    """The largest weight in all of these maps: the shared upper end of their colour scales."""
    tops = [cells_of(maps).drawn.max(initial=0.0) for attention in attentions for maps in attention.layers]
    return float(max(tops, default=0.0)) or 1.0


def norm_of(drawn: Array, vmax: float | None, log: bool) -> tuple[Normalize, str]:
    """The colour scale for these weights, and at which ends some lie beyond it (as matplotlib's `extend`)."""
    largest = float(drawn.max(initial=0.0))
    high = vmax or largest or 1.0
    low = high / 10**DECADES if log else min(0.0, float(drawn.min(initial=0.0)))
    beyond = (bool((drawn < low).any()), largest > high * (1 + 1e-6))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    return (LogNorm(low, high, clip=True) if log else Normalize(low, high)), extend


def faint_note(drawn: Array, norm: Normalize, by: By = "weight") -> str:
    """What to say of a linear scale on which nearly all weights are too dark to tell apart; mostly nothing.

    That is so where at least 90 % of them lie below 5 % of the top, as when a sink takes nearly all attention.
    """
    if isinstance(norm, LogNorm) or norm.vmax is None or not drawn.size:
        return ""
    share = float(np.mean(drawn < _FAINT * norm.vmax))
    if share < _FAINT_SHARE:
        return ""
    return f"{math.floor(100 * share)} % of the {by}s are under 5 % of the scale, a log scale shows them"
