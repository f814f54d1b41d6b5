"""Layers for torch: attention whose weights can be read after every call."""

from attncli.nn.attention import InterpretableMultiHeadAttention
from attncli.nn.statistics import AttentionStatistics

__all__ = ["AttentionStatistics", "InterpretableMultiHeadAttention"]
