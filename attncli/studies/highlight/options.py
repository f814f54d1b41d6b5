"""Options of `attncli highlight`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import DIRECTIONS


@dataclass(frozen=True)
class HighlightOptions:
    """The focus whose attention is shown on the text."""

    focus: Annotated[
        str | None,
        Option(
            *("Focus", "--focus"),
            metavar="WORD",
            help="a word, it#2 for its second occurrence, the position of a token, or all",
        ),
    ] = None
    direction: Annotated[
        str,
        Option("Focus", "--direction", choices=DIRECTIONS, help="attention from the focus, or to it (default: from)"),
    ] = DIRECTIONS[0]
