"""Options of `attncli segments`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import DIVISIONS


@dataclass(frozen=True)
class SegmentsOptions:
    """How a text is divided into segments."""

    by: Annotated[
        str,
        Option(
            *("Segments", "--by"),
            choices=DIVISIONS,
            help="segment: texts of a pair, chat roles, generated tokens; paragraph: between blank lines; line "
            "(default: segments if there are several, else paragraphs)",
        ),
    ] = "auto"
    segments: Annotated[
        str | None,
        Option(
            *("Segments", "--segments"),
            metavar="FILE",
            help="JSON file of names with passages or spans (see attncli explain segments-file)",
        ),
    ] = None
