"""The sinks of a page of maps that are too large: the strongest weights of each row, and the combined heads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from attncli.data import Attention, Selection, Zoom
from attncli.data.zoom import Combining
from attncli.engine.passes import Pass
from attncli.page import COMBINED, EdgeTable, EdgeTables, LayerId
from attncli.stream import PoolMaps, Sink, StrongestEdges
from attncli.stream.combine import PassCombined
from attncli.stream.keep import ALL
from attncli.stream.protocol import SinkGroup


class PageSinks:
    """Sinks for a forward pass whose pooled maps are kept: they collect what a page shows in addition.

    That are the strongest weights of each row, of single heads and of the mean and the maximum over all heads, and
    the pooled maps of this mean and this maximum.
    """

    def __init__(self, prepared: Pass, per_row: int, zoom: Zoom) -> None:
        self._inputs, self._per_row = prepared.inputs, per_row
        self._edges: list[tuple[StrongestEdges, EdgeTables]] = []
        self._pooled: dict[Combining, PoolMaps] = {}
        self.sinks: list[Sink] = [self._edges_of(prepared.heads)]
        several: Selection = {layer: heads for layer, heads in prepared.heads.items() if len(heads) > 1}
        for how in COMBINED if several else ():
            self._pooled[how] = PoolMaps(zoom)
            both = SinkGroup(self._edges_of(dict.fromkeys(several, (ALL,)), how), self._pooled[how])
            self.sinks.append(PassCombined(how, several, both))

    def _edges_of(self, heads: Selection, aggregate: str = "none") -> StrongestEdges:
        """Return a sink that fills the tables of these heads."""
        tables = EdgeTables(heads, self._per_row, aggregate)
        edges = StrongestEdges(self._inputs, tables.add, top_k=self._per_row, heads=heads)
        self._edges.append((edges, tables))
        return edges

    def tables(self) -> dict[LayerId, EdgeTable]:
        """Return the strongest weights of all layers, after the forward pass."""
        for edges, _ in self._edges:
            edges.result()
        return {layer: table for _, tables in self._edges for layer, table in tables.tables.items()}

    def with_combined(self, maps: Iterable[Attention]) -> tuple[Attention, ...]:
        """Return the pooled maps of the forward pass with their combined heads."""
        pooled = {
            (attention.text, attention.kind, of_all.layer, how): of_all
            for how, sink in self._pooled.items()
            for attention in sink.result(self._inputs)
            for of_all in attention.layers
        }
        shown = []
        for attention in maps:
            layers = []
            for layer in attention.layers:
                layer_id = attention.text, attention.kind, layer.layer
                combined = {how: pooled[*layer_id, how] for how in COMBINED if (*layer_id, how) in pooled}
                layers.append(replace(layer, combined=combined))
            shown.append(replace(attention, layers=tuple(layers)))
        return tuple(shown)
