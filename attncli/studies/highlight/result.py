"""The attention from or to chosen words of a text."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from attncli.data.cached import cached_property
from attncli.data.described import Described, counted, listed
from attncli.data.tokens import Array, Direction, Kind, RowsAs, Tokens, read_only


@dataclass(frozen=True, eq=False, repr=False)
class HighlightLine(Described):
    """The weights from or to one occurrence of the focus, in one head.

    layer      its number, or `mean`
    head       its number, or how heads are combined: mean, max or weighted
    focus      the text of the focus
    positions  positions of its tokens
    weights    [token] of the side that has weights, NaN where undefined. From the focus: the mean over its tokens as
               queries; to it: the sum over its tokens as keys
    visible    [token] whether there is a weight at all: the token is visible to the focus, or the focus to it
    """

    layer: int | str
    head: int | str
    focus: str
    positions: tuple[int, ...]
    weights: Array
    visible: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", read_only(self.weights, np.float32))
        object.__setattr__(self, "visible", read_only(self.visible, np.bool_))

    @property
    def drawn(self) -> Array:
        """[token] whether it has a weight that can be shown."""
        drawn: Array = self.visible & np.isfinite(self.weights)
        return drawn

    def _lines(self) -> Iterable[str]:
        where = f"layer {self.layer}, head {self.head}"
        weights = counted(len(self.weights), "weight")
        yield f"HighlightLine of {where}: {weights} of {self.focus} at {listed(self.positions)}"


@dataclass(frozen=True, eq=False, repr=False)
class Highlight(Described):
    """One text and kind of attention, with a line for each head and each occurrence of the focus.

    direction  from the focus (its keys have weights), or to it (its queries have weights)
    weighted   tokens that have weights
    focused    tokens of the text that contains the focus: the same tokens, except in cross-attention
    rows_as    which rows stand for the queries: their own, or those that predict them
    """

    kind: Kind
    direction: Direction
    weighted: Tokens
    focused: Tokens
    lines: tuple[HighlightLine, ...]
    text: int = 0
    words: bool = False
    dropped_special: bool = False
    rows_as: RowsAs = "input"

    @property
    def common(self) -> dict[str, int | str]:
        """The layer and the head, as far as they are the same in all lines."""
        values = {name: {getattr(line, name) for line in self.lines} for name in ("layer", "head")}
        return {name: different.pop() for name, different in values.items() if len(different) == 1}

    @property
    def across(self) -> bool:
        """Whether the focus is in another text than the weights."""
        return self.kind == "cross"

    @cached_property
    def top(self) -> float:
        """The largest weight of all lines: the upper end of their one colour scale."""
        tops = [float(line.weights[line.drawn].max(initial=0.0)) for line in self.lines]
        return max(tops, default=0.0) or 1.0

    def _lines(self) -> Iterable[str]:
        focus = listed(dict.fromkeys(line.focus for line in self.lines), 4)
        yield f"Highlight ({self.kind}, text {self.text}): attention {self.direction} {focus}"
        lines = f"{counted(len(self.lines), 'line')} of {counted(len(self.weighted), 'token')}"
        yield f"{lines}, weights up to {self.top:.3g}"
