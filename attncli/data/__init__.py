"""The data in the middle: small frozen types with named axes, always in the order layer, head, query, key.

Inside (capture, sinks, metrics) tensors live on the model's device: `Rows`, `Columns`. At the border and
outward everything is read-only NumPy: `Tokens`, `Attention`, `Scores`, `Statistics`, `Edges`,
`Profile`, `Patterns`, `Repeated`, `Likeness`, `Vectors`, `Highlight`, `Flow`, `Segments`, `Comparison`, `Checked`,
`RunInfo`.
"""

from __future__ import annotations

from attncli.data.edges import Edges, TakeEdges
from attncli.data.maps import Attention, LayerMaps
from attncli.data.measures import Columns, Metric, Range, RowSum, RowSums, Selection
from attncli.data.profile import FEW, SINK, Profile, Received
from attncli.data.results import FORMAT, RunInfo, Scores, Statistics, columns_frame, columns_of
from attncli.data.spans import Partition, Spans, TextSpan
from attncli.data.stream import MAX_OFFSET, Rows, Visibility
from attncli.data.tokens import KINDS, Array, By, Direction, Input, Kind, Scheme, Text, Tokens, read_only
from attncli.data.vectors import ScoreParts, Vectors
from attncli.data.zoom import Pooling, Span, TokenWindow, Zoom

__all__ = [
    "FEW",
    "FORMAT",
    "KINDS",
    "MAX_OFFSET",
    "SINK",
    "Array",
    "Attention",
    "By",
    "Columns",
    "Direction",
    "Edges",
    "Input",
    "Kind",
    "LayerMaps",
    "Metric",
    "Partition",
    "Pooling",
    "Profile",
    "Range",
    "Received",
    "RowSum",
    "RowSums",
    "Rows",
    "RunInfo",
    "Scheme",
    "ScoreParts",
    "Scores",
    "Selection",
    "Span",
    "Spans",
    "Statistics",
    "TakeEdges",
    "Text",
    "TextSpan",
    "TokenWindow",
    "Tokens",
    "Vectors",
    "Visibility",
    "Zoom",
    "columns_frame",
    "columns_of",
    "read_only",
]
