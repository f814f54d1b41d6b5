"""What a picture of attention says about its maps: how they were processed, pooled and coloured."""

import math

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from attncli.data import Array, Attention, By, LayerMaps, has_scale
from attncli.data.kinds import KNOWN, KindNames
from attncli.wording import spelled

_NAMES: dict[By, str] = {"weight": "attention weight", "norm": "value-weighted norm ‖A f(x)‖"}
_UNITS: dict[By, str] = {"weight": "fraction", "norm": "as hidden states"}
_PLURALS = {"query": "queries", "key": "keys", "target": "target", "source": "source"}
_FAINT, _FAINT_SHARE = 0.05, 0.9


def layer_name(maps: LayerMaps) -> str:
    """Return `layer 3`, or `mean of layers` for combined layers."""
    return f"layer {maps.layer}" if isinstance(maps.layer, int) else f"{maps.layer} of layers"


def describe_processing(attention: Attention, kinds: KindNames = KNOWN) -> list[str]:
    """Return how these maps differ from what the model computed, in words for the header of a picture."""
    norms = attention.by == "norm"
    words = ["value-weighted norms"] if norms else []
    words += [f"rows as {attention.rows_as}"] if attention.rows_as else []
    words += ["pieces merged into words"] if attention.words else []
    words += ["special tokens dropped" + ("" if norms else ", rows renormalised")] if attention.dropped_special else []
    if attention.window is not None:
        queries, keys = (_PLURALS[side] for side in kinds.sides(attention.kind))
        words.append("{} {}-{}, {} {}-{}".format(queries, *attention.window[0], keys, *attention.window[1]))
    return words


def pooling_note(attention: Attention, down: int, across: int) -> str:
    """Return what a cell of a picture shows that pools `down` x `across` cells of the maps; empty for one weight."""
    rows, keys = attention.cell
    if attention.pool == "mean" and max(down, across) > 1:
        return f"each cell is the mean of {down} x {across} means of {rows} x {keys} {attention.by}s"
    if max(down * rows, across * keys) == 1:
        return ""
    pooled_by = "mean" if attention.pool == "mean" else "largest"
    return f"each cell is the {pooled_by} of {down * rows} x {across * keys} {attention.by}s"


def weight_label(attention: Attention, log: bool, factors: tuple[int, int]) -> str:
    """Return the label of the colour bar; the picture pools `factors` (down, across) cells of the maps into one."""
    name, unit = _NAMES[attention.by], f"({_UNITS[attention.by]}{', log scale' if log else ''})"
    if attention.pool == "none":
        return f"{name} {unit}"
    rows, keys = (tokens * factor for tokens, factor in zip(attention.cell, factors, strict=True))
    pooled_by = "mean" if attention.pool == "mean" else "largest"
    cells = "rows and keys" if has_scale(attention.kind) else "tokens"
    return f"{pooled_by} {name} in {rows} x {keys} {cells} {unit}"


def faint_note(drawn: Array, norm: Normalize, by: By = "weight") -> str:
    """Return the advice to use a log scale where a linear one makes nearly all weights dark; empty elsewhere.

    Nearly all: at least 90 % of the weights are below 5 % of the top of the scale, as with an attention sink.
    """
    if isinstance(norm, LogNorm) or norm.vmax is None or not drawn.size:
        return ""
    share = float(np.mean(drawn < _FAINT * norm.vmax))
    if share < _FAINT_SHARE:
        return ""
    return spelled(f"{math.floor(100 * share)} % of the {by}s are under 5 % of the scale, use --log to see them")
