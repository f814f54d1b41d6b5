"""Options of `attncli check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option


@dataclass(frozen=True)
class CheckOptions:
    """Options of `attncli check`."""

    format: Annotated[
        list[str] | None,
        Option(
            "Output", metavar="NAMES", help="further formats, with commas. Tables: parquet, jsonl; pictures: svg, pdf"
        ),
    ] = None
    record: Annotated[bool, Option("Check", help="record the numbers of this run as the baseline")] = False
    baseline: Annotated[
        str | None, Option("Check", metavar="PATH", help="file of the baseline, instead of the one named in FILE")
    ] = None
    junit: Annotated[str | None, Option("Check", metavar="PATH", help="write JUnit XML, which CI servers show")] = None
