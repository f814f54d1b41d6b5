"""The maps that `heatmap` draws."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attncli.engine.collected import Collected


@dataclass(frozen=True, eq=False)
class MapsToDraw:
    """The maps of all texts; they can be read once.

    runs      runs with their maps; if there are several, each is made when the one before it has been drawn
    texts     number of texts
    streamed  whether there may be several runs
    """

    runs: Iterable[Collected]
    texts: int
    streamed: bool
