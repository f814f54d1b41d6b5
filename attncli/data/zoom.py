"""The window of tokens that a map shows, in cells of one or more tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from attncli.data.tokens import RowsAs
from attncli.errors import UsageError

Span = tuple[int, int]
"""First and last position; negative positions count from the end."""
Pooling = Literal["none", "mean", "max"]
Combining = Literal["mean", "max", "weighted"]
"""How heads are combined into one."""


def combined_name(how: str) -> str:
    """Return how people call a way to combine heads.

    >>> combined_name("weighted"), combined_name("max")
    ('weighted mean', 'max')
    """
    return "weighted mean" if how == "weighted" else how


@dataclass(frozen=True)
class TokenWindow:
    """The tokens along one side of a map, in cells of equal size; the last cell may hold fewer tokens.

    first, last  positions of the first and the last token in the text
    cell         number of tokens in a cell
    """

    first: int
    last: int
    cell: int = 1

    def __len__(self) -> int:
        """Return the number of cells."""
        return -(-self.tokens // self.cell)

    @property
    def tokens(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Zoom:
    """The part of each map to show, and how to pool long maps.

    resolution  largest number of cells on a side; longer sides are pooled. None: one cell per token
    pool        how the visible (query, key) pairs of a cell are combined
    rows, keys  the queries and keys to show: positions, or names of tokens, which differ from text to text; None: all
    rows_as     which rows stand for the queries; None: their own, or for queries with a name the default for it
    panel       largest number of cells on a pooled side if it must be smaller than `resolution`, as in small panels
    beside      what is pooled beside the heads: the mean, the maximum over all heads, or both
    """

    resolution: int | None = None
    pool: Literal["mean", "max"] = "mean"
    rows: Span | str | None = None
    keys: Span | str | None = None
    rows_as: RowsAs | None = None
    panel: int | None = None
    beside: tuple[Combining, ...] = ()

    @property
    def windowed(self) -> bool:
        """Whether only a part of the text is shown."""
        return (self.rows, self.keys) != (None, None) or self.rows_as == "predicted"

    def sides(self, queries: int, keys: int) -> tuple[TokenWindow, TokenWindow]:
        """Return the shown part of `queries` query tokens and `keys` key tokens; raise UsageError if it is outside.

        Rows and keys must be positions: `attncli.engine.windows.located` finds those of names.
        """
        windows = (_window(self.rows, queries, "rows", "query"), _window(self.keys, keys, "keys", "key"))
        if self.resolution is None or max(window.tokens for window in windows) <= self.resolution:
            return windows
        max_cells = min(self.resolution, self.panel or self.resolution)
        rows, columns = (TokenWindow(side.first, side.last, -(-side.tokens // max_cells)) for side in windows)
        return rows, columns

    def for_stream(self, one_layer: bool) -> Zoom:
        """Return what can be done while maps stream: a mean over layers (`one_layer`) must be complete to be pooled."""
        return replace(self, resolution=None) if one_layer else self

    def changes(self, queries: int, keys: int) -> bool:
        """Return whether a text of this size is cut or pooled."""
        return self.windowed or self.sides(queries, keys) != Zoom().sides(queries, keys)


def _window(span: Span | str | None, tokens: int, option: str, side: str) -> TokenWindow:
    if span is None:
        return TokenWindow(0, tokens - 1)
    if isinstance(span, str):
        raise TypeError(f"expected the positions of '{span}'")
    first, last = (position + tokens if position < 0 else position for position in span)
    if not 0 <= first <= last < tokens:
        text = str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"
        raise UsageError(f"--{option} {text} is outside the text: it has {tokens} {side} tokens, 0-{tokens - 1}")
    return TokenWindow(first, last)
