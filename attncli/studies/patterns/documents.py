"""What heads do, as documents and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from attncli.data import Input, RunInfo, Scores
from attncli.store.folder import OutputFolder
from attncli.store.tables import document_head, records, write_tables
from attncli.store.text import json_text
from attncli.studies.patterns.result import Patterns
from attncli.studies.repeated.result import Repeated

SCHEMA, REPEATED_SCHEMA = "attncli.patterns/1", "attncli.repeated/1"
Questions = Mapping[str, str]


def write_patterns(
    folder: OutputFolder,
    info: RunInfo,
    inputs: Sequence[Input],
    patterns: Patterns,
    questions: tuple[Questions, Questions],
    formats: Sequence[str],
) -> dict[str, Any]:
    """Write `patterns` and `patterns-layers`; JSON holds both in one document, which is returned.

    questions  that the classes answer, and the numbers
    """
    tables = {"patterns": patterns.table(), "patterns-layers": patterns.layers_table()}
    document = {
        **document_head(SCHEMA, info, inputs, tables["patterns"]),
        "thresholds": asdict(patterns.thresholds),
        "classes": dict(questions[0]),
        "numbers": _declared({**patterns.heads, "differentiation": patterns.layers["differentiation"]}, questions[1]),
        "heads": [{**head, "classes": head["classes"].split()} for head in records(tables["patterns"])],
        "layers": list(records(tables["patterns-layers"])),
    }
    if "json" in formats:
        folder.write_text("patterns.json", json_text(document))
    write_tables(folder, tables, formats, SCHEMA)
    return document


def write_repeated(
    folder: OutputFolder,
    info: RunInfo,
    inputs: Sequence[Input],
    found: Repeated,
    questions: Questions,
    formats: Sequence[str],
) -> dict[str, Any]:
    """Write `repeated`; returns the document."""
    tables = {"repeated": found.table()}
    document = {
        **document_head(REPEATED_SCHEMA, info, inputs, tables["repeated"]),
        "length": found.length,
        "seeds": list(found.seeds),
        "numbers": _declared({name: found.heads[name] for name in questions}, questions),
        "heads": list(records(tables["repeated"])),
    }
    if "json" in formats:
        folder.write_text("repeated.json", json_text(document))
    write_tables(folder, tables, formats, REPEATED_SCHEMA)
    return document


def _declared(scores: Mapping[str, Scores], questions: Questions) -> dict[str, Any]:
    return {
        name: {
            "unit": each.unit,
            "range": list(each.range),
            "source": each.source,
            "question": questions[name],
        }
        for name, each in scores.items()
    }
