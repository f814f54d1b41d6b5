"""Rollout and attention flow as documents and tables: schema `attncli.flow/1`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from attncli.data import Array, RunInfo
from attncli.store.folder import OutputFolder, run_document
from attncli.store.tables import mark_unit, table_csv, table_jsonl, table_parquet
from attncli.store.text import json_text, plain, utf8
from attncli.studies.flow.result import Flow

SCHEMA = "attncli.flow/1"


def write_flows(folder: OutputFolder, info: RunInfo, flows: Sequence[Flow], formats: Iterable[str]) -> dict[str, Any]:
    """Write `flow.<format>`; returns the contents of `flow.json`."""
    document, columns = flow_document(info, flows), flow_table(flows)
    for wanted in formats:
        if wanted == "json":
            folder.write_text("flow.json", json_text(document))
        elif wanted in _WRITERS:
            folder.write_bytes(f"flow.{wanted}", _WRITERS[wanted](columns))
    return document


def flow_document(info: RunInfo, flows: Sequence[Flow]) -> dict[str, Any]:
    """The contents of `flow.json`: plain values, undefined is None."""
    run = {name: value for name, value in run_document(info).items() if name != "given"}
    return {"schema": SCHEMA, "run": run, "flows": [_entry(flow) for flow in flows]}


def flow_table(flows: Sequence[Flow]) -> dict[str, Array]:
    """One table of all texts and kinds."""
    tables = [mark_unit(flow.columns(), flow.by) for flow in flows]
    return {name: np.concatenate([table[name] for table in tables]) for name in (tables[0] if tables else ())}


def _entry(flow: Flow) -> dict[str, Any]:
    entry = {
        "text": flow.text,
        "kind": flow.kind,
        "method": flow.method,
        "layers": flow.layers,
        "residual": flow.residual,
        "aggregate": flow.aggregate,
        **({} if flow.by == "weight" else {"by": flow.by}),
        "queries": flow.queries.pieces,
        "keys": flow.keys.pieces,
        "rows": flow.rows,
        "values": flow.values,
        "uniform": flow.uniform,
        "position": flow.position,
    }
    return plain(entry if flow.maximum is None else {**entry, "maximum": flow.maximum})


_WRITERS = {
    "csv": lambda columns: utf8(table_csv(columns)),
    "jsonl": lambda columns: table_jsonl(columns).encode(),
    "parquet": lambda columns: table_parquet(columns, SCHEMA),
}
