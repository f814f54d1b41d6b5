"""What `prune` writes: prune.json, curve.csv, prune.csv and curve.png."""

from __future__ import annotations

from functools import partial

from attncli.data.described import counted
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import document_head, records
from attncli.studies.importance.result import declared
from attncli.studies.prune.result import Pruning, number_or_none


def prune_report(result: Pruning, run: Collected) -> Report:
    """Return the document, the tables of the curve and of the heads, and the picture of the curve."""
    # imported here: matplotlib takes long to load
    from attncli.studies.prune import figures

    heads = result.table()
    numbers = declared(result.measures)
    document = {
        **document_head("attncli.prune/1", run.info, run.inputs, heads),
        "task": result.model_task,
        "unit": result.unit,
        "method": result.method if result.rank_texts else None,
        "main": result.main,
        "loss": number_or_none(result.loss),
        "removed": result.removed,
        "rank_texts": result.rank_texts,
        "curve_texts": result.curve_texts,
        "advice": result.advice,
        "numbers": {name: numbers[name] for name in result.measures},
        "heads": list(records(heads)),
        "curve": list(records(result.curve)),
    }
    if result.saved:
        document["saved"] = dict(result.saved)
    mean = f"curve: mean over {counted(result.curve_texts, 'text')}"
    shaded = "; shaded: 95 % intervals over texts" if f"{result.main}_low" in result.curve else ""
    draw = partial(figures.draw_curve, result, **run.info.captions(mean + shaded))
    return Report(run.info, document, {"curve": dict(result.curve), "prune": heads}, [Drawing("curve", draw)])
