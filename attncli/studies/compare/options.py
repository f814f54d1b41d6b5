"""Options of `attncli compare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import DTYPES


@dataclass(frozen=True)
class CompareOptions:
    """How B differs from A, and what is compared."""

    dtype_b: Annotated[
        str | None,
        Option("Comparison", "--dtype-b", choices=DTYPES[1:], help="precision of B, if it differs from that of A"),
    ] = None
    revision_b: Annotated[
        str | None, Option("Comparison", "--revision-b", metavar="NAME", help="branch, tag or commit of B on the Hub")
    ] = None
    against_text: Annotated[
        list[str] | None,
        Option(
            *("Comparison", "--against-text"),
            metavar="TEXT",
            help="text that B reads instead of --text; one for each --text",
        ),
    ] = None
    metric: Annotated[
        list[str] | None,
        Option(
            *("Comparison", "--metric"),
            metavar="NAME",
            help="compare only this metric; may be repeated (see attncli explain)",
        ),
    ] = None
