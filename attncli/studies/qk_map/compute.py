"""The sink that samples query and key vectors of all heads, with the weights between them and the strongest keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attncli.data import Array, Input, Kind, Rows, ScoreParts, Selection, kind_order
from attncli.stream.protocol import selected
from attncli.studies.qk_map.head_maps import STRONGEST
from attncli.studies.qk_map.sampling import Sample, positions_without_special, sample_tokens

LayerKey = tuple[Kind, int]


@dataclass(eq=False)
class LayerVectors:
    """The sampled vectors of one layer, and its weights.

    heads      numbers of the heads, and `key_heads` the index into `keys` of each
    queries    [head, query, dim] float32, with rotary positions and before `scale`
    keys       [key head, key, dim] float32
    scale, softcap, bias  of the scores, as in `attncli.Vectors`
    weights    [head, query, pair] float32 of the pairs of the sample; NaN where the key is masked
    strongest  [head, query, 8] positions of the strongest keys of all, -1 for none, and `strongest_weights`
    texts      texts whose vectors have come
    """

    heads: tuple[int, ...]
    key_heads: tuple[int, ...]
    queries: Array
    keys: Array
    scale: float
    softcap: float | None
    bias: bool
    weights: Array
    strongest: Array
    strongest_weights: Array
    texts: set[int] = field(default_factory=set)

    @classmethod
    def blank(cls, heads: Sequence[int], parts: ScoreParts, sample: Sample) -> LayerVectors:
        """Return a layer without vectors yet."""
        group = parts.query.shape[1] // parts.key.shape[1]
        key_numbers = sorted({head // group for head in heads})
        queries, pairs = sample.pairs.shape
        count, dim = len(sample.tokens) - queries, parts.query.shape[3]
        return cls(
            tuple(heads),
            tuple(key_numbers.index(head // group) for head in heads),
            np.full((len(heads), queries, dim), np.nan, np.float32),
            np.full((len(key_numbers), count, dim), np.nan, np.float32),
            parts.scale,
            parts.softcap,
            parts.bias,
            np.full((len(heads), queries, pairs), np.nan, np.float32),
            np.full((len(heads), queries, STRONGEST), -1, np.int32),
            np.zeros((len(heads), queries, STRONGEST), np.float32),
        )


@dataclass(frozen=True, eq=False)
class _SampledInBlock:
    """Where sampled tokens of one text are in a block.

    rows     indices of the rows of sampled queries, and `numbers` of these queries
    columns  [query, pair] index of the key of each pair, 0 if it is not in the block; `known` says whether it is
    """

    rows: torch.Tensor
    numbers: Array
    columns: torch.Tensor
    known: torch.Tensor

    @classmethod
    def of(cls, rows: Rows, entry: int, text: int, sample: Sample) -> _SampledInBlock:
        row_positions, key_positions = (
            side[entry].cpu().numpy() for side in (rows.query_positions, rows.key_positions)
        )
        own = sample.of_text(text, 0)
        positions = sample.positions(0)[own]
        index = np.flatnonzero(np.isin(row_positions, positions) & (row_positions >= 0))
        numbers = own.start + np.searchsorted(positions, row_positions[index])
        column_of = np.full(rows.key_lengths[entry] + 1, -1)
        column_of[key_positions[key_positions >= 0]] = np.flatnonzero(key_positions >= 0)
        pairs = sample.pairs[numbers]
        columns = np.where(pairs < 0, -1, column_of[np.where(pairs < 0, 0, sample.positions(1)[pairs])])
        tensors = (torch.from_numpy(part).to(rows.raw.device) for part in (index, columns.clip(0), columns >= 0))
        in_rows, in_columns, known = tensors
        return cls(in_rows, numbers, in_columns, known)


class SampleVectors:
    """A sink that keeps the vectors and weights of sampled tokens, in float32 on the host.

    `takes_vectors` makes capture pass vectors on. Layers whose weights the model computes itself have none.

    inputs        texts as the model reads them
    heads         heads that are sampled
    drop_special  whether special tokens are no queries and no keys, and rows are renormalised without them
    """

    takes_vectors = True

    def __init__(self, inputs: Sequence[Input], heads: Selection, vectors: int, seed: int, drop_special: bool) -> None:
        self._heads, self._drop, self._inputs = heads, drop_special, {text.index: text for text in inputs}
        kinds = dict.fromkeys(kind for kind, _ in heads)
        self.samples = {kind: sample_tokens(inputs, kind, vectors, seed, drop_special=drop_special) for kind in kinds}
        self._layers: dict[LayerKey, LayerVectors] = {}

    def add(self, rows: Rows) -> None:
        """Keep the weights of sampled rows, and from the first block of a layer the vectors of its texts."""
        part = selected(rows, self._heads)
        if part is None or part.parts is None:
            return
        key, sample = (part.kind, part.layer), self.samples[part.kind]
        if key not in self._layers:
            self._layers[key] = LayerVectors.blank(sorted(self._heads[key]), part.parts, sample)
        layer = self._layers[key]
        for entry, text in enumerate(part.texts):
            if text not in layer.texts:
                _take_vectors(layer, part.parts, sample, entry, text)
                layer.texts.add(text)
            self._take_weights(layer, part, entry, text, sample)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Do nothing: rows are kept as they come."""

    def _take_weights(self, layer: LayerVectors, rows: Rows, entry: int, text: int, sample: Sample) -> None:
        cache = rows.visibility.cache
        if (self, entry) not in cache:
            cache[self, entry] = _SampledInBlock.of(rows, entry, text, sample)
        sampled: _SampledInBlock = cache[self, entry]
        if not len(sampled.numbers):
            return
        weights, visible = _sampled_rows(rows, entry, sampled.rows)
        if self._drop:
            visible = visible & ~rows.visibility.special_keys[entry]
            weights = weights.masked_fill(~visible, 0)
            remaining = weights.sum(-1, keepdim=True, dtype=torch.float64)
            weights = weights / torch.where(remaining > 0, remaining, 1.0)
            visible = visible & (remaining > 0)  # a row that attends to special tokens alone is undefined
        heads = np.array([layer.heads.index(head) for head in rows.heads])[:, None]
        shape = (*weights.shape[:2], -1)
        columns = sampled.columns.expand(*shape)
        seen = visible.gather(-1, columns) & sampled.known
        of_pairs = weights.gather(-1, columns).masked_fill(~seen, torch.nan)
        layer.weights[heads, sampled.numbers] = of_pairs.float().cpu().numpy()
        values, indices = weights.masked_fill(~visible, -1).topk(min(STRONGEST, weights.shape[-1]))
        positions = rows.key_positions[entry][indices].masked_fill(values < 0, -1)
        count = values.shape[-1]
        layer.strongest[heads, sampled.numbers, :count] = positions.cpu().numpy()
        layer.strongest_weights[heads, sampled.numbers, :count] = values.clamp_min(0).float().cpu().numpy()

    def result(self) -> tuple[dict[Kind, Sample], dict[LayerKey, LayerVectors]]:
        """Return the samples, and the layers that have vectors; without special tokens if these are dropped."""
        layers = {key: self._layers[key] for key in sorted(self._layers, key=lambda key: (kind_order(key[0]), key[1]))}
        samples = {kind: sample for kind, sample in self.samples.items() if any(of == kind for of, _ in layers)}
        if self._drop:
            for (kind, _), layer in layers.items():
                _renumber_keys(layer, samples[kind], self._inputs, kind)
            samples = {kind: sample.without_special(self._inputs, kind) for kind, sample in samples.items()}
        return samples, layers


def _sampled_rows(rows: Rows, entry: int, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights [head, row, key] of some rows of a text, 0 if masked, and which keys are visible."""
    weights = rows.raw[entry][:, index]
    if rows.scale is not None:
        weights = weights * rows.scale[entry][:, index, None]
    visible = rows.visible_pairs[entry][:, index].expand(weights.shape)
    return weights.masked_fill(~visible, 0), visible


def _take_vectors(layer: LayerVectors, parts: ScoreParts, sample: Sample, entry: int, text: int) -> None:
    """Keep the vectors of the sampled tokens of a text; vectors are of texts without padding."""
    group = parts.query.shape[1] // parts.key.shape[1]
    key_numbers = sorted({head // group for head in layer.heads})
    for side, kept, vectors, numbers in (
        (0, layer.queries, parts.query, list(layer.heads)),
        (1, layer.keys, parts.key, key_numbers),
    ):
        own = sample.of_text(text, side)
        positions = torch.from_numpy(sample.positions(side)[own].astype(np.int64)).to(vectors.device)
        kept[:, own] = vectors[entry, numbers][:, positions].float().cpu().numpy()


def _renumber_keys(layer: LayerVectors, sample: Sample, inputs: Mapping[int, Input], kind: Kind) -> None:
    """Give the strongest keys of all queries the positions that they have without special tokens."""
    for text, tokens in inputs.items():
        own = sample.of_text(text, 0)
        strongest = layer.strongest[:, own]
        numbers = positions_without_special(tokens.sides(kind)[1])
        layer.strongest[:, own] = np.where(strongest < 0, -1, numbers[strongest])
