"""What `faithfulness` writes: faithfulness.json, the tables and the pictures of all parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attncli.engine.collected import Collected
from attncli.engine.report import Report
from attncli.store.tables import document_head, records
from attncli.studies.faithfulness.protocol import Part
from attncli.studies.faithfulness.result import Faithfulness


def faithfulness_report(result: Faithfulness, run: Collected, parts: Sequence[Part]) -> Report:
    """Return the document, the tables and the pictures.

    parts  the parts of the study that have results
    """
    kinds = {"kind": np.array(result.kinds, dtype=object)}
    captions = {name: text for name, text in run.info.captions(run.mean_note).items() if name != "kinds"}
    document = {
        **document_head("attncli.faithfulness/1", run.info, run.inputs, kinds, run.corpus),
        **result.about(),
        "summary": list(result.summary),
        "texts": list(records(result.explained())),
        **{name: dict(part.document()) for name, part in result.parts.items()},
    }
    tables = {name: table for part in result.parts.values() for name, table in part.tables().items()}
    drawings = [drawing for part in parts for drawing in part.drawings(result.parts[part.name], captions)]
    return Report(run.info, document, tables, drawings)
