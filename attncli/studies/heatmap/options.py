"""Options of `attncli heatmap`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import NormOptions, Option
from attncli.vocabulary import LINEAR_UP_TO, POOLS, RESOLUTION, SCALES


@dataclass(frozen=True)
class HeatmapOptions(NormOptions):
    """Which pictures are drawn, how fine they are, and their colours."""

    grid: Annotated[bool, Option("Pictures", "--grid", help="draw one page of everything that is selected")] = False
    each: Annotated[bool, Option("Pictures", "--each", help="draw one picture of every selected head")] = False
    resolution: Annotated[
        int,
        Option(
            *("Pictures", "--resolution"),
            metavar="N",
            help=f"largest number of cells on a side; longer texts are pooled (default: {RESOLUTION})",
        ),
    ] = RESOLUTION
    pool: Annotated[
        str,
        Option("Pictures", "--pool", choices=POOLS, help=f"how the weights of a cell are pooled (default: {POOLS[0]})"),
    ] = POOLS[0]
    rows: Annotated[
        str | None,
        Option("Pictures", "--rows", metavar="A-B", help="draw only these queries, such as 8000-8400, counted from 0"),
    ] = None
    keys: Annotated[
        str | None, Option("Pictures", "--keys", metavar="A-B", help="draw only these keys, counted from 0")
    ] = None
    log: Annotated[
        bool | None,
        Option(
            *("Pictures", "--log/--linear"),
            help=f"logarithmic or linear colours (default: logarithmic above {LINEAR_UP_TO} tokens)",
        ),
    ] = None
    scale: Annotated[
        str,
        Option(
            *("Pictures", "--scale"),
            choices=SCALES,
            help="shared: one colour scale for a text and kind; panel: a scale for each map (default: shared)",
        ),
    ] = SCALES[0]
