"""Options of `attncli segments`."""

from dataclasses import dataclass

from attncli.options import option
from attncli.vocabulary import DIVISIONS


@dataclass(frozen=True)
class SegmentsOptions:
    """How a text is divided into segments."""

    divide: str = option(
        "Segments",
        "segment: texts of a pair, chat roles, generated tokens; paragraph: between blank lines; line "
        "(default: segments if there are several, else paragraphs)",
        choices=DIVISIONS,
        default="auto",
        former=("--by",),
    )
    segments: str | None = option(
        "Segments", "JSON file of names with passages or spans (see attncli explain segments-file)", metavar="FILE"
    )
