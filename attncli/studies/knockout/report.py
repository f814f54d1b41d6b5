"""What `knockout` writes: knockout.json, two tables and a picture for each kind of attention."""

from functools import partial

from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import defined_columns, document_head, records
from attncli.studies.knockout.result import NO_EFFECT, Knockout


def knockout_report(result: Knockout, run: Collected) -> Report:
    """Return the document, the tables of all layers and of windows of layers, and the pictures."""
    # imported here: matplotlib takes long to load
    from attncli.studies.knockout import figures

    keys, layers = result.table(), result.layers_table()
    document = {
        **document_head("attncli.knockout/1", run.info, run.inputs, keys),
        "explained": result.about(),
        "unit": result.unit,
        "no_effect": NO_EFFECT,
        "kinds": [
            {
                "kind": kind,
                "rows": list(result.query[kind]),
                "window_layers": result.window[kind],
                "without_effect": result.without_effect(kind),
                "rank_correlation": None if (of := result.correlation[kind]) != of else of,
            }
            for kind in result.kinds
        ],
        "keys": list(records(keys)),
        "layers": list(records(layers)),
    }
    captions = run.info.captions()
    several = len(result.kinds) > 1
    drawings = [
        Drawing(f"{kind}-knockout" if several else "knockout", partial(figures.draw, result, kind, **captions))
        for kind in result.kinds
    ]
    tables = {"knockout": defined_columns(keys), "knockout-layers": layers}
    return Report(run.info, document, tables, drawings)
