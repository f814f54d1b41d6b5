"""From blocks of weights to `Rows`: positions, padding and head numbers are added, the gate is passed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from attncli.capturing.blocks import Block
from attncli.capturing.gate import refusal
from attncli.capturing.plan import Site
from attncli.data import Kind, Rows, ScoreParts, Selection, Tokens, Visibility
from attncli.errors import ModelError
from attncli.inputs.batches import Batch
from attncli.stream import Sink, selected

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class EmittedSide:
    """One axis of a batch: what is real, where it stands in its text, what is special, [batch, position] each.

    lengths         real positions of each text
    special_counts  special tokens of each text
    """

    mask: Tensor
    positions: Tensor
    special: Tensor
    lengths: tuple[int, ...]
    special_counts: tuple[int, ...]

    @classmethod
    def of(cls, mask: Tensor, tokens: Sequence[Tokens]) -> EmittedSide:
        """From the real positions and what stands there."""
        special = torch.zeros_like(mask)
        for row, one in enumerate(tokens):
            special[row, mask[row]] = torch.from_numpy(np.array(one.special)).to(mask.device)
        lengths, counts = (len(one) for one in tokens), (int(np.sum(one.special)) for one in tokens)
        return cls(mask, torch.where(mask, mask.cumsum(1) - 1, -1), special, tuple(lengths), tuple(counts))

    @cached_property
    def padded(self) -> bool:
        """Whether some positions are not real."""
        return not all(length == self.mask.shape[1] for length in self.lengths)

    def on(self, device: torch.device) -> EmittedSide:
        """The same beside the weights of a layer, which `device_map` may have put elsewhere than the inputs."""
        if device == self.mask.device:
            return self
        mask, positions, special = (part.to(device) for part in (self.mask, self.positions, self.special))
        return EmittedSide(mask, positions, special, self.lengths, self.special_counts)


class RowEmitter:
    """Feeds the row blocks of one batch to the sinks."""

    def __init__(self, batch: Batch, sinks: Sequence[Sink], heads: Selection | None, dtype: torch.dtype) -> None:
        self._batch, self._sinks, self._heads, self._dtype = batch, sinks, heads, dtype
        self._texts = tuple(one.index for one in batch.inputs)
        self._scales: dict[Site, list[Tensor]] = {}
        self._parts: dict[Site, ScoreParts] = {}
        self._norms: dict[Site, Tensor] = {}
        self.takes_vectors, self.takes_norms = (
            any(getattr(sink, name, False) for sink in sinks) for name in ("takes_vectors", "takes_norms")
        )
        self.sink_error: Exception | None = None
        """What a sink raised, to be told from what the model raises around it."""

    @cached_property
    def source(self) -> EmittedSide:
        return EmittedSide.of(self._batch.source_mask, [one.source for one in self._batch.inputs])

    @cached_property
    def target(self) -> EmittedSide:
        if self._batch.target_mask is None:
            return self.source
        return EmittedSide.of(
            self._batch.target_mask, [one.target for one in self._batch.inputs if one.target is not None]
        )

    def wanted(self, site: Site) -> tuple[int, ...]:
        """The heads of a site that the sinks are to see."""
        return tuple(range(site.heads)) if self._heads is None else self._heads.get((site.kind, site.layer), ())

    def sides(self, kind: Kind) -> tuple[EmittedSide, EmittedSide]:
        """The query side and the key side of a kind."""
        queries = self.source if kind == "encoder" else self.target
        return queries, self.target if kind == "decoder" else self.source

    def begin(self, site: Site, queries: int, keys: int) -> None:
        """A call over so many positions comes: they must be those of the tokens."""
        expected = tuple(side.mask.shape[1] for side in self.sides(site.kind))
        if (queries, keys) != expected:
            raise ModelError(
                f"{site.kind} layer {site.layer} ({site.name}) attends over {queries} x {keys} positions instead of "
                f"the tokens' {expected[0]} x {expected[1]}: use a text of another length"
            )

    def parts(self, site: Site, parts: ScoreParts) -> None:
        """What the scores of the blocks to come are made of."""
        self._parts[site] = parts

    def norms(self, site: Site, norms: Tensor) -> None:
        """‖f(x_j)‖ for the blocks to come, [batch, head, key]."""
        self._norms[site] = norms

    def block(self, site: Site, block: Block) -> None:
        """Hand on one block of rows, [batch, head, row, key]."""
        wanted = self.wanted(site)
        if not any(block.heads.start <= head < block.heads.stop for head in wanted):
            return
        self._gate(site, block)
        visibility, norms = self._visibility(site.kind, block), self._norms.get(site)
        rows = Rows(
            kind=site.kind,
            layer=site.layer,
            heads=tuple(range(block.heads.start, block.heads.stop)),
            texts=self._texts,
            raw=block.raw.to(torch.promote_types(block.raw.dtype, torch.float32)),
            visibility=visibility,
            scores=block.scores,
            scale=block.scale,
            largest=block.largest,
            parts=self._parts.get(site),
            norms=None if norms is None else norms[:, block.heads, block.strip.keys],
            sums=block.sums if visibility.keys_before == block.strip.behind else None,
        )
        chosen = selected(rows, self._heads)
        if chosen is not None:
            self._feed(lambda sink: sink.add(chosen))

    def end(self, site: Site) -> None:
        """All rows of the site went by."""
        self._parts.pop(site, None)
        self._norms.pop(site, None)
        if not self.wanted(site):
            return
        scales = self._scales.pop(site, None)
        if scales is not None and not bool(torch.cat(scales).isfinite().all()):
            raise self._refused(site, "its weights are not finite")
        self._feed(lambda sink: sink.end_layer(site.kind, site.layer))

    def _visibility(self, kind: Kind, block: Block) -> Visibility:
        """What the blocks of all heads of a strip share, where they see the same keys."""
        strip, visible = block.strip, block.strip.visible
        per_head = visible is not None and visible.shape[1] > 1
        if not per_head and kind in strip.memory:
            known: Visibility = strip.memory[kind]
            return known
        queries, keys = (side.on(block.raw.device) for side in self.sides(kind))
        if visible is None:
            visible = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=block.raw.device)
        elif per_head:
            visible = visible[:, block.heads]
        padded = queries.padded or keys.padded
        if padded:
            visible = visible & queries.mask[:, None, strip.rows, None] & keys.mask[:, None, None, strip.keys]
        visibility = Visibility(
            visible=visible,
            query_positions=queries.positions[:, strip.rows],
            key_positions=keys.positions[:, strip.keys],
            special_keys=keys.special[:, strip.keys],
            query_lengths=queries.lengths,
            key_lengths=keys.lengths,
            special_counts=keys.special_counts,
            common_keys=(0, 0) if padded else (strip.clear.start, strip.clear.stop),
            sees_ahead=padded or strip.ahead,
            slices=None if padded else (strip.rows, strip.keys),
        )
        if not per_head:
            strip.memory[kind] = visibility
        return visibility

    def _gate(self, site: Site, block: Block) -> None:
        """What the model computed is looked at here; of what we computed only that it is finite, once per layer."""
        if block.scale is not None:
            self._scales.setdefault(site, []).append(block.scale.flatten())
            return
        real = self.sides(site.kind)[0].on(block.raw.device).mask[:, block.strip.rows]
        if reason := refusal(block.raw, real, self._dtype):
            raise self._refused(site, reason)

    def _refused(self, site: Site, reason: str) -> ModelError:
        return ModelError(f"{site.kind} layer {site.layer} ({site.name}) is refused: {reason}")

    def _feed(self, give: Callable[[Sink], None]) -> None:
        try:
            for sink in self._sinks:
                give(sink)
        except Exception as error:
            self.sink_error = error
            raise
