"""The handler of a capturing pass: it captures each planned call by its route and sends its rows to the sinks."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from attncli.capturing.attention_call import AttentionCall
from attncli.capturing.blocks import Block, Scratch, attend, rows_per_block
from attncli.capturing.chunks import chunk_block
from attncli.capturing.editor import Editor
from attncli.capturing.emit import RowEmitter
from attncli.capturing.intercept import Args, CallKey, KwArgs
from attncli.capturing.masks import Strip, slices
from attncli.capturing.probe import visible_in_softmax
from attncli.capturing.projection import value_norms
from attncli.capturing.sites import CapturePlan, Site, block_sparse_advice
from attncli.capturing.weights import add_global_tokens, find_layout, full_rows, global_tokens, visible_by_scores
from attncli.errors import ModelError
from attncli.stream import without_autocast

Tensor = torch.Tensor


class LastRowsSent(Exception):  # noqa: N818 (no error)
    """Ends a forward pass that computes nothing more that is captured."""


class RouteHandler:
    """A handler that captures the planned calls and lets the model compute all others.

    ends  whether the pass ends with the last streamed call of selected heads, by `LastRowsSent`
    """

    def __init__(
        self,
        plan: CapturePlan,
        emitter: RowEmitter,
        batch: int,
        model: PreTrainedModel,
        editor: Editor,
        compiled: bool = False,
        ends: bool = False,
    ) -> None:
        self._emitter, self._batch, self._model, self._editor = emitter, batch, model, editor
        self._compiled = compiled
        self._sites: dict[CallKey, list[Site]] = {}
        for site in plan.sites:
            self._sites.setdefault(site.key, []).append(site)
        self._captured: set[CallKey] = set()
        selected = {site.key for site in plan.sites if emitter.selected_heads(site)}
        self._last_calls = selected if ends and all(site.route == "stream" for site in plan.sites) else None
        self._scores: Tensor | None = None
        self._scratch = Scratch()
        self._waiting: tuple[CallKey, Tensor, Tensor] | None = None
        """A band with its visibility that waits for the next call, which holds the rows of its global tokens."""

    def dispatched(self, key: CallKey, function: Callable[..., Any], args: Args, kwargs: KwArgs) -> Any:
        sites, edits = self._capture(key), self._editor.edits(key)
        if not sites:
            return function(*args, **kwargs)
        if sites[0].route == "stream":
            output = self._stream(key, AttentionCall.from_dispatch(function, args, kwargs))
            return output.transpose(1, 2).contiguous(), None
        self._scores = None
        if edits:
            output, weights = self._editor.through_softmax(key, function, args, kwargs)
        else:
            output, weights = function(*args, **kwargs)
        visible = visible_in_softmax(weights, self._scores)
        if visible is None:
            rows, keys = (slice(0, size) for size in weights.shape[2:])
            visible = AttentionCall.from_dispatch(function, args, kwargs).visible(rows, keys)
        self._emit_weights(sites, weights, visible)
        return output, weights

    def sdpa(self, key: CallKey, function: Callable[..., Tensor], args: Args, kwargs: KwArgs) -> Tensor:
        self._editor.edits(key)
        if not self._capture(key):
            return function(*args, **kwargs)
        output, query = (
            self._stream(key, AttentionCall.from_sdpa(*args, **kwargs)),
            args[0] if args else kwargs["query"],
        )
        return output.reshape(*query.shape[:-1], output.shape[-1]) if query.dim() < 4 else output

    def inner_softmax(self, scores: Tensor, weights: Tensor) -> Tensor:
        self._scores = scores
        return self._editor.inner_softmax(scores, weights)

    def softmax(self, key: CallKey, scores: Tensor, weights: Tensor) -> Tensor:
        weights = self._editor.softmax(key, scores, weights)
        self._emit_softmax(key, scores, weights)
        return weights

    def _emit_softmax(self, key: CallKey, scores: Tensor, weights: Tensor) -> None:
        """Emit the weights of a softmax that the model calls itself, if they are planned."""
        if self._waiting and key == _next(self._waiting[0]):
            (first, *band), self._waiting = self._waiting, None
            self._emit_layout(self._capture(first), band, (weights, visible_by_scores(scores)))
            return
        first = key[0], 0
        if (sites := self._sites.get(first, [])) and sites[0].layout == "chunks":
            self._emit_chunk(sites, key, weights, visible_by_scores(scores))
            return
        sites = self._sites.get(key, [])
        if sites and sites[0].layout and weights.shape[-1] > sites[0].width:
            self._waiting = key, weights, visible_by_scores(scores)
            return
        self._capture(key)
        if not sites:
            return
        visible = visible_by_scores(scores)
        if sites[0].layout:
            self._emit_layout(sites, (weights, visible))
            return
        if visible.dim() < 4:
            shape = self._batch, -1, *visible.shape[-2:]
            weights, visible = weights.reshape(shape), visible.reshape(shape)
        self._emit_weights(sites, weights, visible)

    def emit_outputs(self, outputs: object) -> None:
        """Emit the weights that only the outputs of the model hold."""
        for key, sites in self._sites.items():
            maps = getattr(outputs, key[0], None) or ()
            if sites[0].function == "output" and key[1] < len(maps):
                self._captured.add(key)
                self._emit_weights(sites, maps[key[1]], None)

    def check_complete(self) -> None:
        """Check that every planned call was captured; raise ModelError that names the missing layers."""
        missing = [sites[0] for key, sites in self._sites.items() if key not in self._captured]
        if missing:
            names = ", ".join(site.label for site in missing[:3])
            advice = block_sparse_advice(self._model.config) or "; use a shorter text"
            raise ModelError(
                f"{len(missing)} attention layers work differently at this length than on short texts and cannot "
                f"be measured: {names}{advice}"
            )

    def _capture(self, key: CallKey) -> list[Site]:
        """Return the sites of a call and mark it as captured."""
        self._captured.add(key)
        return self._sites.get(key, [])

    def _stream(self, key: CallKey, call: AttentionCall) -> Tensor:
        """Emit the blocks of a call; return its output."""
        sites = self._sites[key]
        self._begin(sites, *call.shape[2:])
        emitter, heads = self._emitter, call.shape[1]
        for site in sites:
            rows, keys = self._extent(site, *call.shape[2:])
            if emitter.needs_vectors:
                emitter.parts[site] = call.score_parts(rows, keys)
            if emitter.needs_norms and site.projection and emitter.selected_heads(site):
                module = self._model.get_submodule(site.projection.name)
                with without_autocast(call.value.device):
                    matrix = site.projection.matrix(module, call.value, heads * call.value.shape[3])
                    emitter.norms[site] = value_norms(call.value[:, :, keys], matrix, heads)
        if self._editor.edits(key):
            output = self._editor.attend(key, call, lambda block: self._emit(sites, block))
        else:
            output = attend(call, lambda block: self._emit(sites, block), self._scratch, compiled=self._compiled)
        self._end(sites)
        if self._last_calls is not None and self._last_calls <= self._captured:
            raise LastRowsSent
        return output

    def _emit_weights(self, sites: Sequence[Site], weights: Tensor, visible: Tensor | None) -> None:
        self._begin(sites, *weights.shape[2:])
        self._emit(sites, Block.from_weights(weights, visible))
        self._end(sites)

    def _emit_layout(self, sites: Sequence[Site], band: Sequence[Tensor], own: Sequence[Tensor] = ()) -> None:
        """Emit the rows over all tokens of weights that are stored in a layout.

        band  the weights and their visibility
        own   the weights and visibility of global tokens over all keys, if there are such tokens
        """
        layout, columns = sites[0].layout, band[0].shape[-1] - sites[0].width
        tokens = self._emitter.source.mask.shape[1]
        near = [part[..., columns:] for part in band]
        positions = global_tokens(band[1], columns, tokens) if own else []
        if find_layout(near[0], self._batch, tokens) != layout or max(map(len, positions), default=0) != columns:
            raise ModelError(
                f"{sites[0].label} has keys outside of its {layout}: its rows over all tokens cannot be rebuilt"
            )
        assert layout
        own = [part.reshape(self._batch, -1, *part.shape[1:]) for part in own]
        self._begin(sites, tokens, tokens)
        for rows in slices(tokens, rows_per_block(tokens)):
            part, seen = (full_rows(stored, layout, rows.start, rows.stop, tokens) for stored in near)
            for full, stored, of_global in zip((part, seen), band, own, strict=True) if own else ():
                add_global_tokens(full, rows.start, stored[..., :columns], of_global, positions)
            self._emit(sites, Block.from_weights(part, seen, rows.start))
        self._end(sites)

    def _emit_chunk(self, sites: Sequence[Site], key: CallKey, weights: Tensor, visible: Tensor) -> None:
        """Emit the rows of one chunk of local attention; its layer begins and ends with its first and last chunk."""
        tokens, width = self._emitter.source.mask.shape[1], sites[0].width
        block = chunk_block(key[1], weights, visible, tokens, width)
        if block is None:
            raise ModelError(f"{sites[0].label} has chunks of another size: its rows over all tokens cannot be rebuilt")
        if key[1] == 0:
            self._begin(sites, tokens, tokens)
        self._emit(sites, block)
        if block.strip.rows.stop == tokens:
            self._end(sites)
            self._capture((key[0], 0))

    def _extent(self, site: Site, queries: int, keys: int) -> tuple[slice, slice]:
        """Return the rows and the keys of a call that belong to a site."""
        targets = self._emitter.target.mask.shape[1]
        rows = slice(0, targets if site.part == "main" else queries)
        return rows, {"first": slice(0, targets), "rest": slice(targets, keys)}.get(site.part, slice(0, keys))

    def _begin(self, sites: Sequence[Site], queries: int, keys: int) -> None:
        for site in sites:
            rows, columns = self._extent(site, queries, keys)
            self._emitter.begin_layer(site, rows.stop - rows.start, columns.stop - columns.start)

    def _emit(self, sites: Sequence[Site], block: Block) -> None:
        for site in sites:
            extent = self._extent(site, block.strip.rows.stop, sys.maxsize)
            part = block if site.part == "all" else _cut_block(block, *extent)
            if part is not None:
                self._emitter.emit(site, part)

    def _end(self, sites: Sequence[Site]) -> None:
        for site in sites:
            self._emitter.end_layer(site)


def _next(key: CallKey) -> CallKey:
    """Return the key of the next call of the same module."""
    return key[0], key[1] + 1


def _cut_block(block: Block, rows: slice, keys: slice) -> Block | None:
    """Return the part of a block in these rows and keys, numbered from their start; None if it has none of the rows."""
    strip = block.strip
    row, key = _overlap(strip.rows, rows), _overlap(strip.keys, keys)
    if row.stop <= row.start:
        return None
    inside = _shifted(row, strip.rows.start), _shifted(key, strip.keys.start)
    visible = strip.visible
    if visible is not None:
        visible = visible.expand(-1, -1, *block.raw.shape[2:])[:, :, *inside]
    clear = _shifted(_overlap(strip.clear, inside[1]), inside[1].start)
    scores, scale, largest = block.scores, block.scale, block.largest
    return replace(
        block,
        strip=Strip(_shifted(row, rows.start), _shifted(key, keys.start), visible, clear),
        raw=block.raw[:, :, *inside],
        scores=None if scores is None else scores[:, :, *inside],
        scale=None if scale is None else scale[:, :, inside[0]],
        largest=None if largest is None else largest[:, :, inside[0]],
        sums=None,
    )


def _overlap(first: slice, second: slice) -> slice:
    start = max(first.start, second.start)
    return slice(start, max(start, min(first.stop, second.stop)))


def _shifted(positions: slice, origin: int) -> slice:
    return slice(positions.start - origin, positions.stop - origin)
