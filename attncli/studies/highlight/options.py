"""Options of `attncli highlight`."""

from dataclasses import dataclass

from attncli.options import option
from attncli.vocabulary import DIRECTIONS


@dataclass(frozen=True)
class HighlightOptions:
    """The focus whose attention is shown on the text."""

    focus: str | None = option(
        "Focus", "a word, it#2 for its second occurrence, the position of a token, or all", metavar="WORD"
    )
    direction: str = option(
        "Focus", "attention from the focus, or to it (default: from)", choices=DIRECTIONS, default=DIRECTIONS[0]
    )
