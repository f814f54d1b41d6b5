"""The consumers of the stream of row blocks (sinks); each keeps only what its result needs.

keep     full maps, or the rows or columns of a few tokens
pool     maps pooled into cells, or a window of them
edges    the strongest weights of every row
vectors  query and key vectors
measure  every metric of every head
profile  attention by key, by distance and at the ends of a text
"""

from attncli.stream.edges import StrongestEdges
from attncli.stream.keep import KeepChosen, KeepMaps
from attncli.stream.measure import Measure
from attncli.stream.pool import PoolMaps
from attncli.stream.profile import MeasureProfile
from attncli.stream.protocol import Sink, SinkGroup, selected, without_autocast
from attncli.stream.vectors import KeepVectors

__all__ = ["KeepChosen", "KeepMaps", "KeepVectors", "Measure", "MeasureProfile", "PoolMaps", "Sink", "StrongestEdges"]
__all__ += ["SinkGroup", "selected", "without_autocast"]
