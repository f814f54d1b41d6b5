"""The data in the middle: small frozen types with named axes, always in the order layer, head, query, key.

Inside (capture, sinks, metrics) tensors live on the model's device: `Rows`, `Columns`. At the border and
outward everything is read-only NumPy: `Tokens`, `Attention`, `Scores`, `Statistics`, `Edges`,
`Profile`, `Patterns`, `Repeated`, `Likeness`, `Vectors`, `Highlight`, `Flow`, `Segments`, `Comparison`, `Checked`,
`RunInfo`.
"""

from __future__ import annotations

from attncli.data.checks import BASELINE_SCHEMA, OFFSETS, Candidates, Case, Checked, Drift, Quantifier, Verdict
from attncli.data.comparison import FEWEST, Comparison
from attncli.data.edges import Edges, TakeEdges
from attncli.data.flow import Flow, FlowMethod, Graph, Level, Stack, Step
from attncli.data.highlight import Direction, Highlight, Highlighted
from attncli.data.likeness import LARGEST_DISTANCE, Group, Grouping, Likeness
from attncli.data.maps import Attention, LayerMaps
from attncli.data.measures import Columns, Metric, Range, RowSum, RowSums, Selection
from attncli.data.patterns import BASELINES, CLASS_NUMBERS, CLASSES, NUMBERS, Patterns, Thresholds
from attncli.data.profile import FEW, SINK, Profile, Received
from attncli.data.repeated import ALL_ROWS, SCORES, Repeated
from attncli.data.results import FORMAT, RunInfo, Scores, Statistics, columns_frame, columns_of
from attncli.data.segments import Segments
from attncli.data.spans import Partition, Spans, TextSpan
from attncli.data.stream import NEAR, Rows, Sight
from attncli.data.tokens import KINDS, Array, By, Input, Kind, Scheme, Text, Tokens, frozen
from attncli.data.vectors import ScoreParts, Vectors
from attncli.data.zoom import Pooling, Span, Stretch, Zoom

__all__ = [
    "ALL_ROWS",
    "BASELINES",
    "BASELINE_SCHEMA",
    "CLASSES",
    "CLASS_NUMBERS",
    "FEW",
    "FEWEST",
    "FORMAT",
    "KINDS",
    "LARGEST_DISTANCE",
    "NEAR",
    "NUMBERS",
    "OFFSETS",
    "SCORES",
    "SINK",
    "Array",
    "Attention",
    "By",
    "Candidates",
    "Case",
    "Checked",
    "Columns",
    "Comparison",
    "Direction",
    "Drift",
    "Edges",
    "Flow",
    "FlowMethod",
    "Graph",
    "Group",
    "Grouping",
    "Highlight",
    "Highlighted",
    "Input",
    "Kind",
    "LayerMaps",
    "Level",
    "Likeness",
    "Metric",
    "Partition",
    "Patterns",
    "Pooling",
    "Profile",
    "Quantifier",
    "Range",
    "Received",
    "Repeated",
    "RowSum",
    "RowSums",
    "Rows",
    "RunInfo",
    "Scheme",
    "ScoreParts",
    "Scores",
    "Segments",
    "Selection",
    "Sight",
    "Span",
    "Spans",
    "Stack",
    "Statistics",
    "Step",
    "Stretch",
    "TakeEdges",
    "Text",
    "TextSpan",
    "Thresholds",
    "Tokens",
    "Vectors",
    "Verdict",
    "Zoom",
    "columns_frame",
    "columns_of",
    "frozen",
]
