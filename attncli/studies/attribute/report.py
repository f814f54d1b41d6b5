"""What `attribute` writes: attribution.json, its table, the coloured text, bars, and maps of several predictions."""

from functools import partial

import numpy as np

from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report, Table
from attncli.store.tables import TableColumns, document_head, records
from attncli.studies.attribute.corpus_result import CorpusAttribution
from attncli.studies.attribute.result import Attribution

_NO_PICTURES = "pictures and pages show one text: of several texts there are tables only"


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


def corpus_report(result: CorpusAttribution, run: Collected) -> Report:
    """Return the document, the table of the methods, and the tables of all texts, which are written part by part."""
    kinds = {"kind": np.array(result.kinds, dtype=object)}
    head = document_head("attncli.attribute-corpus/1", run.info, run.inputs, kinds, run.corpus)
    methods = result.table()
    tables: dict[str, TableColumns | Table] = {
        "attribution-methods": methods,
        "attribution": Table(result.tokens),
        "attribution-texts": Table(result.texts),
    }
    document = {**head, **result.about(), "methods": list(records(methods))}
    return Report(run.info, document, tables, notes=(_NO_PICTURES,))
