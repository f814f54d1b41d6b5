"""Options of `attncli heatmap`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import NormOptions, Option
from attncli.vocabulary import POOLS, RESOLUTION, SCALES


@dataclass(frozen=True)
class HeatmapOptions(NormOptions):
    """How maps are laid out in pictures; of `heatmap` alone."""

    grid: Annotated[bool, Option("Pictures", "--grid", help="one page of all that is selected")] = False
    each: Annotated[bool, Option("Pictures", "--each", help="one picture for every head that is selected")] = False
    resolution: Annotated[
        int,
        Option(
            *("Pictures", "--resolution"),
            metavar="N",
            help=f"at most N cells a side: longer texts are pooled (default: {RESOLUTION})",
        ),
    ] = RESOLUTION
    pool: Annotated[
        str, Option("Pictures", "--pool", choices=POOLS, help="what a cell is of its query-key pairs (default: mean)")
    ] = POOLS[0]
    rows: Annotated[
        str | None,
        Option("Pictures", "--rows", metavar="A-B", help="only these queries, such as 8000-8400, counted from 0"),
    ] = None
    keys: Annotated[str | None, Option("Pictures", "--keys", metavar="A-B", help="only these keys")] = None
    log: Annotated[
        bool | None,
        Option(
            *("Pictures", "--log/--linear"),
            help="colours by the logarithm of the weight (default: where more than 256 tokens are shown)",
        ),
    ] = None
    scale: Annotated[
        str,
        Option(
            *("Pictures", "--scale"),
            choices=SCALES,
            help="shared: one colour scale for all of a text and kind; panel: each its own",
        ),
    ] = "shared"
