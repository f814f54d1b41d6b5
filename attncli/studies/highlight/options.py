"""Options of `attncli highlight`."""

from dataclasses import dataclass

from attncli.options import RowsOptions, option
from attncli.vocabulary import DIRECTIONS, TOKEN_NAMES


@dataclass(frozen=True)
class HighlightOptions(RowsOptions):
    """The focus whose attention is shown on the text."""

    focus: str | None = option("Focus", TOKEN_NAMES, metavar="TOKENS")
    direction: str = option(
        "Focus", "attention from the focus, or to it (default: from)", choices=DIRECTIONS, default=DIRECTIONS[0]
    )
