"""The colours of the points of a map: by side, position, type of token, norm or text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from attncli.data import Array, Kind
from attncli.plotting.colours import palette
from attncli.studies.qk_map.head_maps import SIDES, TYPES, HeadMaps
from attncli.studies.qk_map.result import QueryKeyMap

# of Okabe & Ito 2008, which colour-blind people can tell apart
SIDE_COLOURS = ("#D55E00", "#0072B2")
_TYPE_COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00")
_LEVELS = 64
_LEAST_SPREAD, _USUAL = 1.25, 97


@dataclass(frozen=True)
class ColourScale:
    """A colour scale: its ends, what it shows, whether it is logarithmic, and at which ends values lie beyond it."""

    low: float
    high: float
    label: str
    log: bool = False
    extend: str = "neither"


@dataclass(frozen=True, eq=False)
class Colouring:
    """The colours of the points of all heads of a kind.

    values  [head or 1, point] what the colours show: numbers on the scale, or indices into `names`
    names   colour by name, without a scale
    scale   the colour scale, or None
    """

    values: Array
    names: Mapping[str, str] = field(default_factory=dict)
    scale: ColourScale | None = None

    def of_head(self, head: int) -> Array:
        """Return [point] the colours of the points of a head."""
        values = self.values[head if len(self.values) > 1 else 0]
        if self.scale is None:
            named: Array = np.array([*self.names.values()], dtype=object)[values]
            return named
        low, high = self.scale.low, self.scale.high
        if self.scale.log:
            values, low, high = np.log(np.maximum(values, low)), np.log(low), np.log(high)
        levels = (values - low) / max(high - low, 1e-9) * (_LEVELS - 1)
        colours: Array = np.array(palette(_LEVELS), dtype=object)[levels.round().astype(int).clip(0, _LEVELS - 1)]
        return colours


def colouring(result: QueryKeyMap, kind: Kind) -> Colouring:
    """Return the colours that the options of a result ask for."""
    group, color = result.groups[kind], result.options.color
    tokens = group.tokens
    if color == "side":
        return Colouring(tokens.side[None], dict(zip(SIDES, SIDE_COLOURS, strict=True)))
    if color == "type":
        return Colouring(tokens.type[None], dict(zip(TYPES, _TYPE_COLOURS, strict=True)))
    if color == "norm":
        return _by_norm(group)
    if color == "text":
        return Colouring(
            tokens.text[None], scale=ColourScale(float(tokens.text.min()), float(tokens.text.max()), "text")
        )
    end = float(np.percentile(tokens.position, _USUAL, method="higher"))
    extend = "max" if tokens.position.max() > end else "neither"
    return Colouring(
        tokens.position[None], scale=ColourScale(0.0, max(end, 1.0), "position in the text", extend=extend)
    )


def _by_norm(group: HeadMaps) -> Colouring:
    """Return colours by norm, as a multiple of the median of the side in the head: sinks differ from all others."""
    queries = group.tokens.queries
    ratios = group.norms.astype(np.float64)
    for side in (slice(0, queries), slice(queries, None)):
        medians = np.median(ratios[:, side], axis=1, keepdims=True)
        ratios[:, side] /= np.where(medians > 0, medians, 1.0)
    spread = np.percentile(np.abs(np.log(np.maximum(ratios, 1e-6))), _USUAL)
    end = max(float(np.exp(spread)), _LEAST_SPREAD)
    return Colouring(
        ratios,
        scale=ColourScale(1 / end, end, "norm, as a multiple of the median of its side", log=True, extend="both"),
    )
