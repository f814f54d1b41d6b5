"""Forward passes in which some keys are blocked for some rows, many of them in one batch.

All passes of a batch read the same text. Each blocks other keys in other layers, so one edit of a layer serves all.
Passes with the same lowest blocked layer share a batch: the layers below it are not computed again, and in a causal
model no rows before the blocked ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np
import torch

from attncli.capturing import bind
from attncli.capturing.bound_edits import BoundEdits
from attncli.capturing.edited_weights import WeightEdit
from attncli.capturing.partial_passes import PartialPasses
from attncli.data import Array, Input, Kind
from attncli.engine.explained import Explained, checked_logits, predicted_names
from attncli.engine.memory import format_size, free_memory
from attncli.engine.passes import Pass
from attncli.engine.progress import Track
from attncli.errors import ModelError, UsageError
from attncli.studies.knockout.units import BlockedRows

DRAWS = 5
"""Number of random sets of keys for each segment."""
MOST_PASSES = 256
"""Passes in a batch: more take more memory and are not faster."""


@dataclass(frozen=True)
class Window:
    """Layers that are blocked together.

    layer   the layer in the middle; None for all layers
    layers  all layers of the window
    """

    layer: int | None
    layers: tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """One pass: these keys are blocked in these layers of a kind of attention."""

    kind: Kind
    layers: tuple[int, ...]
    keys: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Effects:
    """What the model predicts in each pass.

    score      [pass] natural logarithm of the probability of what is explained, or the number that it is
    predicted  what is predicted instead, for each pass
    """

    score: Array
    predicted: tuple[str, ...]

    def part(self, start: int, end: int) -> Effects:
        """Return the passes from `start` up to, not including, `end`."""
        return Effects(self.score[start:end], self.predicted[start:end])


def default_window(layers: int) -> int:
    """Return how many layers are blocked together, about a fifth: 5 of 28 and 9 of 48 as in Geva et al. 2023.

    >>> default_window(3), default_window(12), default_window(28), default_window(48)
    (1, 3, 5, 9)
    """
    return 2 * (layers // 10) + 1


def windows_of(layers: Sequence[int], size: int | None) -> tuple[Window, ...]:
    """Return the window of all layers, then one around each layer; at both ends they have fewer layers.

    size  number of layers of a window; None for the default

    >>> [window.layers for window in windows_of([0, 1, 2, 3], 3)]
    [(0, 1, 2, 3), (0, 1), (0, 1, 2), (1, 2, 3), (2, 3)]
    """
    layers, size = sorted(layers), size or default_window(len(layers))
    around = (
        Window(layer, tuple(layers[max(0, index - size // 2) : index + (size + 1) // 2]))
        for index, layer in enumerate(layers)
    )
    return Window(None, tuple(layers)), *around


def variants_of(blocked: BlockedRows, windows: Sequence[Window]) -> list[Variant]:
    """Return the passes of one kind: each unit in each window, then the random keys of each unit in all layers."""
    of_units = [Variant(blocked.kind, window.layers, unit.positions) for window in windows for unit in blocked.units]
    all_layers = windows[0].layers
    return of_units + [Variant(blocked.kind, all_layers, keys) for sets in blocked.random for keys in sets]


def measure(
    prepared: Pass,
    explained: Explained,
    rows: Mapping[Kind, Array],
    variants: Sequence[Variant],
    track: Track,
    vocabulary: int,
) -> Effects:
    """Return what the model predicts in each pass.

    rows        the rows from which attention is blocked, by kind
    vocabulary  number of logits of a row
    """
    allowed = _allowed_passes(prepared, vocabulary)
    passes = _partial_passes(prepared, explained, rows, variants)
    step = min(allowed(passes.first), MOST_PASSES)
    shifted = replace(explained, rows=tuple(row - passes.first for row in explained.rows))
    lowest = [passes.lowest(variant.kind, variant.layers) for variant in variants]
    scores, predicted = np.zeros(len(variants)), [""] * len(variants)
    with track("blocking", len(variants), "passes") as advance:
        for part in _batches(lowest, step):
            edits = _edits(prepared, rows, [variants[number] for number in part])
            with torch.inference_mode():
                outputs = passes.outputs(edits, len(part), lowest[part[0]])
                logits = checked_logits(prepared.loaded, outputs, explained.similar is not None)
                scores[part] = shifted.score(logits, "ln-probability").cpu().numpy()
                names = predicted_names(prepared.loaded, shifted, logits)
            for number, name in zip(part, names, strict=True):
                predicted[number] = name
            advance(len(part))
    return Effects(scores, tuple(predicted))


def _batches(lowest: Sequence[int], step: int) -> Iterator[list[int]]:
    """Yield numbers of passes that are computed together: at most `step` with the same lowest blocked layer.

    >>> list(_batches([0, 2, 0, 0], 2))
    [[0, 2], [3], [1]]
    """
    order = sorted(range(len(lowest)), key=lowest.__getitem__)
    for _, group in groupby(order, key=lowest.__getitem__):
        same = list(group)
        yield from (same[start : start + step] for start in range(0, len(same), step))


def _partial_passes(
    prepared: Pass, explained: Explained, rows: Mapping[Kind, Array], variants: Sequence[Variant]
) -> PartialPasses:
    """Return passes that leave out rows and layers, as far as they give the numbers of a whole pass.

    This is tried for the first pass whose lowest blocked layer is the highest.
    """
    first = min(int(of_kind.min()) for of_kind in rows.values())
    if not explained.rows or min(explained.rows) < first:
        first = 0
    tokens = len(prepared.batches[0].inputs[0].source)
    predicting = slice(explained.rows[0], explained.rows[-1] + 1) if explained.rows else slice(0, tokens)
    read = partial(checked_logits, prepared.loaded, states=explained.similar is not None)
    for start, skips in dict.fromkeys(((first, True), (first, False), (0, True))):
        passes = PartialPasses(prepared.loaded, prepared.plan, prepared.batches[0], start, skips)
        lowest = [passes.lowest(variant.kind, variant.layers) for variant in variants]
        tried = lowest.index(max(lowest))
        if not passes.first and not lowest[tried]:
            break  # nothing is left out
        if passes.agrees(_edits(prepared, rows, [variants[tried]]), lowest[tried], predicting, read):
            return passes
    return PartialPasses(prepared.loaded, prepared.plan, prepared.batches[0], skips=False)


def _edits(prepared: Pass, rows: Mapping[Kind, Array], variants: Sequence[Variant]) -> BoundEdits:
    """Return the edits of a batch: those of the model, and the blocked keys of each pass."""
    text = prepared.batches[0].inputs[0]
    own = bind(prepared.plan, [text] * len(variants), prepared.loaded.edits, prepared.loaded.name)
    blocks = []
    masks = {kind: _masks(text, kind, rows[kind], variants) for kind in rows}
    for site in prepared.plan.sites:
        heads = prepared.heads.get((site.kind, site.layer), ())
        where = torch.zeros((len(variants), site.heads), dtype=torch.bool)
        for number, variant in enumerate(variants):
            if variant.kind == site.kind and site.layer in variant.layers:
                where[number, list(heads)] = True
        if not where.any():
            continue
        if site.no_edits:
            raise ModelError(f"knockout: weights of {site.label} cannot be edited: {site.no_edits}")
        queries, keys = masks[site.kind]
        blocks.append((site, [WeightEdit("block", where[:, :, None, None], queries=queries, keys=keys)]))
    return own.followed_by(blocks)


def _masks(text: Input, kind: Kind, rows: Array, variants: Sequence[Variant]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the blocked rows and keys of each pass, [pass, token] bool each."""
    count, keys = map(len, text.sides(kind))
    of_rows = torch.zeros((len(variants), count), dtype=torch.bool)
    of_rows[:, rows.tolist()] = True
    of_keys = torch.zeros((len(variants), keys), dtype=torch.bool)
    for number, variant in enumerate(variants):
        if variant.kind == kind:
            of_keys[number, list(variant.keys)] = True
    return of_rows, of_keys


def _allowed_passes(prepared: Pass, vocabulary: int) -> Callable[[int], int]:
    """Return how many passes share a batch if rows before the given one are left out: as many as memory permits.

    Raise UsageError if a single pass over the whole text does not fit.
    """
    text = prepared.batches[0].inputs[0]
    tokens = max(len(side) for kind in {site.kind for site in prepared.plan.sites} for side in text.sides(kind))
    heads = max(site.heads for site in prepared.plan.sites)
    needed = 4 * tokens * (2 * vocabulary + 4 * heads * tokens)
    limit, free = prepared.request.max_memory, free_memory()
    allowed = limit if limit is not None else needed if free is None else free // 2
    if allowed < needed:
        raise UsageError(
            f"one pass over {tokens} tokens takes {format_size(needed)}, allowed are {format_size(allowed)}: "
            f"shorten the text with --max-tokens {tokens // 2}, or allow more with --max-memory"
        )

    def passes(first: int) -> int:
        count = tokens - first
        # with logits and their logarithms in float64
        of_rows = 4 * count * (6 * vocabulary + 6 * heads * tokens) if first else needed
        return max(1, min(prepared.request.batch_tokens // count, allowed // of_rows))

    return passes


def ranks(values: Array) -> Array:
    """Return ranks from 1 up, the smallest value first; equal values share the mean rank.

    >>> ranks(np.array([0.5, -2.0, 0.5])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean: Array = np.cumsum(counts) - (counts - 1) / 2
    return mean[inverse]


def rank_correlation(first: Array, second: Array) -> float:
    """Return Spearman's correlation of two columns; NaN if one is constant or there are fewer than 5 entries."""
    if len(first) < 5 or not np.ptp(first) or not np.ptp(second):
        return float("nan")
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])
