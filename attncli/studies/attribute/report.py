"""What `attribute` writes: attribution.json, its table, the coloured text, bars, and maps of several predictions."""

from functools import partial

import numpy as np

from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import document_head, records
from attncli.studies.attribute.result import Attribution


def attribution_report(result: Attribution, run: Collected) -> Report:
    """Return the document, the table and the pictures."""
    # imported here: matplotlib takes long to load
    from attncli.studies.attribute import figures
    from attncli.studies.attribute.coloured import coloured_text
    from attncli.studies.highlight.figures import draw_text
    from attncli.studies.highlight.html import text_page

    table = result.table()
    kinds = {"kind": np.array(result.kinds, dtype=object)}
    head = document_head("attncli.attribute/1", run.info, run.inputs, kinds)
    document = {**head, **result.about(), "tokens": list(records(table))}
    captions = {name: text for name, text in run.info.captions().items() if name != "kinds"}
    drawings = [
        Drawing(
            "attribution",
            lambda: draw_text(coloured_text(result, **captions)),
            lambda: text_page(coloured_text(result, **captions)),
        )
    ]
    if len(result.outputs) == 1:
        drawings.append(Drawing("attribution-bars", partial(figures.draw_bars, result, **captions)))
    else:
        drawings += [
            Drawing(f"attribution-{method.name}", partial(figures.draw_outputs, result, number, **captions))
            for number, method in enumerate(result.methods)
        ]
    return Report(run.info, document, {"attribution": table}, drawings)
