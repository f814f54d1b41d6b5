"""What `patterns --probe repeated` writes: repeated.json, repeated.csv and a picture."""

from __future__ import annotations

from functools import partial
from typing import Any

from attncli.data import Array, Statistics
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing
from attncli.store.tables import declared_numbers, document_head, records
from attncli.studies.repeated.compute import questions
from attncli.studies.repeated.result import Repeated

SCHEMA = "attncli.repeated/1"


def tables(result: Repeated) -> dict[str, dict[str, Array]]:
    """Return the table by file name."""
    return {"repeated": result.table()}


def document(result: Repeated, run: Collected) -> dict[str, Any]:
    """Return the contents of repeated.json."""
    columns = result.table()
    return {
        **document_head(SCHEMA, run.info, run.inputs, columns),
        "length": result.length,
        "seeds": list(result.seeds),
        "numbers": declared_numbers({name: result.heads[name] for name in questions()}, questions()),
        "heads": list(records(columns)),
    }


def drawings(result: Repeated, run: Collected) -> list[Drawing]:
    """Return the picture of the three scores."""
    # imported here: matplotlib takes long to load
    from attncli.plotting import overview

    note = f"random tokens r, read as BOS r r · |r| = {result.length} · mean over {len(result.seeds)} seeds"
    scores = Statistics({name: result.heads[name] for name in questions()})
    return [Drawing("repeated", partial(overview.draw, scores, model=run.info.title, note=note, top=1.0))]
