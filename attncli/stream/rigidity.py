"""How much of a head's attention is the same whatever the text says, as other texts show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attncli.data import Array, Kind, Rows, kind_order
from attncli.stream.diagonals import by_offset
from attncli.stream.position_fit import PositionSums, explained, fit, total_sums, without
from attncli.stream.protocol import on_host
from attncli.stream.sums import LayerParts, OpenLayers, Sums

Tensor = torch.Tensor
HeadKey = tuple[Kind, int, int]
"""Kind, layer and head."""
TERMS = ("uniform", "first key", "last key", "first corner", "last corner")
"""What weights by position have besides a weight for each offset."""
_OF_MASK = ("cells", "terms", "gram")


@dataclass(frozen=True, eq=False)
class Rigidity:
    """The rigidity of each head on each text.

    heads   kind, layer and head of each row, in order
    texts   numbers of the texts
    values  [head, text], from 0 to 1; NaN if undefined
    """

    heads: tuple[HeadKey, ...]
    texts: tuple[int, ...]
    values: Array

    def mean(self) -> Array:
        """Return the mean over texts [head], without undefined values; NaN without any."""
        known = ~np.isnan(self.values)
        total = np.where(known, self.values, 0.0).sum(1)
        return np.asarray(np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan))

    def std(self) -> Array:
        """Return the population standard deviation over texts [head]."""
        return np.sqrt(Rigidity(self.heads, self.texts, (self.values - self.mean()[:, None]) ** 2).mean())


class RigiditySink:
    """Is the attention of the head the same whatever the text says?

    Formula   1 - Σ_ij (A_ij - P_ij)² / Σ_ij (A_ij - a_i)² over the keys j that row i of the text can see; a_i the mean
              of the row, which is 1/|S_i| if it sums to 1. P is the head's map by position alone, learned from other
              texts: P_ij = c/|S_i| + f(j-i) + g(j) + h(i,j). c is a share that is spread evenly, f a weight for each
              offset, g one for the first and one for the last key, h one for the first query on the first key and one
              for the last query on the last key: the least-squares fit to the rows of these texts
    Axes      weights [batch, head, row, key] → one number per head and text
    Unit      1, from 0 (position explains no more than uniform rows do) to 1 (the same map whatever the text says)
    Left out  rows that see a single key

    The sums of each text stay in memory: a number per text, head and offset.
    """

    def __init__(self) -> None:
        self._open = OpenLayers()
        self._layers: dict[tuple[Kind, int], list[tuple[int, tuple[int, ...], PositionSums]]] = {}

    def add(self, rows: Rows) -> None:
        rows = on_host(rows)
        self._open.add(rows, _sums(rows))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Keep the sums of each text of the batch."""
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            arrays = {name: values.cpu().numpy() for name, values in total.items()}
            texts = self._layers.setdefault((kind, layer), [])
            texts += [(text, heads, _text_sums(opened, entry, arrays)) for entry, text in enumerate(opened.texts)]

    def result(self, learned_from: RigiditySink | None = None) -> Rigidity:
        """Return the rigidity of each text, P learned from all other texts.

        learned_from  a sink that has seen other texts: P is learned from all of these instead
        """
        values: dict[tuple[HeadKey, int], float] = {}
        for (kind, layer), texts in self._layers.items():
            sums = self._sums(kind, layer)
            others = None if learned_from is None else learned_from._sums(kind, layer)
            for (text, heads, _), shares in zip(texts, _shares(sums, others), strict=True):
                values |= {((kind, layer, head), text): share for head, share in zip(heads, shares, strict=True)}
        head_keys = sorted({key for key, _ in values}, key=lambda key: (kind_order(key[0]), *key[1:]))
        numbers = sorted({text for _, text in values})
        table = [[values.get((key, text), np.nan) for text in numbers] for key in head_keys]
        return Rigidity(tuple(head_keys), tuple(numbers), np.array(table).reshape(len(head_keys), len(numbers)))

    def _sums(self, kind: Kind, layer: int) -> list[PositionSums]:
        return [sums for *_, sums in self._layers.get((kind, layer), [])]


def _shares(texts: Sequence[PositionSums], others: Sequence[PositionSums] | None) -> Iterator[list[float]]:
    """Yield for each text the share that P explains, by head; NaN if P can be learned from no text."""
    is_known = len(texts) > 1 if others is None else len(others) > 0
    if not is_known:
        yield from ([np.nan] * len(text.mass) for text in texts)
        return
    total = total_sums(texts if others is None else others)
    of_others = None if others is None else fit(total)
    for text in texts:
        model = fit(without(total, text)) if of_others is None else of_others
        yield explained(text, model).tolist()


def _sums(rows: Rows) -> Sums:
    """Return the sums of a block, as `PositionSums` describes them: [batch, head, …] float64."""
    counts = rows.visible_count
    counted = rows.real & (counts > 1)
    uniform = torch.where(counted, 1 / counts.clamp_min(1), 0.0)
    seen = counted[..., None] & rows.visible_pairs
    dtype = rows.raw.dtype
    deviations = (rows.raw * (rows.factor * counted.to(dtype))[..., None]).sub_(seen * uniform.to(dtype)[..., None])
    row_sums, squares = deviations.sum(-1).double(), torch.linalg.vector_norm(deviations, dim=-1).double().square()
    products = [(row_sums * uniform).sum(-1, keepdim=True), _at_ends(rows, deviations).sum(-1)]
    cache = rows.visibility.cache
    if _mask_sums not in cache:
        cache[_mask_sums] = _mask_sums(rows, seen, uniform)
    of_mask: Sums = cache[_mask_sums]
    return {
        "mass": by_offset(deviations, torch.ones_like(rows.factor), rows),
        "products": torch.cat(products, -1),
        "squares": squares.sum(-1),
        "variance": (squares - row_sums**2 * uniform).sum(-1),
        **{name: sums.expand(-1, row_sums.shape[1], *sums.shape[2:]) for name, sums in of_mask.items()},
    }


def _mask_sums(rows: Rows, seen: Tensor, uniform: Tensor) -> Sums:
    """Return the sums of cells and terms, which depend on the mask alone: [batch, head or 1, …]."""
    cells = seen.double()
    at_ends = _at_ends(rows, cells)
    count, even_share = (by_offset(cells, factors, rows) for factors in (torch.ones_like(uniform), uniform))
    terms = torch.cat([even_share[:, :, None], _ends_by_offset(rows, at_ends)], 2)
    # a cell has one key, so terms of the first key and of the last one never meet
    among_ends = torch.einsum("bhki,bhli->bhkl", at_ends, at_ends) * at_ends.new_tensor([[1, 0], [0, 1]]).repeat(2, 2)
    with_uniform = torch.einsum("bhki,bhi->bhk", at_ends, uniform)
    left = torch.cat([uniform.sum(-1, keepdim=True), with_uniform], -1)
    gram = torch.cat([left[..., None, :], torch.cat([with_uniform[..., None], among_ends], -1)], -2)
    return {"cells": count, "terms": terms, "gram": gram}


def _at_ends(rows: Rows, values: Tensor) -> Tensor:
    """Return values [batch, head, row, key] times each term but the first, summed over keys: [batch, head, 4, row].

    Values are 0 on masked keys.
    """
    lengths = torch.tensor(rows.key_lengths, device=values.device)[:, None]
    ends = torch.cat([torch.zeros_like(lengths), lengths - 1], -1)[:, None].expand(-1, values.shape[2], -1)
    key, visible = rows.visibility.find_keys(ends)
    columns = values.gather(-1, key.expand(-1, values.shape[1], -1, -1)) * visible
    columns = columns.double().transpose(2, 3)
    return torch.cat([columns, columns * _is_end(rows.query_positions, rows.query_lengths)[:, None]], 2)


def _is_end(positions: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return which positions are the first one, and which the last one: [batch, 2, position] float64."""
    last = torch.tensor(lengths, device=positions.device)[:, None] - 1
    return torch.stack([positions == 0, positions == last], 1).double()


def _ends_by_offset(rows: Rows, at_ends: Tensor) -> Tensor:
    """Return sums over rows by offset of what `_at_ends` returns: [batch, head, 4, offset]."""
    zero_offset = max(rows.query_lengths) - 1
    width = zero_offset + max(rows.key_lengths)
    last = torch.tensor(rows.key_lengths, device=at_ends.device)[:, None] - 1
    queries = rows.query_positions
    offsets = torch.stack([zero_offset - queries, last + zero_offset - queries] * 2, 1)
    index = torch.where(queries[:, None] < 0, width, offsets)[:, None].expand(at_ends.shape)
    return at_ends.new_zeros((*at_ends.shape[:3], width + 1)).scatter_add_(-1, index, at_ends)[..., :width]


def _text_sums(opened: LayerParts, entry: int, total: dict[str, Array]) -> PositionSums:
    """Return the sums of one text of a batch, whose texts may be longer."""
    queries, keys = opened.query_lengths[entry], opened.key_lengths[entry]
    first = max(opened.query_lengths) - queries
    offsets = slice(first, first + queries + keys - 1)
    sums = {name: values[entry] for name, values in total.items()}
    for name in ("mass", "cells", "terms"):
        # deviations from uniform rows are small: float32 is enough
        sums[name] = sums[name][..., offsets].astype(np.float32)
    if all((sums[name] == sums[name][:1]).all() for name in _OF_MASK):
        sums |= {name: sums[name][:1].copy() for name in _OF_MASK}
    return PositionSums(queries, keys, **sums)
