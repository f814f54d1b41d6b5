"""Texts read from files and stdin as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attncli.data import Text
from attncli.errors import UsageError
from attncli.inputs.tables import TABLES
from attncli.inputs.text_files import STDIN, check_exists, display_name, read_lines

DEFAULT_COLUMN = "text"


def read_texts(path: str | Path, column: str | None = None) -> Iterator[Text]:
    """Return an iterator over the texts of a file; `-` is stdin.

    A plain file has one text per line. `.jsonl`, `.csv`, `.tsv` and `.parquet` have one text per row, in `column`
    (default `text`). Blank texts are skipped. Raises `UsageError` for a file without texts and for a broken file; some
    errors appear only when the iterator reaches them.
    """
    suffix = "" if str(path) == STDIN else Path(path).suffix.lower()
    known = ", ".join(TABLES)
    if suffix == ".json":
        raise UsageError(f"cannot tell what is a text in {path}: expected {known}, or plain text, one per line")
    check_exists(path)
    if reader := TABLES.get(suffix):
        return _not_blank(path, reader(Path(path), column or DEFAULT_COLUMN))
    if column is not None:
        raise UsageError(f"{display_name(path)} has no columns: --column '{column}' goes with {known}")
    return _not_blank(path, (line for line, _ in read_lines(path)))


def _not_blank(path: str | Path, texts: Iterator[str]) -> Iterator[Text]:
    any_text = False
    for text in texts:
        if text.strip():
            any_text = True
            yield Text(text)
    if not any_text:
        raise UsageError(f"{display_name(path)} contains no text: expected at least one that is not blank")
