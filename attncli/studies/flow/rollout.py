"""Attention rollout, computed layer by layer."""

from __future__ import annotations

import numpy as np

from attncli.data import Array, Kind
from attncli.studies.flow.layer_steps import cross_attention_step, self_attention_step


class Rollout:
    """Attention rollout: the share of each input token in each token at the top, if only attention mixes tokens.

    formula   R_l = Ã_l R_(l-1), R of the input = I; Ã = (Ā + I) with rows scaled to sum to 1, Ā the mean (or max) over
              heads; without residual Ã is Ā, with rows scaled to sum to 1. A decoder with an encoder first applies its
              self-attention, then its attention to the encoder's top E: (T, S) ← (Ã T, Ã S), then
              (T, S) ← (o T, o S + C E), where T is the share of the target's and S of the source's input, and o and C
              are (I, Ā_cross) with rows scaled to sum to 1 over both; without residual o is 0, so that S is what the
              last layer reads from the encoder, and T is 0
    axes      query token at the top, key token of the input
    unit      share, 0 to 1; a row sums to 1 over all inputs
    undefined never; a row that sees no key in some layer stays itself, without residual zero
    caveat    layer norm, values and the feed-forward parts are left out, and attention and residual have equal weight:
              deep rollouts of all models are similar, so compare with the baselines
    source    Abnar & Zuidema 2020; with cross-attention our own, with the steps of Ferrando et al. 2022 (ALTI+)

    Only one map [query, key] of each kind is kept, whatever the number of layers.
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
