"""From blocks of weights to `Rows`: positions, padding and head numbers are added, the gate is passed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from attncli.capturing.gate import refusal
from attncli.capturing.plan import Site
from attncli.data import Kind, Rows, Tokens
from attncli.encoding import Batch
from attncli.errors import ModelError
from attncli.sinks import Sink

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Side:
    """One axis of a batch, [batch, position] each: what is real, where it stands in its text, what is special."""

    mask: Tensor
    positions: Tensor
    special: Tensor

    @classmethod
    def of(cls, mask: Tensor, tokens: Sequence[Tokens]) -> Side:
        """From the real positions and what stands there."""
        special = torch.zeros_like(mask)
        for row, one in enumerate(tokens):
            special[row, mask[row]] = torch.from_numpy(np.array(one.special)).to(mask.device)
        return cls(mask, torch.where(mask, mask.cumsum(1) - 1, -1), special)

    def on(self, device: torch.device) -> Side:
        """The same beside the weights of a layer, which `device_map` may have put elsewhere than the inputs."""
        if device == self.mask.device:
            return self
        return Side(self.mask.to(device), self.positions.to(device), self.special.to(device))


class Emitter:
    """Feeds the row blocks of one batch to the sinks."""

    def __init__(
        self,
        batch: Batch,
        sinks: Sequence[Sink],
        heads: Mapping[tuple[Kind, int], tuple[int, ...]] | None,
        dtype: torch.dtype,
    ) -> None:
        self._batch, self._sinks, self._heads, self._dtype = batch, sinks, heads, dtype
        self.sink_error: Exception | None = None
        """What a sink raised, to be told from what the model raises around it."""

    @cached_property
    def source(self) -> Side:
        return Side.of(self._batch.source_mask, [one.source for one in self._batch.inputs])

    @cached_property
    def target(self) -> Side:
        if self._batch.target_mask is None:
            return self.source
        return Side.of(self._batch.target_mask, [one.target for one in self._batch.inputs if one.target is not None])

    def wanted(self, site: Site) -> tuple[int, ...]:
        """The heads of a site that the sinks are to see."""
        if self._heads is None:
            return tuple(range(site.heads))
        return self._heads.get((site.kind, site.layer), ())

    def sides(self, kind: Kind) -> tuple[Side, Side]:
        """The query side and the key side of a kind."""
        queries = self.source if kind == "encoder" else self.target
        return queries, self.target if kind == "decoder" else self.source

    def block(self, site: Site, first: int, weights: Tensor, visible: Tensor | None) -> None:
        """Hand on one block of rows, [batch, head, row, key]."""
        heads = self.wanted(site)
        if not heads:
            return
        queries, keys = (side.on(weights.device) for side in self.sides(site.kind))
        last = first + weights.shape[2]
        self._check(site, weights, queries, keys, last)
        real = queries.mask[:, first:last]
        seen = real[:, None, :, None] & keys.mask[:, None, None, :]
        if visible is not None:
            visible = visible[:, list(heads)] if visible.shape[1] > 1 else visible
            seen = seen & visible
        if heads != tuple(range(weights.shape[1])):
            weights = weights[:, list(heads)]
        rows = Rows(
            kind=site.kind,
            layer=site.layer,
            heads=heads,
            texts=tuple(one.index for one in self._batch.inputs),
            weights=weights.to(torch.promote_types(weights.dtype, torch.float32)),
            visible=seen,
            query_positions=queries.positions[:, first:last],
            key_positions=keys.positions,
            special_keys=keys.special,
            query_lengths=tuple(len(one.sides(site.kind)[0]) for one in self._batch.inputs),
            key_lengths=tuple(len(one.sides(site.kind)[1]) for one in self._batch.inputs),
        )
        self._feed(lambda sink: sink.add(rows))

    def end(self, site: Site) -> None:
        """All rows of the site went by."""
        if self.wanted(site):
            self._feed(lambda sink: sink.end_layer(site.kind, site.layer))

    def _feed(self, give: Callable[[Sink], None]) -> None:
        try:
            for sink in self._sinks:
                give(sink)
        except Exception as error:
            self.sink_error = error
            raise

    def _check(self, site: Site, weights: Tensor, queries: Side, keys: Side, last: int) -> None:
        expected = (queries.mask.shape[1], keys.mask.shape[1])
        if last > expected[0] or weights.shape[3] != expected[1]:
            raise ModelError(
                f"{site.kind} layer {site.layer} ({site.name}) attends over {last} x {weights.shape[3]} positions "
                f"instead of the tokens' {expected[0]} x {expected[1]}: use a text of another length"
            )
        if reason := refusal(weights, queries.mask[:, last - weights.shape[2] : last], self._dtype):
            raise ModelError(f"{site.kind} layer {site.layer} ({site.name}) is refused: {reason}")
