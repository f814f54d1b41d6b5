"""Statistics as tables, and what JSON documents say about their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attncli.data import Array, Metric, Scores, Statistics, columns_of
from attncli.store.tables import mark_unit


def statistics_tables(statistics: Statistics) -> dict[str, dict[str, Array]]:
    """Return the tables by file name: `stats`, and `stats-tokens` and `stats-keys` if they were measured."""
    tables = {"stats": columns_of(statistics.heads, statistics.std)}
    if statistics.tokens:
        tables["stats-tokens"] = columns_of(statistics.tokens)
    if statistics.keys:
        tables["stats-keys"] = columns_of(statistics.keys)
    return {name: mark_unit(columns, statistics.by) for name, columns in tables.items()}


def metric_entries(statistics: Statistics, declarations: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """Return unit, range, source and question of every measured metric.

    declarations  metrics by name; without one, the question is empty
    """
    measured = {**statistics.keys, **statistics.tokens, **statistics.heads}
    names = [*statistics.heads, *statistics.tokens, *statistics.keys]
    return {name: _entry(measured[name], declarations.get(name)) for name in dict.fromkeys(names)}


def _entry(scores: Scores, declaration: Metric | None) -> dict[str, Any]:
    declared = declaration or scores
    question = declaration.question if declaration else ""
    return {"unit": declared.unit, "range": list(declared.range), "source": declared.source, "question": question}
