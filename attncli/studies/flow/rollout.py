"""Attention rollout, computed layer by layer."""

from __future__ import annotations

import numpy as np

from attncli.data import Array, Kind
from attncli.studies.flow.layer_steps import cross_attention_step, self_attention_step


class Rollout:
    """Attention rollout: the share of each input token in each token at the top, if only attention mixes tokens.

    `attncli explain rollout` shows formula, caveats and sources. The shares are [query at the top, key of the input], a
    row sums to 1 over all inputs. A row without visible keys in some layer keeps its own token; without residual it
    becomes zero. Only one map of each kind is kept, whatever the number of layers.

    residual  whether each token keeps a part of itself in each layer
    """

    def __init__(self, residual: bool = True) -> None:
        self._residual = residual
        self._shares: dict[Kind, Array] = {}

    def add(self, kind: Kind, weights: Array) -> None:
        """Add the map [query, key] of the next layer, in the order of `stacking_order`."""
        shares = self._shares
        if kind != "cross":
            step = self_attention_step(weights, self._residual)
            shares[kind] = step @ shares[kind] if kind in shares else step
            if kind == "decoder" and "cross" in shares:
                shares["cross"] = step @ shares["cross"]
            return
        kept, step = cross_attention_step(weights, self._residual)
        shares["decoder"] = kept[:, None] * shares.get("decoder", np.eye(len(kept)))
        received = step @ shares["encoder"] if "encoder" in shares else step
        shares["cross"] = kept[:, None] * shares["cross"] + received if "cross" in shares else received

    def of(self, kind: Kind) -> Array:
        """Return the shares after the layers so far: [query, key]."""
        return self._shares[kind]
