"""The consumers of the stream of row blocks (sinks); each keeps only what its result needs.

keep     full maps                               pool     maps pooled into cells, or a window of them
chosen   the rows or columns of a few tokens     vectors  query and key vectors
edges    the strongest weights of every row      profile  attention by key, by distance and at the ends of a text
measure  every metric of every head
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attncli.stream.chosen import KeepChosen
    from attncli.stream.edges import StrongestEdges
    from attncli.stream.keep import KeepMaps
    from attncli.stream.measure import Measure
    from attncli.stream.pool import PoolMaps
    from attncli.stream.profile import MeasureProfile
    from attncli.stream.protocol import Sink, selected
    from attncli.stream.vectors import KeepVectors

__all__ = [
    "KeepChosen",
    "KeepMaps",
    "KeepVectors",
    "Measure",
    "MeasureProfile",
    "PoolMaps",
    "Sink",
    "StrongestEdges",
    "selected",
]

_HOMES = {
    "chosen": ("KeepChosen",),
    "edges": ("StrongestEdges",),
    "keep": ("KeepMaps",),
    "measure": ("Measure",),
    "pool": ("PoolMaps",),
    "profile": ("MeasureProfile",),
    "protocol": ("Sink", "selected"),
    "vectors": ("KeepVectors",),
}


def __getattr__(name: str) -> Any:
    # sinks need torch, which drawing a saved run does not
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"attncli.stream.{home}"), name)
    raise AttributeError(f"module 'attncli.stream' has no attribute {name!r}")
