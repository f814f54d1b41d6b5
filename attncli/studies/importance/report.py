"""What `importance` writes: importance.json, importance.csv, importance-attention.csv and two pictures."""

from __future__ import annotations

import math
from functools import partial

from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import document_head, records
from attncli.studies.importance.result import Importance, declared


def importance_report(result: Importance, run: Collected) -> Report:
    """Return the document, the tables of heads and of predictors, a map of all heads and a ranked chart."""
    # imported here: matplotlib takes long to load
    from attncli.studies.importance import figures

    table = result.table()
    document = {
        **document_head("attncli.importance/1", run.info, run.inputs, table, run.corpus),
        "task": result.model_task,
        "method": result.method,
        "unit": result.unit,
        "main": result.main,
        "loss": None if math.isnan(result.loss) else result.loss,
        "advice": result.advice,
        "numbers": declared(result.measures),
        "heads": list(records(table)),
        "attention": list(records(result.predictors)),
        "dead": [{"head": name, "reason": reason} for name, reason in result.dead],
    }
    captions = {**run.info.captions(run.mean_note)}
    drawings = [
        Drawing("importance", partial(figures.draw_map, result, **captions)),
        Drawing("importance-ranked", partial(figures.draw_ranked, result, **captions)),
    ]
    tables = {"importance": table}
    if len(result.predictors["rho"]):
        tables["importance-attention"] = dict(result.predictors)
    return Report(run.info, document, tables, drawings)
