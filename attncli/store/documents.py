"""What an analysis found: one JSON document with everything, in the other formats a file for each table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attncli.data import RunInfo
from attncli.store.folder import OutputFolder, run_document
from attncli.store.tables import Columns, records, write_tables
from attncli.store.text import json_text, plain


def analysis_document(
    schema: str, info: RunInfo, more: Mapping[str, Any], tables: Mapping[str, Columns]
) -> dict[str, Any]:
    """The contents of its JSON file: where it comes from, then `more`, then its tables."""
    found = {name: list(records(columns)) for name, columns in tables.items()}
    return {"schema": schema, "run": run_document(info, given=False), **plain(more), **found}


def write_analysis(
    folder: OutputFolder, document: Mapping[str, Any], tables: Mapping[str, Columns], formats: Sequence[str]
) -> None:
    """Write `<command>.json`, and each table under its own name: `<command>.csv` and what stands beside it."""
    if "json" in formats:
        folder.write_text(f"{folder.command}.json", json_text(document))
    write_tables(folder, tables, formats, document["schema"])
