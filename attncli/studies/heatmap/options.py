"""Options of `attncli heatmap`."""

from dataclasses import dataclass

from attncli.options import NormOptions, RowsOptions, option
from attncli.vocabulary import LINEAR_UP_TO, POOLS, RESOLUTION, SCALES


@dataclass(frozen=True)
class HeatmapOptions(NormOptions, RowsOptions):
    """Which pictures are drawn, how fine they are, and their colours."""

    grid: bool = option("Pictures", "draw one page of everything that is selected", default=False)
    each: bool = option("Pictures", "draw one picture of every selected head", default=False)
    resolution: int = option(
        "Pictures", "largest number of cells on a side; longer texts are pooled", metavar="N", default=RESOLUTION
    )
    pool: str = option("Pictures", "how the weights of a cell are pooled", choices=POOLS, default=POOLS[0])
    rows: str | None = option(
        "Pictures",
        "draw only these queries: 8000-8400 (from 0), a word or a segment (generated)",
        metavar="TOKENS",
    )
    keys: str | None = option("Pictures", "draw only these keys, named as rows are", metavar="TOKENS")
    log: bool | None = option(
        "Pictures",
        f"logarithmic or linear colours (default: logarithmic above {LINEAR_UP_TO} tokens)",
        "--log/--linear",
    )
    scale: str = option(
        "Pictures",
        "shared: one colour scale for a text and kind; panel: a scale for each map (default: shared)",
        choices=SCALES,
        default=SCALES[0],
    )
