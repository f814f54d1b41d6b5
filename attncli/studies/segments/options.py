"""Options of `attncli segments`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import DIVISIONS


@dataclass(frozen=True)
class SegmentsOptions:
    """How a text is divided; of `segments` alone."""

    by: Annotated[
        str,
        Option(
            *("Segments", "--by"),
            choices=DIVISIONS,
            help="segment: pair, chat roles, what the model wrote; paragraph: between blank lines; line "
            "(default: segments where there are several, else paragraphs)",
        ),
    ] = "auto"
    segments: Annotated[
        str | None,
        Option(
            *("Segments", "--segments"),
            metavar="FILE",
            help="JSON: name and list of passages or spans (see attncli explain segments-file)",
        ),
    ] = None
