"""What `find` writes: find.json, find.csv and the picture find.png."""

from functools import partial
from typing import Any

from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import declared_numbers, document_head, records
from attncli.studies.find.pairs import Pair, Pairs
from attncli.studies.find.result import QUESTIONS, RETRIEVAL_QUESTIONS, RankedHeads


def find_report(result: RankedHeads, pairs: Pairs, run: Collected) -> Report:
    """Return the document, the table of heads and the picture of the row of the first head."""
    # imported here: matplotlib takes long to load
    from attncli.studies.find import figures

    table = result.table()
    document = {
        **document_head("attncli.find/1", run.info, run.inputs, table),
        "query": result.query,
        "key": result.key,
        "searched": result.searched,
        "advice": result.advice,
        "leave_one_out": None if result.leave_one_out is None else vars(result.leave_one_out),
        "tokens": [_entry(text, kind, pair) for (text, kind), pair in pairs.by_text.items()],
        "numbers": declared_numbers(result.scores, QUESTIONS | RETRIEVAL_QUESTIONS),
        "heads": list(records(table)),
    }
    captions = run.info.captions(run.text_note(result.row.text))
    drawings = [Drawing("find", partial(figures.draw, result, **captions))]
    return Report(run.info, document, {"find": table}, drawings)


def _entry(text: int, kind: str, pair: Pair) -> dict[str, Any]:
    """Return the chosen tokens of one text for the document."""
    ends = {
        name: [{"name": match.name, "positions": list(match.positions)} for match in matches]
        for name, matches in (("query", pair.query), ("key", pair.key))
    }
    return {"text": text, "kind": kind, **ends, "rows": pair.rows.tolist(), "rows_as": pair.rows_as}
