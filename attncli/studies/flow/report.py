"""What `flow` writes: flow.json, flow.csv and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing
from attncli.store import run_document
from attncli.store.tables import mark_unit
from attncli.store.text import plain
from attncli.studies.flow.flow_result import flow_results
from attncli.studies.flow.result import Flow

SCHEMA = "attncli.flow/1"


def table(flows: Sequence[Flow]) -> dict[str, Array]:
    """Return one table of all texts and kinds."""
    tables = [mark_unit(flow.columns(), flow.by) for flow in flows]
    return {name: np.concatenate([table[name] for table in tables]) for name in (tables[0] if tables else ())}


def document(flows: Sequence[Flow], run: Collected) -> dict[str, Any]:
    """Return the contents of flow.json."""
    return {"schema": SCHEMA, "run": run_document(run.info, given=False), "flows": [_entry(flow) for flow in flows]}


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
    entry |= {} if flow.maximum is None else {"maximum": flow.maximum}
    return {name: plain(value) for name, value in entry.items()}


def drawings(flows: Sequence[Flow], focus: str, threshold: float | None, run: Collected) -> Iterator[Drawing]:
    """Yield the pictures: the layers of short texts, and a matrix, for each text and kind."""
    for result in flow_results(flows, focus, run.info.title, len(run.inputs)):
        name = f"{run.text_prefix(result.flow.text)}{result.name}"
        if result.has_graph:
            yield Drawing(name, partial(result.figure, threshold))
        yield Drawing(f"{name}-matrix", result.matrix)
