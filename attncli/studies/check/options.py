"""Options of `attncli check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option


@dataclass(frozen=True)
class CheckOptions:
    """Options of `attncli check`.

    format    file formats
    record    whether the numbers of this run become the baseline
    baseline  path of the baseline, instead of that in the file
    junit     path of JUnit XML
    """

    format: Annotated[
        list[str] | None,
        Option(
            *("Output", "--format"),
            metavar="NAMES",
            help="further formats, with commas. Tables: parquet, jsonl; pictures: svg, pdf",
        ),
    ] = None
    record: Annotated[bool, Option("Check", "--record", help="record the numbers of this run as the baseline")] = False
    baseline: Annotated[
        str | None,
        Option("Check", "--baseline", metavar="PATH", help="file of the baseline, instead of the one named in FILE"),
    ] = None
    junit: Annotated[
        str | None, Option("Check", "--junit", metavar="PATH", help="write JUnit XML, which CI servers show")
    ] = None
