"""Colour scales of attention weights: linear or logarithmic, shared by all panels of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from attncli.data import Array, Attention, By
from attncli.plotting.cells import layer_cells

DECADES = 4
NAMES: dict[By, str] = {"weight": "attention weight", "norm": "value-weighted norm ‖A f(x)‖"}
UNITS: dict[By, str] = {"weight": "fraction", "norm": "as hidden states"}
_FAINT, _FAINT_SHARE = 0.05, 0.9


def weight_label(attention: Attention, log: bool, factors: tuple[int, int]) -> str:
    """Return the label of the colour bar; the picture pools `factors` (down, across) cells of the maps into one."""
    name, unit = NAMES[attention.by], f"({UNITS[attention.by]}{', log scale' if log else ''})"
    if attention.pool == "none":
        return f"{name} {unit}"
    rows, keys = (tokens * factor for tokens, factor in zip(attention.cell, factors, strict=True))
    pooled_by = "mean" if attention.pool == "mean" else "largest"
    return f"{pooled_by} {name} in {rows} x {keys} tokens {unit}"


def largest_weight(attentions: Iterable[Attention]) -> float:
    """Return the largest visible weight of all maps, the top of a shared colour scale; 1 where all are 0."""
    tops = [layer_cells(maps).drawn.max(initial=0.0) for attention in attentions for maps in attention.layers]
    return float(max(tops, default=0.0)) or 1.0


def colour_norm(drawn: Array, vmax: float | None, log: bool) -> tuple[Normalize, str]:
    """Return the colour scale for these weights, and at which ends some lie beyond it (matplotlib's `extend`)."""
    largest = float(drawn.max(initial=0.0))
    high = vmax or largest or 1.0
    low = high / 10**DECADES if log else min(0.0, float(drawn.min(initial=0.0)))
    beyond = (bool((drawn < low).any()), largest > high * (1 + 1e-6))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    return (LogNorm(low, high, clip=True) if log else Normalize(low, high)), extend


def faint_note(drawn: Array, norm: Normalize, by: By = "weight") -> str:
    """Return the advice to use a log scale where a linear one makes nearly all weights dark; empty elsewhere.

    Nearly all: at least 90 % of the weights are below 5 % of the top of the scale, as with an attention sink.
    """
    if isinstance(norm, LogNorm) or norm.vmax is None or not drawn.size:
        return ""
    share = float(np.mean(drawn < _FAINT * norm.vmax))
    if share < _FAINT_SHARE:
        return ""
    return f"{math.floor(100 * share)} % of the {by}s are under 5 % of the scale, a log scale shows them"
