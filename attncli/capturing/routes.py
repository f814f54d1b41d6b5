"""The capturing pass: each planned call is taken by its route and its rows are pushed into the sinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from attncli.capturing.bands import Layout, layout_of, unfold
from attncli.capturing.blocks import AttentionCall, Block, attend, row_blocks, visibility
from attncli.capturing.emit import Emitter
from attncli.capturing.gate import visible_by_scores
from attncli.capturing.intercept import Key
from attncli.capturing.plan import Plan, Site
from attncli.capturing.probe import bound_call, seen_by_model
from attncli.errors import ModelError

Tensor = torch.Tensor


class Taker:
    """The handler of a capturing pass."""

    def __init__(self, plan: Plan, emitter: Emitter, batch: int) -> None:
        self._emitter, self._batch = emitter, batch
        self._sites: dict[Key, list[Site]] = {}
        for site in plan.sites:
            self._sites.setdefault(site.key, []).append(site)
        self._taken: set[Key] = set()
        self._scores: Tensor | None = None

    def dispatched(self, key: Key, function: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Our block function in place of the model's, or the model's own with its weights taken."""
        sites = self._take(key)
        if not sites:
            return function(module, *args, **kwargs)
        if sites[0].how == "stream":
            call = bound_call(function, module, args, kwargs)
            output = attend(call, lambda block: self._emit(sites, block))
            self._end(sites)
            return output.transpose(1, 2).contiguous(), None
        self._scores = None
        output, weights = function(module, *args, **kwargs)
        visible = seen_by_model(weights, self._scores)
        if visible is None:
            visible = visibility(bound_call(function, module, args, kwargs), 0, weights.shape[2])
        self._emit(sites, Block(0, weights, visible))
        self._end(sites)
        return output, weights

    def inner_softmax(self, scores: Tensor) -> None:
        """What the model's own function gives to its softmax."""
        self._scores = scores

    def sdpa(self, key: Key, function: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
        """Our block function in place of torch's."""
        sites = self._take(key)
        if not sites:
            return function(*args, **kwargs)  # type: ignore[no-any-return]
        output = attend(AttentionCall.torch_sdpa(*args, **kwargs), lambda block: self._emit(sites, block))
        self._end(sites)
        return output

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
        self._emit(sites, Block(0, weights, visible))
        self._end(sites)

    def _unfolded(self, sites: Sequence[Site], layout: Layout, weights: Tensor, visible: Tensor) -> None:
        """Bands and blocks, as rows over all tokens."""
        tokens = self._emitter.source.mask.shape[1]
        if layout_of(weights, self._batch, tokens) != layout:
            raise ModelError(
                f"{sites[0].kind} layer {sites[0].layer} ({sites[0].name}) has keys outside of its {layout}, such as "
                "global tokens, and cannot be put back into rows over the tokens"
            )
        for first, last in row_blocks(self._batch * sites[0].heads * tokens, tokens):
            parts = (unfold(part, layout, first, last, tokens) for part in (weights, visible))
            self._emit(sites, Block(first, *parts))
        self._end(sites)

    def outputs(self, outputs: Any) -> None:
        """What is only in the model's outputs."""
        for key, sites in self._sites.items():
            maps = getattr(outputs, key[0], None) or ()
            if sites[0].function == "output" and key[1] < len(maps):
                self._taken.add(key)
                self._emit(sites, Block(0, maps[key[1]], None))
                self._end(sites)

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

    def _emit(self, sites: Sequence[Site], block: Block) -> None:
        own = self._emitter.target.mask.shape[1]
        parts = {
            "all": (slice(None), slice(None)),
            "first": (slice(None), slice(own)),
            "rest": (slice(None), slice(own, None)),
            "main": (slice(own), slice(None)),
        }
        for site in sites:
            rows, keys = parts[site.part]
            visible = None if block.visible is None else block.visible[..., keys]
            if visible is not None and visible.shape[2] > 1:
                visible = visible[:, :, rows]
            self._emitter.block(site, block.first, block.weights[:, :, rows, keys], visible)

    def _end(self, sites: Sequence[Site]) -> None:
        for site in sites:
            self._emitter.end(site)
