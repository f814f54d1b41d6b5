"""The options that say how a text is divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.cli.options import option

WAYS = ("auto", "segment", "paragraph", "line")


@dataclass(frozen=True)
class SegmentOptions:
    """How a text is divided; of `segments` alone."""

    by: Annotated[
        str,
        option(
            *("Segments", "--by"),
            among=WAYS,
            help="segment: pair, chat roles, what the model wrote; paragraph: between blank lines; line "
            "(default: segments where there are several, else paragraphs)",
        ),
    ] = "auto"
    segments: Annotated[
        str | None,
        option(
            *("Segments", "--segments"),
            metavar="FILE",
            help="JSON: name and list of passages or spans (see attncli explain segments-file)",
        ),
    ] = None
