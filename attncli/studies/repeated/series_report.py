"""What the probe of repeated tokens writes for a series of checkpoints: a document, two tables and a picture."""

from __future__ import annotations

from functools import partial

from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import document_head, records
from attncli.studies.repeated.report import described
from attncli.studies.repeated.series import Series


def series_report(result: Series, run: Collected) -> Report:
    """Return the document, the tables of checkpoints and of heads, and the picture by step."""
    # imported here: matplotlib takes long to load
    from attncli.studies.repeated import figures

    table = result.table()
    document = {
        **document_head("attncli.repeated/1", run.info, run.inputs, table),
        **described(result.results[0]),
        "checkpoints": list(result.by_step()),
        "heads": list(records(table)),
    }
    picture = partial(figures.draw_series, result, **run.info.captions(result.results[0].title))
    tables = {"repeated-checkpoints": result.steps_table(), "repeated": table}
    return Report(run.info, document, tables, [Drawing("repeated", picture)])
