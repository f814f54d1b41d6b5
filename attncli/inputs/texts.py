"""Texts given as strings, and texts and chats read from files and stdin."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attncli.data import Text
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.row_values import TextRow
from attncli.inputs.text_files import (
    STDIN,
    check_exists,
    check_text,
    display_name,
    open_bytes,
    read_file_text,
    read_json,
    type_name,
)
from attncli.inputs.text_rows import TABLES, decoded_lines, json_object, reader_of

Texts = str | Text | Sequence[str | Text]
_MANY_LINES, _SHORT_LINE = 20, 100
"""From how many lines on a file may be one text, and the characters that its median line then has at most."""


def parse_texts(text: Texts, pair: str | None = None, target: str | None = None) -> list[Text]:
    """Return texts as `Text` objects; raise UsageError if there is none or one is empty."""
    if not isinstance(text, str | Text) and (isinstance(text, dict | bytes) or not isinstance(text, Iterable)):
        raise UsageError(f"expected a text or several texts, got {type_name(text)}")
    given = [text] if isinstance(text, str | Text) else list(text)
    if not given:
        raise UsageError("there is no text to read: give at least one")
    for item in given:
        check_text("--text", item.text if isinstance(item, Text) else item)
    texts = [text if isinstance(text, Text) else Text(text) for text in given]
    options: dict[str, Any] = {"pair": pair, "target": target}
    options = {name: value for name, value in options.items() if value is not None}
    if options and len(texts) > 1:
        raise UsageError(f"--{next(iter(options))} goes with one text, got {len(texts)}: run them one by one")
    if options:
        texts = [replace(texts[0], **options)]
    for text in texts:
        for name, value in (("text", text.text), ("pair", text.pair), ("target", text.target)):
            if value is not None and not check_text(f"--{name}", value).strip() and not text.messages:
                raise UsageError(f"--{name} is empty: give at least one word")
    return texts


def read_chat(path: str | Path) -> Text:
    """Return a chat from a JSON file: a list of `{"role": …, "content": …}`, or an object with it as `messages`."""
    where, document = display_name(path), read_json(path)
    messages = document.get("messages") if isinstance(document, dict) else document
    if not isinstance(messages, list) or not messages:
        raise UsageError(f'{where}: expected a list of {{"role": …, "content": …}}, got {type_name(messages)}')
    checked = tuple(_check_message(f"{where}, message {n}", message) for n, message in enumerate(messages, start=1))
    return Text("\n".join(message["content"] for message in checked), messages=checked)


def _check_message(where: str, message: object) -> dict[str, str]:
    if not isinstance(message, dict):
        raise UsageError(f'{where}: expected {{"role": …, "content": …}}, got {type_name(message)}')
    for name in ("role", "content"):
        if name not in message:
            raise UsageError(f"{where} has no '{name}': {did_you_mean(name, message)}")
    for name, value in message.items():
        if not isinstance(value, str):
            raise UsageError(f"{where}: expected a text as '{name}', got {type_name(value)}")
        check_text(where, value)
    return dict(message)


def read_texts(path: str | Path, column: str | None = None) -> Iterator[Text]:
    """Return an iterator over the texts of a file; `-` is stdin.

    A plain file has one text per line. `.jsonl`, `.csv`, `.tsv` and `.parquet` have one text per row, in `column`
    (default `text`). Blank texts are skipped. Raises `UsageError` for a file without texts and for a broken file; some
    errors appear only when the iterator reaches them.
    """
    if str(path) == STDIN:
        if column is not None:
            raise UsageError(f"stdin has no columns: --column '{column}' goes with {', '.join(TABLES)}")
        return _not_blank(path, _stdin_rows())
    check_exists(path)
    return _not_blank(path, reader_of(Path(path), column).rows())


def read_whole_text(path: str | Path) -> str:
    """Return the whole text of a file, without line ends after it; `-` is stdin. Raise UsageError if it is blank."""
    check_exists(path)
    text = read_file_text(path).rstrip("\r\n")
    if not text.strip():
        raise UsageError(f"{display_name(path)} contains no text: expected at least one word")
    return text


def one_text_note(path: str | Path, texts: Sequence[Text]) -> str:
    """Return a note that a .txt file of many short lines may be one text; "" for any other file."""
    lengths = sorted(len(text.text) for text in texts)
    if Path(path).suffix.lower() != ".txt" or len(lengths) < _MANY_LINES or lengths[len(lengths) // 2] > _SHORT_LINE:
        return ""
    return f"{display_name(path)} is read as {len(lengths)} texts, one a line; --text-file reads it as one text"


def _not_blank(path: str | Path, rows: Iterator[TextRow]) -> Iterator[Text]:
    any_text = False
    for row in rows:
        if isinstance(row.text, UsageError):
            raise row.text
        if row.text.strip():
            any_text = True
            yield Text(row.text)
    if not any_text:
        raise UsageError(f"{display_name(path)} contains no text: expected at least one that is not blank")


def jsonl_rows(path: Path, what: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the objects of a JSON Lines file with their line numbers, without blank lines.

    what  what an object should contain, for errors
    """
    with open_bytes(path) as file:
        for line in decoded_lines(path, file):
            if line.error or line.text.strip():
                yield json_object(f"{path}, line {line.number}", line, what), line.number


def _stdin_rows() -> Iterator[TextRow]:
    """Yield the lines of stdin."""
    with open_bytes(STDIN) as file:
        for line in decoded_lines(STDIN, file):
            yield TextRow(line.offset, line.number, line.error or line.text)
