"""What `qk-map` writes: qk-map.json, qk-map.csv, the points and vectors as Parquet, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from attncli.data import Array
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report, Table
from attncli.store.tables import defined_columns, document_head, records
from attncli.studies.qk_map.head_maps import FAIR, GOOD
from attncli.studies.qk_map.result import QueryKeyMap

Columns = Mapping[str, Array]
WHOLE_TABLES = ("parquet", "jsonl")
"""Formats of the tables of all points: too many rows for CSV files that people read."""


@dataclass(frozen=True)
class _Parts:
    """The parts of a long table, made again for each file format."""

    make: Callable[[], Iterator[Columns]]

    def __iter__(self) -> Iterator[Columns]:
        return self.make()


def query_key_map_report(result: QueryKeyMap, run: Collected) -> Report:
    """Return the document, the tables of heads, points and vectors, and the pictures."""
    heads, options = result.table(), result.options
    document = {
        **document_head("attncli.qk-map/1", run.info, run.inputs, heads),
        "map": {
            "method": options.method,
            "vectors": options.vectors,
            "seed": options.seed,
            "good": GOOD,
            "fair": FAIR,
        },
        "summary": result.advice,
        "heads": list(records(heads)),
    }
    tables: dict[str, Columns | Table] = {
        "qk-map": defined_columns(heads),
        "qk-map-points": Table(_Parts(result.points_tables), formats=WHOLE_TABLES),
        "qk-map-vectors": Table(_Parts(result.vectors_tables), formats=("parquet",)),
    }
    return Report(run.info, document, tables, list(_drawings(result, run)))


def _drawings(result: QueryKeyMap, run: Collected) -> Iterator[Drawing]:
    """Yield the page with all maps; then a picture for each kind of attention: all heads, or the only one."""
    # imported here: matplotlib takes long to load
    from attncli.studies.qk_map import figures

    yield Drawing("qk-map", html=lambda: result.view().html)
    for kind, group in result.groups.items():
        name = f"{kind}-qk-map" if len(result.groups) > 1 else "qk-map"
        draw = figures.draw_head if len(group.heads) == 1 else figures.draw_heads
        yield Drawing(name, partial(draw, result, kind, **run.info.captions()))
