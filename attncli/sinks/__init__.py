"""Where the stream of row blocks ends; each sink holds only what its scope needs.

keep     whole maps                              pool     their cells, or a part of them
chosen   their rows or columns of a few tokens
edges    the strongest weights of every row      profile  what each key gets, and how far heads look
measure  every metric of every head              vectors  query and key vectors
"""

from __future__ import annotations

from attncli.sinks.chosen import Chosen
from attncli.sinks.edges import StrongestEdges
from attncli.sinks.keep import Keep
from attncli.sinks.measure import Measure
from attncli.sinks.pool import Pool
from attncli.sinks.profile import Profiles
from attncli.sinks.protocol import Sink, selected
from attncli.sinks.vectors import KeepVectors

__all__ = ["Chosen", "Keep", "KeepVectors", "Measure", "Pool", "Profiles", "Sink", "StrongestEdges", "selected"]
