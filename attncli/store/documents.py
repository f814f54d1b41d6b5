"""Results of analyses as files: one JSON document with everything, and one file per table in other formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attncli.data import RunInfo
from attncli.store.folder import OutputFolder, run_document
from attncli.store.tables import TableColumns, records, write_tables
from attncli.store.text import json_text, plain


def analysis_document(
    schema: str, info: RunInfo, more: Mapping[str, Any], tables: Mapping[str, TableColumns]
) -> dict[str, Any]:
    """Return the JSON document of an analysis: schema and run, then `more`, then the tables as lists of rows."""
    values = {name: plain(value) for name, value in more.items()}
    rows = {name: list(records(columns)) for name, columns in tables.items()}
    return {"schema": schema, "run": run_document(info, given=False), **values, **rows}


def write_analysis(
    folder: OutputFolder, document: Mapping[str, Any], tables: Mapping[str, TableColumns], formats: Sequence[str]
) -> None:
    """Write the document as `<command>.json` and each table as `<name>.<format>`, for the given formats."""
    if "json" in formats:
        folder.write_text(f"{folder.command}.json", json_text(document))
    write_tables(folder, tables, formats, document["schema"])
