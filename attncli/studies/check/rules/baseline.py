"""Baseline files: numbers that `attncli check --record` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attncli.errors import UsageError
from attncli.inputs.text_files import read_json, type_name
from attncli.studies.check.result import BASELINE_SCHEMA

_ADVICE = "record it again with --record"


@dataclass(frozen=True, eq=False)
class Recorded:
    """A baseline file.

    run      where the numbers come from
    reading  options that changed how texts were read
    numbers  each value by measure and head; None if undefined
    """

    path: Path
    run: Mapping[str, Any]
    reading: Mapping[str, Any]
    numbers: Mapping[str, Mapping[tuple[str, int, int], float | None]]


def read_baseline(path: Path) -> Recorded:
    """Return a baseline; raise UsageError if the file is not a baseline, or has another schema."""
    document: Any = read_json(path)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != BASELINE_SCHEMA:
        found = f"'{schema}'" if isinstance(schema, str) else type_name(document)
        raise UsageError(f"{path} is not a baseline: expected the schema {BASELINE_SCHEMA}, got {found}; {_ADVICE}")
    try:
        numbers: dict[str, dict[tuple[str, int, int], float | None]] = {}
        for row in document["heads"]:
            key = str(row["kind"]), int(row["layer"]), int(row["head"])
            for name in row.keys() - {"kind", "layer", "head"}:
                numbers.setdefault(name, {})[key] = None if row[name] is None else float(row[name])
        return Recorded(path, dict(document["run"]), dict(document["reading"]), numbers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is a damaged baseline ({type(error).__name__}: {error}): {_ADVICE}") from error
