"""What readers of rows share: the row, and the checks of its column and its cell."""

from __future__ import annotations

from typing import NamedTuple

from attncli.errors import UsageError, did_you_mean
from attncli.inputs.text_files import check_text, type_name


class TextRow(NamedTuple):
    """A row that holds one text.

    offset  where reading can begin again with this row: bytes in a file of lines, else the number of rows before it
    number  its number from 1, as errors name it
    text    the text, or what is wrong with the row
    """

    offset: int
    number: int
    text: str | UsageError


class MissingColumnError(UsageError):
    """A file has no column of that name, or several."""


def check_column(where: str, column: str, known: list[str]) -> None:
    """Raise UsageError if a column is not among those that are known."""
    if column not in known:
        hint = did_you_mean(column, known)
        columns = f" (columns: {', '.join(known)})" if hint.startswith("did") else ""
        raise MissingColumnError(f"{where} has no column '{column}': {hint}{columns}; choose one with --column")


def cell_text(where: str, column: str, cell: object) -> str:
    """Return a cell as a text; raise UsageError if it is none."""
    if not isinstance(cell, str):
        raise UsageError(f"{where}: expected a text in column '{column}', got {type_name(cell)}")
    return check_text(where, cell)
