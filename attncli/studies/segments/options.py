"""Options of `attncli segments`."""

from dataclasses import dataclass

from attncli.options import RowsOptions, option
from attncli.vocabulary import DIVISIONS


@dataclass(frozen=True)
class SegmentsOptions(RowsOptions):
    """How a text is divided into segments, and which of them are read."""

    divide: str = option(
        "Segments",
        "segment: texts of a pair, chat roles, generated tokens; paragraph: between blank lines; line; "
        "sentence (default: segments if there are several, else paragraphs)",
        choices=DIVISIONS,
        default="auto",
        former=("--by",),
    )
    segments: str | None = option(
        "Segments", "JSON file of names with passages or spans (see attncli explain segments-file)", metavar="FILE"
    )
    query: str | None = option("Segments", "only attention from this segment, such as generated", metavar="NAME")
    key: str | None = option("Segments", "only attention to this segment; ranks heads by it", metavar="NAME")
