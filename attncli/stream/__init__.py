"""Where the stream of row blocks ends; each sink holds only what its scope needs.

keep     whole maps                              pool     their cells, or a part of them
chosen   their rows or columns of a few tokens
edges    the strongest weights of every row      profile  what each key gets, and how far heads look
measure  every metric of every head              vectors  query and key vectors
"""

from __future__ import annotations

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
