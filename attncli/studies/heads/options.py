"""Options of `attncli heads`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import CLUSTER_DISTANCE, REDUNDANT_DISTANCE, SHUFFLE_SEEDS


def _option(name: str, metavar: str, help: str, default: float) -> Option:
    return Option("Clusters", f"--{name}", metavar=metavar, help=f"{help} (default: {default})")


@dataclass(frozen=True)
class HeadsOptions:
    """How heads are clustered, which pairs are redundant, and which baselines are computed.

    clusters       number of clusters, instead of a threshold
    threshold      largest mean distance within a cluster, √nat
    redundant      pairs of heads under this distance are redundant, √nat
    shuffle_seeds  number of passes over shuffled tokens, for that baseline
    """

    clusters: Annotated[
        int | None, Option("Clusters", "--clusters", metavar="K", help="number of clusters, instead of --threshold")
    ] = None
    threshold: Annotated[
        float, _option("threshold", "D", "largest mean distance within a cluster", CLUSTER_DISTANCE)
    ] = CLUSTER_DISTANCE
    redundant: Annotated[
        float, _option("redundant", "D", "largest distance of redundant pairs", REDUNDANT_DISTANCE)
    ] = REDUNDANT_DISTANCE
    shuffle_seeds: Annotated[
        int, _option("shuffle-seeds", "N", "passes over shuffled tokens as a baseline", SHUFFLE_SEEDS)
    ] = SHUFFLE_SEEDS
