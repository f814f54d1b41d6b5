"""What `patterns --probe repeated` writes: repeated.json, repeated.csv and a picture."""

from functools import partial

from attncli.data import Statistics
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import declared_numbers, document_head, records
from attncli.studies.repeated.compute import questions
from attncli.studies.repeated.result import Repeated


def repeated_report(result: Repeated, run: Collected) -> Report:
    """Return the document, the table and the picture of the three scores."""
    # imported here: matplotlib takes long to load
    from attncli.plotting import overview

    table, scores = result.table(), {name: result.heads[name] for name in questions()}
    document = {
        **document_head("attncli.repeated/1", run.info, run.inputs, table),
        "length": result.length,
        "seeds": list(result.seeds),
        "numbers": declared_numbers(scores, questions()),
        "heads": list(records(table)),
    }
    note = f"random tokens r, read as BOS r r · |r| = {result.length} · mean over {len(result.seeds)} seeds"
    picture = partial(overview.draw, Statistics(scores), **run.info.captions(note), top=1.0)
    return Report(run.info, document, {"repeated": table}, [Drawing("repeated", picture)])
