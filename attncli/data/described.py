"""Short descriptions of results: what Python prints, and what a notebook shows."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from attncli.data.labels import escape_invisible

if TYPE_CHECKING:
    import pandas as pd

LONGEST_LINE = 160
ROWS = 12
"""Number of rows of a table that a notebook shows; it leaves out those in the middle."""


class Described:
    """A result that prints one or two lines instead of its arrays."""

    def _lines(self) -> Iterable[str]:
        """Return the lines that describe the result."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return the lines; characters that would break or reverse a line are escaped."""
        first, *others = (_readable(line) for line in self._lines() if line)
        return "\n".join((first, *(f"  {line}" for line in others)))


class Tabulated(Described):
    """A result that a notebook shows as a table below its lines."""

    def to_frame(self) -> pd.DataFrame:
        """Return the result as a pandas table."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        frame = self.to_frame()
        if len(frame) > ROWS:  # the texts of the others need not be made readable
            frame = frame.iloc[[*range(ROWS), *range(-ROWS, 0)]]
        frame = frame.copy()
        for name, column in frame.items():
            if column.dtype == object or str(column.dtype) in ("category", "str", "string"):
                frame[name] = column.astype(object).map(
                    lambda entry: _readable(entry) if isinstance(entry, str) else entry
                )
        table = frame.to_html(max_rows=ROWS, float_format="{:.4g}".format, na_rep="", index=False, border=0)
        return f"<div>{'<br>'.join(map(html.escape, repr(self).splitlines()))}</div>{table}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "text"), counted(1200, "head")
    ('1 text', '1,200 heads')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Iterable[Any], most: int = 8) -> str:
    """Return the first names, separated by commas."""
    names = list(map(str, names))
    return ", ".join([*names[:most], *(["…"] if len(names) > most else [])])


def _readable(line: str) -> str:
    escaped = escape_invisible(line)
    return escaped if len(escaped) <= LONGEST_LINE else escaped[: LONGEST_LINE - 1] + "…"
