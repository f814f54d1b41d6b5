"""A page of equal panels in rows, a block of rows for each kind of attention."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attncli.data import Kind
from attncli.data.kinds import KindNames
from attncli.plotting.axis import join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header

WIDEST_PAGE = 1400
"""Pixels of a page of panels: 9.3 inches at the default dpi, readable when it is scaled to the width of a paper."""
_MOST_COLUMNS = 6
_HEADING = 44


@dataclass(frozen=True)
class PanelSize:
    """The pixels of one panel of a page and of the space around it; `start` is space on the left of each row."""

    width: float
    height: float
    left: int
    above: int
    below: int
    right: int
    start: int = 0

    def columns(self, count: int) -> int:
        """Return how many of `count` panels stand side by side, so that rows fit the page and are about equally long.

        >>> PanelSize(250, 100, left=0, above=0, below=0, right=28, start=60).columns(10)
        4
        """
        room = WIDEST_PAGE - 2 * EDGE - self.start
        most = min(_MOST_COLUMNS, max(1, int((room + self.right) // (self.left + self.width + self.right))))
        return math.ceil(count / math.ceil(count / most))


def panel_page(
    title: str,
    lines: Sequence[str],
    counts: Mapping[Kind, int],
    kinds: KindNames,
    size: PanelSize,
    room: tuple[int, int] = (0, 0),
    right: int = 0,
) -> tuple[FigureLayout, dict[Kind, list[tuple[float, float]]]]:
    """Return a page of equal panels in rows, and for each kind the top left corners of its panels.

    Each kind has a heading above its panels, or in the title if it is the only one.

    counts  number of panels of each kind
    room    pixels above the first and below the last row, for colour bars and a legend
    right   pixels on the right of all panels, for a colour bar
    """
    several = len(counts) > 1
    heading = _HEADING if several else 0
    header = Header.of(title if several else join_parts(kinds.title(next(iter(counts))), title), *lines)
    columns = size.columns(max(counts.values()))
    across, down = size.left + size.width + size.right, size.above + size.height + size.below
    rows = sum(-(-count // columns) for count in counts.values())
    height = header.height + len(counts) * heading + rows * down + sum(room)
    page = FigureLayout.blank(2 * EDGE + size.start + columns * across + right, height, header)
    top: float = page.top + room[0]
    corners = {}
    for kind, count in counts.items():
        if several:
            page.write(EDGE, top + 8, kinds.title(kind), 9.5, weight="bold")
        top += heading
        corners[kind] = [
            (EDGE + size.start + n % columns * across + size.left, top + n // columns * down + size.above)
            for n in range(count)
        ]
        top += -(-count // columns) * down
    return page, corners
