"""The option that says what maps are of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.cli.options import option

BYS = ("weight", "norm")


@dataclass(frozen=True)
class ByOptions:
    """How much heads look, or how much they write; of `heatmap`, `stats` and `flow`."""

    by: Annotated[
        str,
        option(
            *("Weights or norms", "--by"),
            among=BYS,
            help="weight: how much heads look; norm: how much they write, ‖A f(x)‖, see attncli explain "
            "value-weighted-norms (default: weight)",
        ),
    ] = "weight"
