"""What became of rules: check.json and its tables, and the file of a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attncli.data import Input, Kind, RunInfo
from attncli.store.documents import analysis_document, write_analysis
from attncli.store.files import make_folder, write_atomic
from attncli.store.folder import OutputFolder, run_document
from attncli.store.text import json_text, plain
from attncli.studies.check.result import BASELINE_SCHEMA, Checked

SCHEMA = "attncli.check/1"
Numbers = Mapping[str, Mapping[tuple[Kind, int, int], float]]


def write_check(
    folder: OutputFolder, info: RunInfo, file: str, inputs: Sequence[Input], found: Checked, formats: Sequence[str]
) -> dict[str, Any]:
    """Write `check`, and `check-cases` and `check-drifts` where there are any; returns the document."""
    tables = {"rules": found.table(), "cases": found.cases_table(), "drifts": found.drifts_table()}
    texts = [{"index": one.index, "text": one.text.text, **_more(one)} for one in inputs]
    head = {"file": file, "holds": found.holds, "tolerance": found.tolerance, "inputs": texts}
    document = analysis_document(SCHEMA, info, head, tables)
    names = {"rules": "check", "cases": "check-cases", "drifts": "check-drifts"}
    written = {names[name]: table for name, table in tables.items() if name == "rules" or len(table["kind"])}
    write_analysis(folder, document, written, formats)
    return document


def _more(one: Input) -> dict[str, str]:
    given = {"pair": one.text.pair, "target": one.text.target}
    return {name: text for name, text in given.items() if text is not None}


def write_baseline(path: Path, info: RunInfo, reading: Mapping[str, Any], numbers: Numbers) -> None:
    """Write the numbers of every head as a baseline.

    reading  how the texts were read: other numbers come of other ways
    """
    places = list(next(iter(numbers.values()), {}))
    heads = [
        {
            **dict(zip(("kind", "layer", "head"), place, strict=True)),
            **{name: plain(of[place]) for name, of in numbers.items()},
        }
        for place in places
    ]
    document: dict[str, Any] = {
        "schema": BASELINE_SCHEMA,
        "run": run_document(info, given=False),
        "reading": plain(reading),
        "heads": heads,
    }
    document["run"]["resolved"] = {}
    make_folder(path.parent)
    write_atomic(path, json_text(document).encode())
