"""Whether maps can be attention weights, and whether the parts of a saved run fit together."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array, Attention, Input, LayerMaps, Tokens, Vectors, has_scale

_ROUNDING = 1e-2
"""How far a row may be above 1 in a saved run: the softmax may have run in half precision."""


class DamageError(ValueError):
    """A part of a saved run that cannot be right."""


@dataclass(frozen=True)
class Limits:
    """What the weights of maps can be.

    lowest     smallest weight
    largest    largest weight, None for any
    row_sum    largest sum of a row, None for any
    """

    lowest: float = 0.0
    largest: float | None = None
    row_sum: float | None = None


@dataclass(frozen=True)
class Impossible:
    """A weight, or the sum of a row, that is not possible.

    index  its head, query and key; without a key for a row
    """

    expected: str
    value: float
    index: tuple[int, ...]


def find_impossible(maps: Array, limits: Limits) -> Impossible | None:
    """Return the first weight of maps [head, query, key] that is not possible, else the first row; None without one."""
    kind_of_weight = "weights from 0 to 1 (not scores)" if (limits.largest or limits.row_sum) else "norms from 0 up"
    for head, weights in enumerate(maps):
        sums = weights.sum(-1, dtype=np.float64)
        checks = [
            (~np.isfinite(weights), weights, "finite numbers"),
            (weights < limits.lowest, weights, kind_of_weight),
        ]
        if limits.largest is not None:
            checks.append((weights > limits.largest, weights, kind_of_weight))
        if limits.row_sum is not None:
            checks.append((sums > limits.row_sum, sums, "rows that sum to 1 or less"))
        for wrong, values, expected in checks:
            if wrong.any():
                first = tuple(int(index) for index in np.argwhere(wrong)[0])
                return Impossible(expected, float(values[first]), (head, *first))
    return None


def check_parts(inputs: Sequence[Input], maps: Sequence[Attention], vectors: Sequence[Vectors]) -> None:
    """Raise DamageError unless the parts of a saved run fit together and its weights are possible."""
    texts = [text.index for text in inputs]
    _check_unique("text", texts)
    _check_unique("maps of text and kind", [(attention.text, attention.kind) for attention in maps])
    _check_unique("vectors of text, kind and layer", [(part.text, part.kind, part.layer) for part in vectors])
    for text in inputs:
        for tokens in filter(None, (text.source, text.target)):
            _check_offsets(tokens)
        if wrong := [kind for kind in text.scaled if not has_scale(kind)]:
            raise DamageError(f"expected rows and keys of kinds with a scale, got {wrong[0]}")
    for number in [*(attention.text for attention in maps), *(part.text for part in vectors)]:
        if number not in texts:
            raise DamageError(f"expected attention of the texts {texts}, got text {number}")
    scaled = {(text.index, kind) for text in inputs for kind in text.scaled}
    shown = [(part.text, part.kind) for part in maps] + [(part.text, part.kind) for part in vectors]
    for number, kind in shown:
        if has_scale(kind) and (number, kind) not in scaled:
            raise DamageError(f"expected the rows and keys of {kind} in text {number}")
    for attention in maps:
        _check_layers(attention)
        _check_weights(attention)
    for part in vectors:
        _check_vectors(part)


def _check_unique(what: str, values: Iterable[Hashable]) -> None:
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            raise DamageError(f"expected each {what} once, got {value} twice")
        seen.add(value)


def _check_offsets(tokens: Tokens) -> None:
    start, end = tokens.offsets.T
    if not ((start >= 0) & (start <= end) | (start == -1) & (end == -1)).all():
        raise DamageError("expected offsets that start before they end, or -1, -1")


def _check_layers(attention: Attention) -> None:
    where = f"text {attention.text}, {attention.kind}"
    _check_unique(f"layer of {where}", [maps.layer for maps in attention.layers])
    for side, span in zip((attention.queries, attention.keys), attention.window or (), strict=False):
        if span[1] - span[0] + 1 != len(side):
            raise DamageError(f"expected {len(side)} tokens in the window, got {span[0]} to {span[1]}, at {where}")
    if (attention.pool == "none") != (attention.cell == (1, 1)):
        raise DamageError(f"expected pool none for cells of one token only, got {attention.pool}, at {where}")
    for maps in attention.layers:
        _check_unique(f"head of {where}, layer {maps.layer}", maps.heads)
        if (not maps.heads) != (attention.aggregate != "none"):
            raise DamageError(f"expected head numbers unless heads are combined, at {where}, layer {maps.layer}")
        if (maps.layer == "mean") != (attention.aggregate_layers == "mean"):
            raise DamageError(f"expected layer numbers unless layers are combined, at {where}, layer {maps.layer}")


def _check_vectors(part: Vectors) -> None:
    where = f"vectors of text {part.text}, {part.kind}, layer {part.layer}"
    heads, queries, size = part.query.shape if part.query.ndim == 3 else (0, 0, 0)
    fits = len(part.heads) == len(part.key_heads) == heads and part.normalizer.shape == (heads, queries)
    if not fits or part.key.ndim != 3 or part.key.shape[2] != size:
        raise DamageError(f"expected arrays [head, token, size] of the same heads as {where}")
    if any(head >= len(part.key) for head in part.key_heads):
        raise DamageError(f"expected key heads up to {len(part.key) - 1}, in {where}")
    if not (np.isfinite(part.query).all() and np.isfinite(part.key).all()):
        raise DamageError(f"expected finite numbers in {where}")


def _check_weights(attention: Attention) -> None:
    """Raise DamageError unless maps have a row and a column for each token, and possible weights."""
    if attention.by == "norm":
        limits = Limits()
    elif attention.pool != "none" or attention.aggregate == "max":
        limits = Limits(lowest=-1e-4, largest=1 + _ROUNDING)
    else:
        limits = Limits(lowest=-1e-4, row_sum=1 + _ROUNDING)
    for maps in attention.layers:
        where = f"text {attention.text}, {attention.kind}, layer {maps.layer}"
        _check_shape(where, attention, maps)
        wrong = find_impossible(_defined(attention, maps), limits)
        if wrong is not None:
            names = ", ".join(f"{name} {n}" for name, n in zip(("head", "query", "key"), wrong.index, strict=False))
            raise DamageError(f"expected {wrong.expected}, got {wrong.value:.6g} at {where}, {names}")


def _check_shape(where: str, attention: Attention, maps: LayerMaps) -> None:
    cells = (len(side) for side in attention.sides)
    expected = (len(maps.heads) or 1, *cells)
    if maps.weights.shape != expected:
        raise DamageError(f"expected maps of shape {expected} as heads and tokens, got {maps.weights.shape} at {where}")
    if maps.visible is not None and maps.visible.shape not in (expected, (1, *expected[1:])):
        raise DamageError(f"expected a mask of shape {(1, *expected[1:])}, got {maps.visible.shape} at {where}")


def _defined(attention: Attention, maps: LayerMaps) -> Array:
    """Return the weights with 0 where they are undefined on purpose.

    These are rows of NaN without a visible key, or without weight after special tokens were dropped, and -inf for
    masked keys in the maximum over heads.
    """
    weights = maps.weights
    undefined = np.isnan(weights).all(-1, keepdims=True)
    combined = (attention.aggregate, attention.aggregate_layers) != ("none", "none")
    if not (attention.dropped_special or combined):
        sees = np.True_ if maps.visible is None else maps.visible.any(-1, keepdims=True)
        undefined = undefined & ~sees
    if attention.aggregate == "max" and maps.visible is not None:
        undefined = undefined | (np.isneginf(weights) & ~maps.visible)
    return np.where(undefined, np.float32(0), weights) if undefined.any() else weights
