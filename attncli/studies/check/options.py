"""Options of `attncli check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option


@dataclass(frozen=True)
class CheckOptions:
    """What becomes of the verdicts beside the usual files."""

    format: Annotated[
        list[str] | None,
        Option(
            *("Output", "--format"),
            metavar="NAMES",
            help="tables: also parquet, jsonl; pictures: also svg, pdf; with commas",
        ),
    ] = None
    record: Annotated[bool, Option("Check", "--record", help="make today's numbers the baseline")] = False
    baseline: Annotated[
        str | None,
        Option("Check", "--baseline", metavar="PATH", help="the file of the baseline, instead of that in FILE"),
    ] = None
    junit: Annotated[
        str | None, Option("Check", "--junit", metavar="PATH", help="also JUnit XML, which CI servers show")
    ] = None
