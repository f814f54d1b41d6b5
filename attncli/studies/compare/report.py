"""The report of `compare`: compare.json, two tables and a picture."""

from __future__ import annotations

from functools import partial
from typing import Any

from attncli.data import Array, RunInfo
from attncli.engine.collected import Collected
from attncli.engine.measuring import declarations
from attncli.engine.report import Drawing
from attncli.store import analysis_document, run_document
from attncli.studies.compare.result import Comparison

SCHEMA = "attncli.compare/1"


def tables(result: Comparison) -> dict[str, dict[str, Array]]:
    """Return the tables by file name."""
    return {"compare": result.table(), "compare-measures": result.measures_table()}


def document(result: Comparison, run: Collected, other: RunInfo) -> dict[str, Any]:
    """Return the contents of compare.json; `run` is run A, `other` describes run B."""
    columns = tables(result)
    names = dict.fromkeys(result.measures["change"].coords["metric"][1].tolist())
    declared = {
        name: {"unit": metric.unit, "question": metric.question} for name, metric in declarations(names).items()
    }
    head = {"other": run_document(other, given=False), "metrics": declared}
    lists = {"heads": columns["compare"], "measures": columns["compare-measures"]}
    return analysis_document(SCHEMA, run.info, head, lists)


def drawings(result: Comparison, info: RunInfo, other: RunInfo) -> list[Drawing]:
    """Return the picture of distances and changes."""
    # imported here: matplotlib takes long to load
    from attncli.studies.compare import figures

    same_title = info.title == other.title
    names = (_name(info), _name(other)) if same_title else (info.title, other.title)
    picture = partial(figures.draw, result, names=names)
    return [Drawing("compare", picture, description=f"{names[0]} {names[1]} compare")]


def _name(info: RunInfo) -> str:
    """Return the title of a run with its revision and dtype."""
    return " ".join([info.title, *([info.revision] if info.revision else []), info.dtype])
