"""Options of `attncli stats`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from attncli import registry
from attncli.options import NormOptions, Option
from attncli.vocabulary import ENDS, SINK_THRESHOLD


@dataclass(frozen=True)
class StatsOptions(NormOptions):
    """What is measured."""

    metric: Annotated[
        list[str] | None,
        Option(
            *("Measures", "--metric"),
            complete=partial(registry.names, "metrics"),
            metavar="NAME",
            help="metric to measure; may be repeated (default: all, see attncli explain)",
        ),
    ] = None
    per_query: Annotated[bool, Option("Measures", "--per-query", help="also write a row for every token")] = False
    spread: Annotated[
        bool, Option("Measures", "--spread", help="also draw stats-spread.png: the heads of each layer as points")
    ] = False
    top_k: Annotated[
        int | None,
        Option("Measures", "--top-k", metavar="K", help="write edges.parquet: the K strongest weights of each token"),
    ] = None
    min_weight: Annotated[
        float | None, Option("Measures", "--min-weight", metavar="W", help="write edges.parquet: weights of at least W")
    ] = None
    profile: Annotated[
        bool,
        Option(
            *("Measures", "--profile"),
            help="measure attention over the whole text: what each key receives, sinks, distances, ends",
        ),
    ] = False
    sink_threshold: Annotated[
        float,
        Option(
            *("Measures", "--sink-threshold"),
            metavar="SHARE",
            help=f"with --profile: least attention that a sink receives (default: {SINK_THRESHOLD})",
        ),
    ] = SINK_THRESHOLD
    ends: Annotated[
        int,
        Option(
            *("Measures", "--ends"),
            metavar="N",
            help=f"with --profile: size of the first and last part of a text, in tokens (default: {ENDS})",
        ),
    ] = ENDS
