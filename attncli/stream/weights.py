"""Blocks with other weights: value-weighted norms, their shares, and uniform attention."""

from dataclasses import replace

import torch

from attncli.data import Kind, Rows, RowTotals, Selection
from attncli.stream.protocol import Sink


def with_weights(rows: Rows, weights: torch.Tensor) -> Rows:
    """Return the block with other weights, without the fields that describe the old ones."""
    return replace(rows, raw=weights, scores=None, scale=None, largest=None, parts=None, norms=None, sums=None)


def uniform_rows(rows: Rows) -> Rows:
    """Return the block with weight 1 / |S_i| on each visible key; with one head if all heads see the same keys.

    Layers that share a visibility share what was computed from the uniform rows of an earlier layer.
    """
    memory = rows.visibility.cache
    if uniform_rows not in memory:
        scale = rows.visible_count.clamp_min(1).reciprocal().float()
        memory[uniform_rows] = rows.visible_pairs.float(), scale, {}
    visible, scale, earlier = memory[uniform_rows]
    uniform = replace(with_weights(rows, visible), scale=scale, heads=rows.heads[: visible.shape[1]])
    uniform.cache.update(earlier)
    memory[uniform_rows] = visible, scale, uniform.cache
    return uniform


class _Forward:
    """A sink that passes the end of a layer on to another sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def end_layer(self, kind: Kind, layer: int) -> None:
        self._sink.end_layer(kind, layer)


class UniformBaseline(_Forward):
    """A sink that feeds uniform attention to another sink: 1 / |S_i| on each of the |S_i| keys that row i can see.

    It depends on the mask alone. Heads of a layer that share a mask are therefore fed once, as the first selected head.

    heads  the selected heads
    """

    def __init__(self, sink: Sink, heads: Selection) -> None:
        super().__init__(sink)
        self._heads = heads

    def add(self, rows: Rows) -> None:
        """Feed the uniform rows of one block."""
        heads = self._heads.get((rows.kind, rows.layer), ())
        if not heads:
            return
        if rows.visible_pairs.shape[1] > 1:
            self._sink.add(uniform_rows(rows))
        elif heads[0] in rows.heads:
            self._sink.add(uniform_rows(replace(rows, heads=heads[:1])))


class NormRows(_Forward):
    """Value-weighted norms: how long is the vector that a head writes for a key, not only how much it attends to it?

    formula   ‖A_ij f(x_j)‖ = A_ij ‖f(x_j)‖, f(x) = (V x + b_v) W_O with the rows of W_O that belong to the head; in
              grouped-query attention each head has its own rows of W_O, also where heads share values
    axes      query, key; one map for each head, as for weights
    unit      that of the hidden states, from 0 up. Rows do not sum to 1: measures and flows, which need rows that do,
              use the shares of each row, A_ij ‖f(x_j)‖ / Σ_k A_ik ‖f(x_k)‖
    combined  --words sums the norms over the pieces of a key and averages them over those of a query; --aggregate takes
              the mean or maximum over heads: of norms, not the norm of what several heads write together, in which
              vectors may cancel. --special drop leaves the other norms unchanged. Shares are taken at the end
    undefined where f is not available: the model computes its weights itself, or gates or normalises the output of its
              heads before W_O. Such layers are left out with a note; a model without other layers is refused
    caveat    norms measure what is written into the residual stream, before layer norm, residual and later layers, not
              its effect. The bias of W_O belongs to no key and is left out. Norms of different layers compare only as
              far as their residual streams do: in many models these grow with depth
    source    Kobayashi et al. 2020, "Attention is Not Only a Weight"; here for each head

    The sink behind it gets norms in place of weights.
    """

    takes_norms = True

    def __init__(self, sink: Sink, scored: bool = False) -> None:
        """Pass norms on to a sink, with the logarithms that entropies need if they are `scored`."""
        super().__init__(sink)
        self._scored = scored

    def add(self, rows: Rows) -> None:
        """Multiply the weights of one block by the norms and pass it on."""
        assert rows.norms is not None  # layers without norms are never selected
        norms, scores = rows.norms[:, :, None].to(rows.raw.dtype), None
        if self._scored and rows.scores is not None:
            scores = rows.scores + norms.clamp_min(torch.finfo(norms.dtype).tiny).log()
        self._sink.add(replace(with_weights(rows, rows.raw * norms), scores=scores, scale=rows.scale))


class NormShares(_Forward):
    """Norms divided by the sum of their row, for a sink that needs rows that sum to 1; rows of zeros stay zero."""

    def add(self, rows: Rows) -> None:
        """Divide the rows of one block by their sums and pass it on."""
        before = rows.visibility.keys_before
        sums = RowTotals(rows.raw[..., :before].sum(-1), rows.raw[..., before:].sum(-1))
        scale = (sums.before + sums.rest).clamp_min(torch.finfo(torch.float32).tiny).reciprocal()
        self._sink.add(replace(rows, scale=scale, sums=sums))
