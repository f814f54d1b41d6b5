"""Which part of a text a map shows, and how fine: a window of its tokens, and how many of them share a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attncli.errors import UsageError

Span = tuple[int, int]
"""First and last position; negative ones count from the end."""
Pooling = Literal["none", "mean", "max"]


@dataclass(frozen=True)
class TokenWindow:
    """The tokens along one side of a map, in cells of equal size; the last cell may hold fewer.

    first, last  positions of the first and the last token in their text
    cell         tokens in a cell
    """

    first: int
    last: int
    cell: int = 1

    def __len__(self) -> int:
        """How many cells."""
        return -(-self.tokens // self.cell)

    @property
    def tokens(self) -> int:
        """How many tokens."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class Zoom:
    """What to show of maps that may be long.

    resolution  most cells a side: longer sides are pooled; None: every token has its own
    pool        what a cell is of its visible (query, key) pairs
    rows, keys  the queries and keys to show; None: all
    panel       most cells a side where one is pooled at all, as a panel of a page has no more pixels
    """

    resolution: int | None = None
    pool: Literal["mean", "max"] = "mean"
    rows: Span | None = None
    keys: Span | None = None
    panel: int | None = None

    @property
    def windowed(self) -> bool:
        """Whether less than the whole text is wanted."""
        return (self.rows, self.keys) != (None, None)

    def sides(self, queries: int, keys: int) -> tuple[TokenWindow, TokenWindow]:
        """What is shown of a text with so many queries and keys; a window outside of it is a `UsageError`."""
        whole = (_window(self.rows, queries, "rows", "query"), _window(self.keys, keys, "keys", "key"))
        if self.resolution is None or max(side.tokens for side in whole) <= self.resolution:
            return whole
        most = min(self.resolution, self.panel or self.resolution)
        rows, columns = (TokenWindow(side.first, side.last, -(-side.tokens // most)) for side in whole)
        return rows, columns

    def changes(self, queries: int, keys: int) -> bool:
        """Whether such a text is shown other than whole and token by token."""
        return self.windowed or self.sides(queries, keys) != Zoom().sides(queries, keys)


def _window(span: Span | None, tokens: int, option: str, side: str) -> TokenWindow:
    if span is None:
        return TokenWindow(0, tokens - 1)
    first, last = (position + tokens if position < 0 else position for position in span)
    if not 0 <= first <= last < tokens:
        shown = str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"
        raise UsageError(f"--{option} {shown} lies outside of the text: it has {tokens} {side} tokens, 0-{tokens - 1}")
    return TokenWindow(first, last)
