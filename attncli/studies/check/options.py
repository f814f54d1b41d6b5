"""Options of `attncli check`."""

from dataclasses import dataclass

from attncli.options import option


@dataclass(frozen=True)
class CheckOptions:
    """Options of `attncli check`."""

    format: list[str] | None = option(
        "Output", "further formats, with commas. Tables: parquet, jsonl; pictures: svg, pdf", metavar="NAMES"
    )
    record: bool = option("Check", "record the numbers of this run as the baseline", default=False)
    baseline: str | None = option("Check", "file of the baseline, instead of the one named in FILE", metavar="PATH")
    junit: str | None = option("Check", "write JUnit XML, which CI servers show", metavar="PATH")
