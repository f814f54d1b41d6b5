"""The options that say what is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.cli.options import option

DIRECTIONS = ("from", "to")


@dataclass(frozen=True)
class FocusOptions:
    """What is looked at; of `highlight` alone."""

    focus: Annotated[
        str | None,
        option(
            *("Focus", "--focus"),
            metavar="WORD",
            help="a word, it#2 for its second place, the position of a token, or all",
        ),
    ] = None
    direction: Annotated[
        str,
        option("Focus", "--direction", among=DIRECTIONS, help="attention from the focus, or to it (default: from)"),
    ] = "from"
