"""Files and stdin as UTF-8 text; what cannot be read is named by line or byte."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attncli.errors import UsageError, did_you_mean

STDIN = "-"
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def display_name(path: str | Path) -> str:
    """How messages call a file."""
    return "stdin" if str(path) == STDIN else str(path)


def decoded_lines(path: str | Path, keep_ends: bool = False) -> Iterator[tuple[str, int]]:
    """Lines of a UTF-8 file with their numbers from 1; only line feeds end a line, `\\r\\n` counts as one."""
    offset = 0
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(_BOM) if number == 1 else line
            text = decode(path, content, offset + len(line) - len(content), number)
            offset += len(line)
            yield (text if keep_ends else text.removesuffix("\n").removesuffix("\r")), number


def decoded_whole(path: str | Path) -> str:
    """A UTF-8 file in one piece."""
    with opened(path) as file:
        data = file.read()
    content = data.removeprefix(_BOM)
    return decode(path, content, len(data) - len(content), 1)


def check_exists(path: str | Path) -> None:
    """A `UsageError` unless the path is stdin or some file."""
    if str(path) == STDIN:
        return
    if Path(path).is_dir():
        raise UsageError(f"expected a file, but {display_name(path)} is a folder: name a file in it")
    if not Path(path).exists():
        raise UsageError(f"no such file: {display_name(path)}{_neighbours(Path(path))}")


def _neighbours(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    hint = did_you_mean(path.name, names)
    return f"; {hint}" if hint.startswith("did") else ""


@contextmanager
def opened(path: str | Path) -> Iterator[IO[bytes]]:
    """The bytes of a file or of stdin."""
    if str(path) == STDIN:
        yield sys.stdin.buffer
        return
    try:
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot read {display_name(path)}: {error.strerror or error}") from error


def decode(path: str | Path, data: bytes, offset: int, line: int) -> str:
    """Bytes that begin at this offset and line of a file, as text."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = line + data.count(b"\n", 0, error.start)
        what = "it looks like UTF-16" if data.startswith(_UTF16) else f"0x{data[error.start]:02x}"
        place = f"byte {offset + error.start}, line {number}"
        raise UsageError(f"{display_name(path)} is not UTF-8 ({what} at {place}): convert it to UTF-8") from error


def check_text(where: str, text: str) -> str:
    """The text itself; a `UsageError` where it holds what no tokenizer can take."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}, half a surrogate pair"
        raise UsageError(f"{where}: expected characters, got {half}: repair the text") from error
    return text


def type_name(value: Any) -> str:
    """What a JSON value is, in words for an error."""
    if isinstance(value, (dict, list)) and not value:
        return "an empty list" if isinstance(value, list) else "an empty object"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)


def decoded_json(path: str | Path) -> Any:
    """The JSON document in a file; a `UsageError` where there is no file, or no JSON in it."""
    check_exists(path)
    where, text = display_name(path), decoded_whole(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{where} is not JSON ({place}): {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON that can be read: {error}") from error
