"""Options of `attncli compare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option


@dataclass(frozen=True)
class CompareOptions:
    """How B differs from A; of `compare` alone."""

    dtype_b: Annotated[
        str | None,
        Option(
            "Comparison",
            "--dtype-b",
            choices=("float32", "bfloat16", "float16"),
            help="the precision of B, where it is not that of A",
        ),
    ] = None
    revision_b: Annotated[
        str | None,
        Option("Comparison", "--revision-b", metavar="NAME", help="branch, tag or commit of B on the Hub"),
    ] = None
    against_text: Annotated[
        list[str] | None,
        Option("Comparison", "--against-text", metavar="TEXT", help="what B reads instead of --text; as often as that"),
    ] = None
    metric: Annotated[
        list[str] | None,
        Option(
            "Comparison",
            "--metric",
            metavar="NAME",
            help="only the change of this one; may be repeated (see attncli explain)",
        ),
    ] = None
