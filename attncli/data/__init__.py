"""Core data types: small frozen dataclasses with named axes, always in the order layer, head, query, key.

During a forward pass (`Rows`, `RowSums`, `Columns`) they hold tensors on the model's device. All others hold read-only
NumPy arrays.
"""

from attncli.data.extras import Edges, EdgesConsumer, Vectors
from attncli.data.labels import Scheme
from attncli.data.layer_maps import LayerMaps
from attncli.data.maps import Attention
from attncli.data.measures import Columns, Metric, Range, RowSum, RowSums, Selection
from attncli.data.profile import MIN_QUERIES, MIN_SHARE, Profile, Received
from attncli.data.results import Scores, Statistics, columns_of
from attncli.data.run_info import FORMAT, RunInfo
from attncli.data.segments import Partition, Spans, TextSpan
from attncli.data.stream import MAX_OFFSET, Rows, RowTotals, ScoreParts, Visibility
from attncli.data.tokens import (
    KINDS,
    Array,
    By,
    Direction,
    Input,
    Kind,
    RowsAs,
    Text,
    TokenKind,
    Tokens,
    base_kind,
    has_scale,
    kind_order,
    predicts_tokens,
    read_only,
)
from attncli.data.zoom import Pooling, Span, TokenWindow, Zoom

__all__ = ["KINDS", "Array", "By", "Direction", "Input", "Kind", "RowsAs", "Scheme", "Text", "TokenKind"]
__all__ += ["Tokens", "base_kind", "has_scale", "kind_order", "predicts_tokens", "read_only"]
__all__ += ["MIN_QUERIES", "MIN_SHARE", "Profile", "Received"]
__all__ += ["FORMAT", "RunInfo", "Scores", "Statistics", "columns_of"]
__all__ += ["MAX_OFFSET", "Columns", "Metric", "Range", "RowSum", "RowSums", "RowTotals", "Rows"]
__all__ += ["Selection", "Visibility"]
__all__ += ["Attention", "Edges", "EdgesConsumer", "LayerMaps", "ScoreParts", "Vectors"]
__all__ += ["Partition", "Pooling", "Span", "Spans", "TextSpan", "TokenWindow", "Zoom"]
