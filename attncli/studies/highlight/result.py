"""A text as heads see it from some of its words, or as it sees them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncli.data.tokens import Array, Direction, Kind, Tokens, read_only


@dataclass(frozen=True, eq=False)
class HighlightLine:
    """The weights of one place of the text, in one head.

    layer    its number, or `mean`
    head     its number, or what was done to heads: mean or max
    focus    name of the place, and
    at       the positions of its tokens
    weights  [token] of the painted side, NaN where undefined. From the focus: the mean over its tokens as queries; to
             it: the sum over its tokens as keys
    visible  [token] whether there is a weight at all: a token that sees, or is seen by, the focus
    """

    layer: int | str
    head: int | str
    focus: str
    at: tuple[int, ...]
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


@dataclass(frozen=True, eq=False)
class Highlight:
    """One text and kind of attention, with a line for each head and each place that is looked at.

    direction  from the focus (painted are the keys that it looks at), or to it (painted are the queries)
    painted    the tokens that have weights
    focused    those among which the focus is; the same unless queries and keys are two texts
    """

    kind: Kind
    direction: Direction
    painted: Tokens
    focused: Tokens
    lines: tuple[HighlightLine, ...]
    text: int = 0
    words: bool = False
    dropped_special: bool = False

    @property
    def across(self) -> bool:
        """Whether the focus is in another text than the one that is painted."""
        return self.kind == "cross"

    @cached_property
    def top(self) -> float:
        """The largest weight of all lines: the upper end of their one colour scale."""
        tops = [float(line.weights[line.drawn].max(initial=0.0)) for line in self.lines]
        return max(tops, default=0.0) or 1.0
