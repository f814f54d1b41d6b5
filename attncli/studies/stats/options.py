"""Options of `attncli stats`."""

from dataclasses import dataclass
from functools import partial

from attncli import registry
from attncli.options import NormOptions, option
from attncli.vocabulary import ENDS, POOL_TEXTS, ROWS_AS, SINK_THRESHOLD


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
    rows_as: str = option(
        "Measures",
        "with --per-query, --top-k or --min-weight: name each row by its own token (input), or by the token that it "
        "predicts (predicted), see attncli explain rows-as",
        choices=ROWS_AS,
        default=ROWS_AS[0],
    )
    by_layer: bool = option(
        "Measures", "also write a row for every layer: mean and standard deviation over its heads", default=False
    )
    special_tokens: bool = option(
        "Measures",
        "also measure the attention to each special token by name ([CLS], [SEP], </s>), the first token and "
        "punctuation",
        default=False,
    )
    pool_texts: str = option(
        "Measures",
        "mean over several texts: texts counts each text once, tokens each of its tokens",
        choices=POOL_TEXTS,
        default=POOL_TEXTS[0],
    )
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
