"""What `heads` writes: heads.json, heads.csv, heads-pairs.csv, heads-layers.csv and pictures."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from typing import Any

from attncli.data import Array
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing
from attncli.store.tables import document_head, records
from attncli.studies.heads.result import HeadClusters, HeadsResult

SCHEMA = "attncli.heads/1"


def tables(result: HeadsResult) -> dict[str, dict[str, Array]]:
    """Return the tables by file name."""
    return {"heads": result.table(), "heads-pairs": result.pairs_table(), "heads-layers": result.layers_table()}


def document(result: HeadsResult, run: Collected) -> dict[str, Any]:
    """Return the contents of heads.json, without the table of all pairs."""
    columns = tables(result)
    grouping = {name: value for name, value in asdict(result.grouping).items() if name != "shuffle_seeds"}
    return {
        **document_head(SCHEMA, run.info, run.inputs, columns["heads"]),
        "grouping": grouping,
        "compared": {"texts": result.texts, "rows": result.rows},
        "kinds": [{"kind": kind, **_summary(clusters)} for kind, clusters in result.groups.items()],
        "heads": list(records(columns["heads"])),
        "redundant": list(records(result.redundant_pairs())),
        "layers": list(records(columns["heads-layers"])),
    }


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


def drawings(result: HeadsResult, run: Collected) -> list[Drawing]:
    """Return the pictures: map, dendrogram and distances of each kind, and the layers."""
    # imported here: matplotlib takes long to load
    from attncli.studies.heads.figures import dendrogram, distances, layers, map

    labels: dict[str, Any] = {"model": run.info.title, "note": run.mean_note}
    pictures: list[Drawing] = []
    for kind, clusters in result.groups.items():
        prefix = f"{kind}-" if len(result.groups) > 1 else ""
        pictures += [
            Drawing(f"{prefix}heads-map", partial(map.draw, clusters, kind, **labels)),
            Drawing(f"{prefix}heads-dendrogram", partial(dendrogram.draw, clusters, kind, result.grouping, **labels)),
            Drawing(f"{prefix}heads-distances", partial(distances.draw, clusters, kind, **labels)),
        ]
    return [*pictures, Drawing("heads-layers", partial(layers.draw, result, **labels))]
