"""Texts from files, stdin and chats, read as a stream; and which parts of them have names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attncli.data import Text
from attncli.errors import UsageError
from attncli.inputs.chat_file import read_chat
from attncli.inputs.spans_file import read_spans
from attncli.inputs.tables import TABLES
from attncli.inputs.text_files import STDIN, check_exists, decoded_lines, display_name

__all__ = ["read_chat", "read_spans", "read_texts"]
DEFAULT_COLUMN = "text"


def read_texts(path: str | Path, column: str | None = None) -> Iterator[Text]:
    """The texts of a file one by one; `-` is stdin.

    A plain file has one text a line. `.jsonl`, `.csv`, `.tsv` and `.parquet` have one text a row, in `column`
    (default `text`). Blank texts are left out; a file without any other is a `UsageError`, as is all that is
    broken, some of it only when the reading comes to the place.
    """
    suffix = "" if str(path) == STDIN else Path(path).suffix.lower()
    known = ", ".join(TABLES)
    if suffix == ".json":
        raise UsageError(f"cannot tell what is a text in {path}: expected {known}, or plain text, one a line")
    check_exists(path)
    if reader := TABLES.get(suffix):
        return _not_blank(path, reader(Path(path), column or DEFAULT_COLUMN))
    if column is not None:
        raise UsageError(f"{display_name(path)} has no columns: --column '{column}' goes with {known}")
    return _not_blank(path, (line for line, _ in decoded_lines(path)))


def _not_blank(path: str | Path, texts: Iterator[str]) -> Iterator[Text]:
    any_text = False
    for text in texts:
        if text.strip():
            any_text = True
            yield Text(text)
    if not any_text:
        raise UsageError(f"{display_name(path)} holds no text: expected at least one that is not blank")
