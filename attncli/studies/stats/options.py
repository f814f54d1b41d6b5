"""Options of `attncli stats`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli import registry
from attncli.options import NormOptions, Option
from attncli.vocabulary import ENDS, SINK_THRESHOLD


def _metrics() -> list[str]:
    return registry.names("metrics")


@dataclass(frozen=True)
class StatsOptions(NormOptions):
    """What is measured; of `stats` alone."""

    metric: Annotated[
        list[str] | None,
        Option(
            *("Measures", "--metric"),
            complete=_metrics,
            metavar="NAME",
            help="only this one; may be repeated (see attncli explain)",
        ),
    ] = None
    per_query: Annotated[bool, Option("Measures", "--per-query", help="also a row for every token")] = False
    spread: Annotated[
        bool, Option("Measures", "--spread", help="also stats-spread.png: the heads of each layer as points")
    ] = False
    top_k: Annotated[
        int | None,
        Option(*("Measures", "--top-k"), metavar="K", help="edges.parquet: of each token the K strongest weights"),
    ] = None
    min_weight: Annotated[
        float | None,
        Option(*("Measures", "--min-weight"), metavar="W", help="edges.parquet: weights of at least W alone"),
    ] = None
    profile: Annotated[
        bool,
        Option(
            *("Measures", "--profile"),
            help="where attention goes over the whole text: what each key receives, sinks, distances, ends",
        ),
    ] = False
    sink_threshold: Annotated[
        float,
        Option(
            *("Measures", "--sink-threshold"),
            metavar="SHARE",
            help="the attention that a key must receive to be a sink (default: 0.3)",
        ),
    ] = SINK_THRESHOLD
    ends: Annotated[
        int,
        Option(*("Measures", "--ends"), metavar="N", help="the first and last N tokens of the text (default: 64)"),
    ] = ENDS
