"""Attention rollout, combined layer by layer."""

from __future__ import annotations

import numpy as np

from attncli.data import Array, Kind
from attncli.studies.flow.layer_steps import cross_step, own_step


class Rollout:
    """Attention rollout: how much of each input token is in each token at the top, if attention is all that mixes.

    formula   R_l = Ã_l R_(l-1), R of the input = I; Ã = (Ā + I) with rows made to sum to 1, Ā the mean (or max) over
              heads; without residual Ã is Ā, with rows made to sum to 1. A decoder that reads an encoder first looks at
              itself and then at the encoder's top E: (T, S) ← (Ã T, Ã S), then (T, S) ← (o T, o S + C E), where T is
              of the target's and S of the source's input, and o and C are (I, Ā_cross) with rows made to sum to 1 over
              both; without residual o is 0, so that S is what the last layer took of the encoder, and T is 0
    axes      query token at the top, key token of the input
    unit      share, 0 to 1; a row sums to 1 over all inputs
    undefined never; a row that sees nothing in some layer is itself, without residual zero
    caveat    layer norm, values and the feed-forward parts are left out, and attention and residual weigh the same, so
              that deep rollouts of any model look alike: look at the baselines beside it
    source    Abnar & Zuidema 2020; with cross-attention ours, the steps are those of Ferrando et al. 2022 (ALTI+)

    It is combined layer by layer: a map [query, key] of each kind is held, whatever the number of layers.
    """

    def __init__(self, residual: bool = True) -> None:
        self._residual = residual
        self._found: dict[Kind, Array] = {}

    def add(self, kind: Kind, weights: Array) -> None:
        """One layer more, in the order in which they stand on top of each other."""
        found = self._found
        if kind != "cross":
            step = own_step(weights, self._residual)
            found[kind] = step @ found[kind] if kind in found else step
            if kind == "decoder" and "cross" in found:
                found["cross"] = step @ found["cross"]
            return
        own, given = cross_step(weights, self._residual)
        found["decoder"] = own[:, None] * found.get("decoder", np.eye(len(own)))
        taken = given @ found["encoder"] if "encoder" in found else given
        found["cross"] = own[:, None] * found["cross"] + taken if "cross" in found else taken

    def of(self, kind: Kind) -> Array:
        """[query, key] so far."""
        return self._found[kind]
