"""What `heads` writes: heads.json, heads.csv, heads-pairs.csv, heads-layers.csv and pictures."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import defined_columns, document_head, records
from attncli.studies.heads.result import HeadClusters, HeadsResult


def heads_report(result: HeadsResult, run: Collected) -> Report:
    """Return the document, without the table of all pairs, the tables of heads, pairs and layers, and the pictures."""
    heads, layers = result.table(), result.layers_table()
    document = {
        **document_head("attncli.heads/1", run.info, run.inputs, heads, run.corpus),
        "grouping": {name: value for name, value in asdict(result.grouping).items() if name != "shuffles"},
        "compared": {"texts": result.texts, "rows": result.rows},
        "kinds": [{"kind": kind, **_summary(clusters)} for kind, clusters in result.groups.items()],
        "heads": list(records(heads)),
        "redundant": list(records(result.redundant_pairs())),
        "layers": list(records(layers)),
    }
    tables = {"heads": heads, "heads-pairs": result.pairs_table(), "heads-layers": defined_columns(layers)}
    return Report(run.info, document, tables, list(_drawings(result, run)), _notes(result, run))


def _summary(clusters: HeadClusters) -> dict[str, Any]:
    names = clusters.names
    numbers = range(1, int(clusters.clusters.max()) + 1)
    return {
        "heads": len(names),
        "median": {name: None if math.isnan(value) else value for name, value in clusters.medians.items()},
        "stress": clusters.stress,
        "clusters": [[names[row] for row in clusters.order if clusters.clusters[row] == number] for number in numbers],
        "tree": clusters.tree.tolist(),
    }


def _notes(result: HeadsResult, run: Collected) -> tuple[str, ...]:
    """Return why numbers are missing."""
    if np.isfinite(result.layers["cosine"].values).any():
        return ()
    if run.info.resolved.get("from") is None:
        return ("the model gives no hidden states of these layers: cosine and rank_one_distance are left out",)
    return (
        "a saved run has no hidden states and cannot be read with its tokens shuffled: cosine, rank_one_distance "
        "and that baseline are left out",
    )


def _drawings(result: HeadsResult, run: Collected) -> Iterator[Drawing]:
    """Yield map, dendrogram and distances of each kind, and the layers."""
    # imported here: matplotlib takes long to load
    from attncli.studies.heads import figures

    labels = run.info.captions(run.mean_note)
    for kind, group in result.groups.items():
        prefix = f"{kind}-" if len(result.groups) > 1 else ""
        yield Drawing(f"{prefix}heads-map", partial(figures.draw_map, group, kind, **labels))
        tree = partial(figures.draw_dendrogram, group, kind, result.grouping, **labels)
        yield Drawing(f"{prefix}heads-dendrogram", tree)
        yield Drawing(f"{prefix}heads-distances", partial(figures.draw_distances, group, kind, **labels))
    yield Drawing("heads-layers", partial(figures.draw_layers, result, **labels))
