"""Options of `attncli highlight`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import DIRECTIONS


@dataclass(frozen=True)
class HighlightOptions:
    """What is looked at; of `highlight` alone."""

    focus: Annotated[
        str | None,
        Option(
            *("Focus", "--focus"),
            metavar="WORD",
            help="a word, it#2 for its second place, the position of a token, or all",
        ),
    ] = None
    direction: Annotated[
        str,
        Option("Focus", "--direction", choices=DIRECTIONS, help="attention from the focus, or to it (default: from)"),
    ] = "from"
