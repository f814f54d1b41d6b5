"""A stream read by how much is written instead of by how much is looked: norms of weighted values for weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from attncli.data import Kind, Rows
from attncli.stream import Sink

_NOT_OF_WEIGHTS: dict[str, Any] = dict.fromkeys(("scores", "scale", "largest", "parts", "norms", "sums"))
"""What belongs to weights alone."""


class NormRows:
    """Value-weighted norms: how long is the vector that a head writes for a key, not only how much it looks at it?

    formula   ‖A_ij f(x_j)‖ = A_ij ‖f(x_j)‖, f(x) = (V x + b_v) W_O with the rows of W_O that belong to the head; in
              grouped-query attention heads that share values have a W_O of their own
    axes      query, key; one map for each head, as of weights
    unit      that of the hidden states, 0 up. Rows do not sum to 1: measures and flows, which need rows that do, are of
              each row's shares, A_ij ‖f(x_j)‖ / Σ_k A_ik ‖f(x_k)‖
    combined    --words adds up the norms of the pieces of a key and takes the mean over those of a query, --aggregate the
              mean or maximum over heads: of norms, not the norm of what several write together, in which vectors may
              cancel. --special drop leaves the remaining norms as they are. Shares are taken last of all
    undefined where f is not to be had: the model computes its weights itself, or what the heads put out is gated or
              normed before W_O. Such layers are left out with a note, and a model that has no others is refused
    caveat    it says how much is written into the residual stream, before layer norm, residual and what comes after,
              not what that does there. The bias of W_O belongs to no key and is left out. Layers compare with each
              other only as far as their residual streams are alike: in many models these grow with depth
    source    Kobayashi et al. 2020, "Attention is Not Only a Weight"; here for each head

    It stands in front of another sink, which then sees norms for weights.
    """

    takes_norms = True

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def add(self, rows: Rows) -> None:
        """Weigh one block and hand it on."""
        assert rows.norms is not None  # layers without them were never chosen
        raw = rows.weights * rows.norms[:, :, None].to(rows.raw.dtype)
        self._sink.add(replace(rows, raw=raw, **_NOT_OF_WEIGHTS))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Hand on the end of a layer."""
        self._sink.end_layer(kind, layer)


class NormShares:
    """A sink in front of one that needs rows which sum to 1: of each norm its share in the row.

    A row of zeros stays one, as if it looked nowhere.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def add(self, rows: Rows) -> None:
        """Divide the rows of one block and hand it on."""
        total = rows.weights.sum(-1, keepdim=True, dtype=torch.float64)
        raw = (rows.weights / total.clamp_min(torch.finfo(torch.float32).tiny)).to(rows.raw.dtype)
        self._sink.add(replace(rows, raw=raw, **_NOT_OF_WEIGHTS))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Hand on the end of a layer."""
        self._sink.end_layer(kind, layer)
