"""Text for files: JSON that every parser accepts, plain values, safe names."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

# half surrogates are not valid UTF-8; the others end lines, or hide or reverse text in editors and browsers
_ESCAPED = re.compile("[\ud800-\udfff\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")


def json_text(document: Mapping[str, Any]) -> str:
    """Return a document as JSON text: always the same text, one line per entry; raise ValueError for NaN.

    >>> print(json_text({"heads": [{"head": 0}, {"head": 1}]}), end="")
    {
    "heads": [
     {"head": 0},
     {"head": 1}]
    }
    """
    # the indent option of json is slow, and puts each number of a long list on a line
    return "{\n" + ",\n".join(f"{_dumps(name)}: {_entries(value)}" for name, value in document.items()) + "\n}\n"


def _entries(value: object) -> str:
    if isinstance(value, Mapping) and value:
        return "{\n " + ",\n ".join(f"{_dumps(key)}: {_dumps(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        return "[\n " + ",\n ".join(map(_dumps, value)) + "]"
    return _dumps(value)


def json_line(document: object) -> str:
    """Return a value as one line of JSON Lines."""
    return _dumps(document) + "\n"


def parse_object(text: str) -> dict[str, Any] | None:
    """Return a JSON object; None if the text is another value, or no JSON."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _dumps(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def plain(value: Any) -> Any:
    """Return a value of JSON types: paths become text, tuples and sets lists, NumPy values numbers, NaN null."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(entry) for entry in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def slug(name: str) -> str:
    """Return a model name as a folder name: `org/name` → `org--name`, a path → its last part.

    >>> slug("sentence-transformers/all-MiniLM-L6-v2"), slug("/models/mine/"), slug("../..")
    ('sentence-transformers--all-MiniLM-L6-v2', 'mine', 'model')
    """
    if name.startswith(("/", ".", "~")) or "\\" in name:
        name = PurePosixPath(name.replace("\\", "/")).name
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name.strip("/").replace("/", "--"))
    return safe.strip(".-")[:80].rstrip(".-") or "model"


def path_inside(folder: Path, name: str) -> Path | None:
    """Return the path of a file named in a manifest; None if it is not inside the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or re.search(r"[\\:\0]", name):
        return None
    path = folder.joinpath(*parts)
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def utf8(text: str) -> bytes:
    """Return text as UTF-8; half surrogates, which UTF-8 cannot encode, are written as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace")
