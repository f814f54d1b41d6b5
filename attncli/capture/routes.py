"""The capturing pass: each planned call is taken by its route and its rows are pushed into the sinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from attncli.capture.blocks import AttentionCall, Block, attend, visibility
from attncli.capture.emit import Emitter
from attncli.capture.gate import visible_by_scores
from attncli.capture.intercept import Key
from attncli.capture.plan import Plan, Site
from attncli.capture.probe import bound_call
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

    def dispatched(self, key: Key, function: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Our block function in place of the model's, or the model's own with its weights taken."""
        sites = self._take(key)
        if not sites:
            return function(module, *args, **kwargs)
        call = bound_call(function, module, args, kwargs)
        if sites[0].how == "stream":
            output = attend(call, lambda block: self._emit(sites, block))
            self._end(sites)
            return output.transpose(1, 2).contiguous(), None
        output, weights = function(module, *args, **kwargs)
        self._emit(sites, Block(0, weights, visibility(call, 0, weights.shape[2])))
        self._end(sites)
        return output, weights

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
        if weights.dim() == 3:
            weights, visible = (part.reshape(self._batch, -1, *part.shape[1:]) for part in (weights, visible))
        self._emit(sites, Block(0, weights, visible))
        self._end(sites)

    def outputs(self, outputs: Any) -> None:
        """What is only in the model's outputs."""
        for key, sites in self._sites.items():
            if sites[0].function == "output":
                self._taken.add(key)
                weights = (getattr(outputs, key[0], None) or ())[key[1]]
                self._emit(sites, Block(0, weights, None))
                self._end(sites)

    def check_complete(self) -> None:
        """Every planned layer must have come; one that did not would be missing silently."""
        gone = [sites[0] for key, sites in self._sites.items() if key not in self._taken]
        if gone:
            names = ", ".join(f"{site.kind} layer {site.layer} ({site.name})" for site in gone[:3])
            raise ModelError(
                f"{len(gone)} attention layers did not run on this text, though they do on others: {names}"
            )

    def _take(self, key: Key) -> list[Site]:
        sites = self._sites.get(key, [])
        if sites:
            self._taken.add(key)
        return sites

    def _emit(self, sites: Sequence[Site], block: Block) -> None:
        for site in sites:
            weights, visible = block.weights, block.visible
            if site.part != "all":
                own = self._emitter.target.mask.shape[1]
                keys = slice(None, own) if site.part == "first" else slice(own, None)
                weights = weights[..., keys]
                visible = None if visible is None else visible[..., keys]
            self._emitter.block(site, block.first, weights, visible)

    def _end(self, sites: Sequence[Site]) -> None:
        for site in sites:
            self._emitter.end(site)
