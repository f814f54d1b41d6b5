"""The capturing pass: each planned call is taken by its route and its rows are pushed into the sinks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from attncli.capturing.bands import Layout, layout_of, unfold
from attncli.capturing.blocks import AttentionCall, Block, Scratch, attend, row_blocks, rows_at_once, visible_cells
from attncli.capturing.emit import RowEmitter
from attncli.capturing.gate import visible_by_scores
from attncli.capturing.intercept import Key
from attncli.capturing.masks import Strip
from attncli.capturing.plan import CapturePlan, Site
from attncli.capturing.probe import bound_call, probe_model
from attncli.capturing.projection import value_norms
from attncli.errors import ModelError

Tensor = torch.Tensor


class RouteHandler:
    """The handler of a capturing pass."""

    def __init__(self, plan: CapturePlan, emitter: RowEmitter, batch: int, model: nn.Module) -> None:
        self._emitter, self._batch, self._model = emitter, batch, model
        self._sites: dict[Key, list[Site]] = {}
        for site in plan.sites:
            self._sites.setdefault(site.key, []).append(site)
        self._taken: set[Key] = set()
        self._scores: Tensor | None = None
        self._memory = Scratch()

    def dispatched(self, key: Key, function: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Our block function in place of the model's, or the model's own with its weights taken."""
        sites = self._take(key)
        if not sites:
            return function(module, *args, **kwargs)
        if sites[0].how == "stream":
            output = self._attend(sites, bound_call(function, module, args, kwargs))
            return output.transpose(1, 2).contiguous(), None
        self._scores = None
        output, weights = function(module, *args, **kwargs)
        visible = probe_model(weights, self._scores)
        if visible is None:
            every = (slice(0, size) for size in weights.shape[2:])
            visible = visible_cells(bound_call(function, module, args, kwargs), *every)
        self._whole(sites, weights, visible)
        return output, weights

    def inner_softmax(self, scores: Tensor) -> None:
        """What the model's own function gives to its softmax."""
        self._scores = scores

    def sdpa(self, key: Key, function: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
        """Our block function in place of torch's."""
        sites = self._take(key)
        if not sites:
            return function(*args, **kwargs)  # type: ignore[no-any-return]
        return self._attend(sites, AttentionCall.torch_sdpa(*args, **kwargs))

    def softmax(self, key: Key, scores: Tensor, weights: Tensor) -> None:
        """The model's own softmax."""
        sites = self._take(key)
        if not sites:
            return
        visible = visible_by_scores(scores)
        if sites[0].layout:
            self._unfolded(sites, sites[0].layout, weights, visible)
            return
        if weights.dim() == 3:
            weights, visible = (part.reshape(self._batch, -1, *part.shape[1:]) for part in (weights, visible))
        self._whole(sites, weights, visible)

    def _unfolded(self, sites: Sequence[Site], layout: Layout, weights: Tensor, visible: Tensor) -> None:
        """Bands and blocks, as rows over all tokens."""
        tokens = self._emitter.source.mask.shape[1]
        if layout_of(weights, self._batch, tokens) != layout:
            raise ModelError(
                f"{sites[0].kind} layer {sites[0].layer} ({sites[0].name}) has keys outside of its {layout}, such as "
                "global tokens, and cannot be put back into rows over the tokens"
            )
        self._begin(sites, tokens, tokens)
        for rows in row_blocks(tokens, rows_at_once(tokens)):
            near, seen = (unfold(part, layout, rows.start, rows.stop, tokens) for part in (weights, visible))
            self._emit(sites, Block.whole(near, seen, rows.start))
        self._end(sites)

    def outputs(self, outputs: Any) -> None:
        """What is only in the model's outputs."""
        for key, sites in self._sites.items():
            maps = getattr(outputs, key[0], None) or ()
            if sites[0].function == "output" and key[1] < len(maps):
                self._taken.add(key)
                self._whole(sites, maps[key[1]], None)

    def check_complete(self) -> None:
        """Every planned layer must have come; one that did not would be missing silently."""
        gone = [sites[0] for key, sites in self._sites.items() if key not in self._taken]
        if gone:
            names = ", ".join(f"{site.kind} layer {site.layer} ({site.name})" for site in gone[:3])
            raise ModelError(
                f"{len(gone)} attention layers work otherwise at this length than on short texts and cannot "
                f"be measured: {names}; use a shorter text"
            )

    def _take(self, key: Key) -> list[Site]:
        sites = self._sites.get(key, [])
        if sites:
            self._taken.add(key)
        return sites

    def _attend(self, sites: Sequence[Site], call: AttentionCall) -> Tensor:
        self._begin(sites, *call.shape[2:])
        if self._emitter.takes_vectors:
            for site in sites:
                self._emitter.parts(site, call.parts(*self._extent(site, *call.shape[2:])))
        if self._emitter.takes_norms:
            for site in sites:
                self._norms(site, call)
        output = attend(call, lambda block: self._emit(sites, block), self._memory)
        self._end(sites)
        return output

    def _norms(self, site: Site, call: AttentionCall) -> None:
        if site.projects is None or not self._emitter.wanted(site):
            return
        _, heads, queries, keys = call.shape
        module = self._model.get_submodule(site.projects.name)
        matrix = site.projects.matrix(module, call.value, heads * call.value.shape[3])
        value = call.value[:, :, self._extent(site, queries, keys)[1]]
        self._emitter.norms(site, value_norms(value, matrix, heads))

    def _whole(self, sites: Sequence[Site], weights: Tensor, visible: Tensor | None) -> None:
        self._begin(sites, *weights.shape[2:])
        self._emit(sites, Block.whole(weights, visible))
        self._end(sites)

    def _begin(self, sites: Sequence[Site], queries: int, keys: int) -> None:
        for site in sites:
            rows, columns = self._extent(site, queries, keys)
            self._emitter.begin(site, rows.stop - rows.start, columns.stop - columns.start)

    def _extent(self, site: Site, queries: int, keys: int) -> tuple[slice, slice]:
        """The rows and keys of a call that are a site's."""
        own = self._emitter.target.mask.shape[1]
        rows = slice(0, own if site.part == "main" else queries)
        return rows, {"first": slice(0, own), "rest": slice(own, keys)}.get(site.part, slice(0, keys))

    def _emit(self, sites: Sequence[Site], block: Block) -> None:
        for site in sites:
            part = block if site.part == "all" else _cut(block, *self._extent(site, block.strip.rows.stop, sys.maxsize))
            if part is not None:
                self._emitter.block(site, part)

    def _end(self, sites: Sequence[Site]) -> None:
        for site in sites:
            self._emitter.end(site)


def _cut(block: Block, rows: slice, keys: slice) -> Block | None:
    """What of a block lies in these rows and keys, which are then counted from the first of them."""
    strip = block.strip
    row, key = _overlap(strip.rows, rows), _overlap(strip.keys, keys)
    if row.stop <= row.start:
        return None
    inside = _moved(row, strip.rows.start), _moved(key, strip.keys.start)
    visible = strip.visible
    if visible is not None:
        visible = visible.expand(-1, -1, *block.raw.shape[2:])[:, :, *inside]
    clear = _moved(_overlap(strip.clear, inside[1]), inside[1].start)
    left = Strip(_moved(row, rows.start), _moved(key, keys.start), visible, clear)
    scores, scale, largest = block.scores, block.scale, block.largest
    return replace(
        block,
        strip=left,
        raw=block.raw[:, :, *inside],
        scores=None if scores is None else scores[:, :, *inside],
        scale=None if scale is None else scale[:, :, inside[0]],
        largest=None if largest is None else largest[:, :, inside[0]],
    )


def _overlap(one: slice, other: slice) -> slice:
    first = max(one.start, other.start)
    return slice(first, max(first, min(one.stop, other.stop)))


def _moved(positions: slice, origin: int) -> slice:
    return slice(positions.start - origin, positions.stop - origin)
