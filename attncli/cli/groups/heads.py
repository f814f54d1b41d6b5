"""The options of `heads` alone: which heads are put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from attncli.cli.options import option


def _group(*names: str, **more: Any) -> Any:
    return option("Grouping", *names, **more)


@dataclass(frozen=True)
class GroupingOptions:
    """How many clusters, from where on heads are redundant, and what stands beside."""

    clusters: Annotated[
        int | None, _group("--clusters", metavar="K", help="so many clusters, instead of a threshold")
    ] = None
    threshold: Annotated[
        float, _group("--threshold", metavar="D", help="largest mean distance within a cluster (default: 0.35)")
    ] = 0.35
    redundant: Annotated[
        float, _group("--redundant", metavar="D", help="pairs of heads under this distance are listed (default: 0.1)")
    ] = 0.1
    shuffle_seeds: Annotated[
        int, _group("--shuffle-seeds", metavar="N", help="passes over shuffled tokens as a baseline (default: 1)")
    ] = 1
