"""From blocks of weights to `Rows`: check the weights, then add positions, padding and head numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attncli.capturing.blocks import Block
from attncli.capturing.intercept import CallKey
from attncli.capturing.patches import capturing
from attncli.capturing.sites import Site
from attncli.capturing.weights import weights_problem
from attncli.data import Kind, Rows, RowTotals, ScoreParts, Selection, Tokens, Visibility, has_scale
from attncli.data.cached import cached_property
from attncli.errors import ModelError
from attncli.inputs.batches import Batch
from attncli.stream import Sink, selected, without_autocast

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class TokenAxis:
    """The source or target tokens of a batch, as an axis of attention maps.

    mask       [batch, token] bool: False for padding
    positions  [batch, token] position of each token in its unpadded text; -1 for padding
    special    [batch, token] bool: special tokens
    lengths    number of real tokens of each text, and `special_counts` of its special tokens
    """

    mask: Tensor
    positions: Tensor
    special: Tensor
    lengths: tuple[int, ...]
    special_counts: tuple[int, ...]

    @classmethod
    def from_tokens(cls, mask: Tensor, tokens: Sequence[Tokens]) -> TokenAxis:
        """Return the axis of these texts; `mask` marks their tokens among padding."""
        lengths, counts = ([len(text) for text in tokens], [int(np.sum(text.special)) for text in tokens])
        flat = np.concatenate([text.special for text in tokens])
        special = torch.zeros_like(mask).masked_scatter_(mask, torch.from_numpy(flat).to(mask.device))
        return cls(mask, torch.where(mask, mask.cumsum(1) - 1, -1), special, tuple(lengths), tuple(counts))

    @cached_property
    def padded(self) -> bool:
        return not all(length == self.mask.shape[1] for length in self.lengths)

    def on(self, device: torch.device) -> TokenAxis:
        """Return the axis on a device: `device_map` may put a layer on another device than the inputs."""
        mask, positions, special = (tensor.to(device) for tensor in (self.mask, self.positions, self.special))
        return TokenAxis(mask, positions, special, self.lengths, self.special_counts)


class RowEmitter:
    """Sends the row blocks of one batch to the sinks."""

    def __init__(
        self,
        batch: Batch,
        sinks: Sequence[Sink],
        heads: Selection | None,
        dtype: torch.dtype,
        edited: Collection[CallKey] = (),
    ) -> None:
        self._batch, self._sinks, self._heads, self._dtype, self._edited = batch, sinks, heads, dtype, edited
        self._texts = tuple(text.index for text in batch.inputs)
        self._scales: dict[Site, list[Tensor]] = {}
        self._scaled: dict[Kind, tuple[TokenAxis, TokenAxis]] = {}
        self.parts: dict[Site, ScoreParts] = {}
        """The vectors and factors of the scores of a layer, for its blocks; needed if `needs_vectors`."""
        self.norms: dict[Site, Tensor] = {}
        """‖f(x_j)‖ of a layer, [batch, head, key], for its blocks; needed if `needs_norms`."""
        self.needs_vectors = any(getattr(sink, "takes_vectors", False) for sink in sinks)
        self.needs_norms = any(getattr(sink, "takes_norms", False) for sink in sinks)
        self.sink_error: Exception | None = None
        """The error that a sink raised, to distinguish it from errors of the model."""

    @cached_property
    def source(self) -> TokenAxis:
        """The source tokens, or all tokens of a model with one stack."""
        return TokenAxis.from_tokens(self._batch.source_mask, [text.source for text in self._batch.inputs])

    @cached_property
    def target(self) -> TokenAxis:
        """The target tokens; the source tokens of a model with one stack."""
        if self._batch.target_mask is None:
            return self.source
        targets = [text.target for text in self._batch.inputs if text.target is not None]
        return TokenAxis.from_tokens(self._batch.target_mask, targets)

    def axes(self, kind: Kind) -> tuple[TokenAxis, TokenAxis]:
        """Return the rows and the keys of a kind."""
        if has_scale(kind):
            if kind not in self._scaled:
                rows, keys = zip(*(text.sides(kind) for text in self._batch.inputs), strict=True)
                self._scaled[kind] = self._unpadded_axis(rows), self._unpadded_axis(keys)
            return self._scaled[kind]
        return self.source if kind == "encoder" else self.target, self.target if kind == "decoder" else self.source

    def _unpadded_axis(self, tokens: Sequence[Tokens]) -> TokenAxis:
        mask = torch.ones((len(tokens), len(tokens[0])), dtype=torch.bool, device=self._batch.source_mask.device)
        return TokenAxis.from_tokens(mask, tokens)

    def selected_heads(self, site: Site) -> tuple[int, ...]:
        """Return the heads of a site that the sinks receive."""
        return tuple(range(site.heads)) if self._heads is None else self._heads.get((site.kind, site.layer), ())

    def begin_layer(self, site: Site, queries: int, keys: int) -> None:
        """Check that a call covers exactly the tokens of the batch; raise ModelError if not."""
        expected = tuple(axis.mask.shape[1] for axis in self.axes(site.kind))
        if (queries, keys) != expected:
            raise ModelError(
                f"{site.label} attends over {queries} x {keys} positions, expected {expected[0]} x {expected[1]} like "
                "the tokens: use a text of another length"
            )

    def emit(self, site: Site, block: Block) -> None:
        """Check one block and send it to the sinks, if it has selected heads."""
        if not any(block.heads.start <= head < block.heads.stop for head in self.selected_heads(site)):
            return
        self._check_block(site, block)
        visibility, norms = self._visibility(site.kind, block), self.norms.get(site)
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
            parts=self.parts.get(site),
            norms=None if norms is None else norms[:, block.heads, block.strip.keys],
            sums=_sums(block, visibility),
        )
        chosen = selected(rows, self._heads)
        if chosen is not None:
            self._send(lambda sink: sink.add(chosen))

    def end_layer(self, site: Site) -> None:
        """Tell the sinks that all rows of the layer were sent; raise ModelError if a weight was not finite."""
        self.parts.pop(site, None)
        self.norms.pop(site, None)
        if not self.selected_heads(site):
            return
        scales = self._scales.pop(site, None)
        if scales is not None and not bool(torch.cat(scales).isfinite().all()):
            raise ModelError(f"{site.label} is refused: its weights are not finite")
        self._send(lambda sink: sink.end_layer(site.kind, site.layer))

    def _visibility(self, kind: Kind, block: Block) -> Visibility:
        """Return the visibility of a block; the blocks of a strip share it unless the heads see different keys."""
        strip, visible = block.strip, block.strip.visible
        per_head = visible is not None and visible.shape[1] > 1
        if not per_head and kind in strip.memory:
            cached: Visibility = strip.memory[kind]
            return cached
        queries, keys = (axis.on(block.raw.device) for axis in self.axes(kind))
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

    def _check_block(self, site: Site, block: Block) -> None:
        """Check weights that the model computed; of streamed weights keep the scales, which `end_layer` checks."""
        if block.scale is not None:
            self._scales.setdefault(site, []).append(block.scale.flatten())
            return
        if site.key in self._edited:  # its rows may sum to any number
            self._scales.setdefault(site, []).append(block.raw.sum(-1).flatten())
            return
        real = self.axes(site.kind)[0].on(block.raw.device).mask[:, block.strip.rows]
        if reason := weights_problem(block.raw, real, self._dtype):
            raise ModelError(f"{site.label} is refused: {reason}")

    def _send(self, call_sink: Callable[[Sink], None]) -> None:
        try:
            # a sink may run models
            with capturing(None), without_autocast(self._batch.source_mask.device):
                for sink in self._sinks:
                    call_sink(sink)
        except Exception as error:
            self.sink_error = error
            raise


def _sums(block: Block, visibility: Visibility) -> RowTotals | None:
    """Return the sums of a block, without those that hold only where positions are those of the call."""
    sums = block.sums
    if sums is None or visibility.slices is not None:
        return sums
    return RowTotals(torch.zeros_like(sums.rest), sums.before + sums.rest, sums.log)
