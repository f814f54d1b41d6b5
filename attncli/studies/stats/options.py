"""Options of `attncli stats`."""

from dataclasses import dataclass
from functools import partial

from attncli import registry
from attncli.options import NormOptions, option
from attncli.vocabulary import ENDS, SINK_THRESHOLD


@dataclass(frozen=True)
class StatsOptions(NormOptions):
    """What is measured."""

    metric: list[str] | None = option(
        "Measures",
        "metric to measure; may be repeated (default: all, see attncli explain)",
        metavar="NAME",
        complete=partial(registry.names, "metrics"),
    )
    per_query: bool = option("Measures", "also write a row for every token", default=False)
    spread: bool = option("Measures", "also draw stats-spread.png: the heads of each layer as points", default=False)
    top_k: int | None = option("Measures", "write edges.parquet: the K strongest weights of each token", metavar="K")
    min_weight: float | None = option("Measures", "write edges.parquet: weights of at least W", metavar="W")
    profile: bool = option(
        "Measures",
        "measure attention over the whole text: what each key receives, sinks, distances, ends",
        default=False,
    )
    sink_threshold: float = option(
        "Measures", "with --profile: least attention that a sink receives", metavar="SHARE", default=SINK_THRESHOLD
    )
    min_rows: float | None = option(
        "Measures",
        "with --profile: fewest tokens that must see a key for it to be a sink: a number such as 20, or a share of "
        "all such as 0.1 (default: 0.05, at least 5 tokens)",
        metavar="N_OR_SHARE",
    )
    ends: int = option(
        "Measures", "with --profile: size of the first and last part of a text, in tokens", metavar="N", default=ENDS
    )
