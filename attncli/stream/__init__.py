"""The consumers of the stream of row blocks (sinks); each keeps only what its result needs.

keep     full maps, or the rows or columns of a few tokens
pool     maps pooled into cells, or a window of them
edges    the strongest weights of every row
vectors  query and key vectors
measure  every metric of every head
profile  attention by key, by distance and at the ends of a text
attention_of_rows  the mean weights of a few rows
"""

from attncli.stream.attention_of_rows import AttentionOfRows
from attncli.stream.edges import StrongestEdges
from attncli.stream.keep import KeepChosen, KeepMaps
from attncli.stream.measure import Measure
from attncli.stream.pool import PoolMaps
from attncli.stream.profile import MeasureProfile
from attncli.stream.protocol import Sink, SinkGroup, selected, without_autocast
from attncli.stream.vectors import KeepVectors

__all__ = ["AttentionOfRows", "KeepChosen", "KeepMaps", "KeepVectors", "Measure", "MeasureProfile", "PoolMaps"]
__all__ += ["Sink", "SinkGroup", "StrongestEdges", "selected", "without_autocast"]
