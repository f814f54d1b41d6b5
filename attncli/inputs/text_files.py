"""Files and stdin read as UTF-8 text or JSON; errors name the line or byte."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attncli.errors import UsageError, did_you_mean
from attncli.paths import is_special, what_is_at

STDIN = "-"
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def display_name(path: str | Path) -> str:
    """Return the name of a file for messages."""
    return "stdin" if str(path) == STDIN else str(path)


def read_lines(path: str | Path, keep_ends: bool = False) -> Iterator[tuple[str, int]]:
    """Yield the lines of a UTF-8 file with their numbers from 1; only `\\n` and `\\r\\n` end a line."""
    offset = 0
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            text = decode_utf8(path, line, offset, number)
            offset += len(line)
            yield (text if keep_ends else text.removesuffix("\n").removesuffix("\r")), number


def read_file_text(path: str | Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark."""
    with open_bytes(path) as file:
        return decode_utf8(path, file.read(), 0, 1)


def read_json(path: str | Path) -> object:
    """Return the JSON document in a file; raise UsageError if the file is missing or not JSON."""
    check_exists(path)
    name, text = display_name(path), read_file_text(path)
    try:
        document: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{name} is not JSON (line {error.lineno}, column {error.colno}): {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON that can be read: {error}") from error
    return document


def check_exists(path: str | Path) -> None:
    """Raise UsageError unless the path is stdin or an existing regular file."""
    if str(path) == STDIN:
        return
    found = what_is_at(path)
    if found == "folder":
        raise UsageError(f"expected a file, but {path} is a folder: name a file in it")
    if found == "nothing":
        raise UsageError(f"no such file: {path}{close_names(Path(path))}")
    check_regular(path)


def check_regular(path: str | Path) -> None:
    """Raise UsageError if the path exists but is a pipe, a device or a socket, which may never end."""
    if is_special(path):
        raise UsageError(f"expected a regular file, but {path} is a pipe or a device: save its content as a file first")


def close_names(path: Path) -> str:
    """Return `; did you mean …` with names in the folder of a path that are like its own, or ""."""
    try:
        hint = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""
    return f"; {hint}" if hint.startswith("did") else ""


@contextmanager
def open_bytes(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file or stdin in a `with` block; raise UsageError if it cannot be read."""
    buffer: Any = getattr(sys.stdin, "buffer", None)
    if str(path) == STDIN and buffer is None:
        raise UsageError("cannot read stdin: it is closed; pipe a file into it, or name the file")
    if str(path) != STDIN:
        check_regular(path)
    try:
        if str(path) == STDIN:
            yield buffer
            return
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot read {display_name(path)}: {error.strerror or error}") from error


def decode_utf8(path: str | Path, data: bytes, offset: int, line: int) -> str:
    """Return bytes without a byte order mark as text; raise UsageError if they are not UTF-8.

    offset, line  where they begin in the file
    """
    if offset == 0 and data.startswith(_BOM):
        data, offset = data.removeprefix(_BOM), len(_BOM)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = line + data.count(b"\n", 0, error.start)
        what = "it looks like UTF-16" if data.startswith(_UTF16) else f"0x{data[error.start]:02x}"
        position = f"byte {offset + error.start}, line {number}"
        raise UsageError(f"{display_name(path)} is not UTF-8 ({what} at {position}): convert it to UTF-8") from error


def check_text(where: str, text: object) -> str:
    """Return the text; raise UsageError if it is none, or has half a surrogate pair, which no tokenizer accepts."""
    if not isinstance(text, str):
        raise UsageError(f"{where}: expected a text, got {type_name(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}, half a surrogate pair"
        raise UsageError(f"{where}: expected characters, got {half}: repair the text") from error
    return text


def type_name(value: object) -> str:
    """Return the type of a JSON value in words, for errors."""
    if isinstance(value, (dict, list)) and not value:
        return "an empty list" if isinstance(value, list) else "an empty object"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
