"""Recorded numbers, as `attncli check --record` wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attncli.errors import UsageError
from attncli.inputs.text_files import read_json, type_name
from attncli.studies.check.result import BASELINE_SCHEMA

_ANEW = "record it again with --record"


@dataclass(frozen=True, eq=False)
class Recorded:
    """A baseline: the run that it is of, how texts were read, and each number by measure and head; None: undefined."""

    path: Path
    run: Mapping[str, Any]
    reading: Mapping[str, Any]
    numbers: Mapping[str, Mapping[tuple[str, int, int], float | None]]


def read_baseline(path: Path) -> Recorded:
    """A baseline; what is none, or of another schema, is a `UsageError`."""
    document: Any = read_json(path)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != BASELINE_SCHEMA:
        got = f"'{schema}'" if isinstance(schema, str) else type_name(document)
        raise UsageError(f"{path} is no baseline: expected the schema {BASELINE_SCHEMA}, got {got}; {_ANEW}")
    try:
        numbers: dict[str, dict[tuple[str, int, int], float | None]] = {}
        for row in document["heads"]:
            place = str(row["kind"]), int(row["layer"]), int(row["head"])
            for name in row.keys() - {"kind", "layer", "head"}:
                numbers.setdefault(name, {})[place] = None if row[name] is None else float(row[name])
        return Recorded(path, dict(document["run"]), dict(document["reading"]), numbers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is a damaged baseline ({type(error).__name__}: {error}): {_ANEW}") from error
