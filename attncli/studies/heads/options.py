"""Options of `attncli heads`."""

from dataclasses import dataclass

from attncli.options import option
from attncli.vocabulary import CLUSTER_DISTANCE, REDUNDANT_DISTANCE, SHUFFLE_SEEDS


@dataclass(frozen=True)
class HeadsOptions:
    """How heads are clustered, which pairs are redundant, and which baselines are computed.

    clusters   number of clusters, instead of a threshold
    threshold  largest mean distance within a cluster, √nat
    redundant  pairs of heads under this distance are redundant, √nat
    shuffles   number of passes over shuffled tokens, for that baseline
    """

    clusters: int | None = option("Clusters", "number of clusters, instead of --threshold", metavar="K")
    threshold: float = option(
        "Clusters", "largest mean distance within a cluster", metavar="D", default=CLUSTER_DISTANCE
    )
    redundant: float = option(
        "Clusters", "largest distance of redundant pairs", metavar="D", default=REDUNDANT_DISTANCE
    )
    shuffles: int = option(
        "Clusters",
        "passes over shuffled tokens as a baseline, with the seeds 0, 1, …",
        metavar="N",
        default=SHUFFLE_SEEDS,
        former=("--shuffle-seeds",),
    )
