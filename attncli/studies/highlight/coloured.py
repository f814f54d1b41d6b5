"""A text with a colour behind each token, ready to be drawn or written as a page, whatever the colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attncli.data.kinds import KNOWN, KindNames
from attncli.plotting.highlight_colours import LEVELS, SIGNED_LEVELS, level_colours, signed_colours
from attncli.studies.highlight import passage
from attncli.studies.highlight.passage import TextLine
from attncli.studies.highlight.result import Highlight


@dataclass(frozen=True)
class ColouredText:
    """One or several lines of text with weights, on one scale of colours.

    below    lines below the title
    ticks    five numbers at equal distances along the scale
    unit     what the numbers are
    looks    (look, meaning) of each look without a colour
    signed   whether the scale has 0 in its middle, else at its lower end
    shorter  what to do if there are too many lines for a picture
    """

    title: str
    below: Sequence[str]
    ticks: Sequence[str]
    unit: str
    looks: Sequence[tuple[str, str]]
    lines: Sequence[TextLine]
    signed: bool = False
    shorter: str = "choose fewer lines (--focus, --layer, --head), or --format html"

    @property
    def levels(self) -> int:
        """The number of colours."""
        return SIGNED_LEVELS if self.signed else LEVELS


def colours_of(signed: bool, dark: bool = False) -> tuple[str, ...]:
    """Return the colour of each level of a scale."""
    return signed_colours(dark) if signed else level_colours(dark)


def coloured_highlight(highlight: Highlight, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> ColouredText:
    """Return the text of a highlight with its weights."""
    lines = passage.text_lines(highlight)
    return ColouredText(
        passage.highlight_title(highlight, kinds),
        passage.lines_below(highlight, model, note),
        passage.scale_ticks(highlight),
        passage.scale_label(highlight),
        passage.legend_entries(highlight, lines),
        lines,
    )
