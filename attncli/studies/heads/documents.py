"""Which heads are alike, as a document and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from attncli.data import Input, RunInfo
from attncli.store.folder import OutputFolder
from attncli.store.tables import document_head, records, write_tables
from attncli.store.text import json_text
from attncli.studies.heads.result import HeadClusters, HeadsResult

SCHEMA = "attncli.heads/1"


def write_heads(
    folder: OutputFolder, info: RunInfo, inputs: Sequence[Input], likeness: HeadsResult, formats: Sequence[str]
) -> dict[str, Any]:
    """Write `heads`, `heads-pairs` and `heads-layers`; JSON is one document without the pairs, which is returned."""
    tables = {
        "heads": likeness.table(),
        "heads-pairs": likeness.pairs_table(),
        "heads-layers": likeness.layers_table(),
    }
    document = {
        **document_head(SCHEMA, info, inputs, tables["heads"]),
        "grouping": asdict(likeness.grouping),
        "compared": {"texts": likeness.texts, "rows": likeness.rows},
        "kinds": [{"kind": kind, **_summary(group)} for kind, group in likeness.groups.items()],
        "heads": list(records(tables["heads"])),
        "redundant": list(records(likeness.redundant_pairs())),
        "layers": list(records(tables["heads-layers"])),
    }
    if "json" in formats:
        folder.write_text("heads.json", json_text(document))
    write_tables(folder, tables, formats, SCHEMA)
    return document


def _summary(group: HeadClusters) -> dict[str, Any]:
    names = group.names
    members = [[names[row] for row in group.order if group.clusters[row] == number] for number in _numbers(group)]
    return {
        "heads": len(names),
        "median": {name: None if math.isnan(value) else value for name, value in group.medians.items()},
        "stress": group.stress,
        "clusters": members,
        "tree": group.tree.tolist(),
    }


def _numbers(group: HeadClusters) -> range:
    return range(1, int(group.clusters.max()) + 1)
