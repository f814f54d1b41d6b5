"""Gates on the outputs of heads: they scale the output of a head, remove it or replace it, for each text by itself.

A gate acts where the output projection reads its input, in which the outputs of all heads lie side by side. So a gate
of 0 does what zeros in the head's columns of W_O do, and the model computes its attention as always: the route of the
capture, masks, grouped queries and the implementation of attention do not matter.

    shadow = Shadow(loaded.model)
    sites = gate_sites(plan)                                   # raises ModelError, or see `Site.no_gates`
    factor = torch.ones(1, sites["decoder", 3].heads)
    factor[0, 1] = 0
    with gated(shadow.model, sites, {("decoder", 3): Gate(factor)}):    # head 3.1 is zero
        shadow.model(**inputs)

All hooks are on the modules of the shadow, so the model and other threads that run it never see a gate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from attncli.capturing.sites import CapturePlan, Site
from attncli.data import Kind

Tensor = torch.Tensor
LayerKey = tuple[Kind, int]
"""Identifies the heads of a layer: (kind, layer)."""
Change = Callable[[LayerKey, Tensor], Tensor]
"""Receives a layer and the outputs of its heads, [batch, query, head, dim]; returns what the model uses instead."""


@dataclass(frozen=True, eq=False)
class Gate:
    """Factors of the heads of one layer: the output of a head becomes factor · output + (1 - factor) · mean.

    factor  [1 or batch, head]; may require gradients
    mean    what replaces the output of a head whose factor is 0, broadcastable to [batch, query, head, dim], such as
            [head, dim] for the same vector at all tokens; None for zero
    """

    factor: Tensor
    mean: Tensor | None = None

    def applied(self, output: Tensor) -> Tensor:
        """Return gated outputs, [batch, query, head, dim]."""
        factor = self.factor.to(output)[:, None, :, None]
        if self.mean is None:
            return output * factor
        return output * factor + (1 - factor) * self.mean.to(output)


def gate_sites(plan: CapturePlan) -> dict[LayerKey, Site]:
    """Return the layers of a plan whose heads can be gated; `ungated` returns the others."""
    refused = ungated(plan)
    sites = {(site.kind, site.layer): site for site in plan.sites}
    return {key: site for key, site in sites.items() if key not in refused}


def ungated(plan: CapturePlan) -> dict[LayerKey, str]:
    """Return the layers of a plan whose heads cannot be gated, with the reason."""
    read = Counter(site.projection.name for site in plan.sites if site.projection and not site.no_gates)
    refused = {}
    for site in plan.sites:
        problem = site.no_gates
        if not problem and site.projection and read[site.projection.name] != site.projection.calls:
            problem = "its output projection also reads outputs that are not those of captured heads"
        if problem:
            refused[site.kind, site.layer] = f"heads of {site.label} cannot be edited: {problem}"
    return refused


@contextmanager
def head_outputs(model: nn.Module, sites: Mapping[LayerKey, Site], change: Change) -> Iterator[None]:
    """Pass the outputs of the heads of these layers through `change` in every forward pass inside the `with` block.

    model   the modules of a `Shadow`
    sites   layers of `gate_sites`
    Modules that several layers share count their calls: a pass must call each as often as the probing pass did.
    """
    by_module: defaultdict[str, dict[int, tuple[LayerKey, Site]]] = defaultdict(dict)
    for key, site in sites.items():
        assert site.projection is not None
        by_module[site.projection.name][site.projection.call] = key, site
    with ExitStack() as hooks:
        for name, calls in by_module.items():
            hook = _ProjectionHook(calls, change)
            hooks.callback(model.get_submodule(name).register_forward_pre_hook(hook).remove)
        yield


class _ProjectionHook:
    """A hook that changes the input of an output projection.

    calls  the layer whose heads the projection reads, by the number of the call in a pass
    """

    def __init__(self, calls: Mapping[int, tuple[LayerKey, Site]], change: Change) -> None:
        self._calls, self._change, self._number = calls, change, 0
        projections = [site.projection for _, site in calls.values()]
        self._calls_of_pass = max(projection.calls for projection in projections if projection)

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        number, self._number = self._number, (self._number + 1) % self._calls_of_pass
        if number not in self._calls:
            return None
        key, site = self._calls[number]
        output = args[0].unflatten(-1, (site.heads, -1))
        return (self._change(key, output).flatten(-2), *args[1:])


@contextmanager
def gated(model: nn.Module, sites: Mapping[LayerKey, Site], gates: Mapping[LayerKey, Gate]) -> Iterator[None]:
    """Gate heads in every forward pass of the modules of a shadow inside the `with` block.

    gates   the layers that have gates, with these; all other layers stay as they are
    """
    chosen = {key: sites[key] for key in gates}
    with head_outputs(model, chosen, partial(_gate, gates)):
        yield


def _gate(gates: Mapping[LayerKey, Gate], key: LayerKey, output: Tensor) -> Tensor:
    return gates[key].applied(output)
