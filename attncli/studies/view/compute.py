"""From a run to the page on which it is explored."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from attncli.data import Attention, Input, RunInfo, Statistics
from attncli.engine.collected import Collected, check_weights
from attncli.engine.request import Request, metric_names
from attncli.page import PageContent, page_html
from attncli.store.tables import metric_entries, records, statistics_tables
from attncli.studies.view.fitting import Tables, fit_maps, pooling_notes
from attncli.studies.view.result import Page
from attncli.vocabulary import ALL_METRICS

_LONGEST_OPTION = 200
"""Characters of an option that a suggested command shows."""
_OPTIONS_OF_RUN = (
    *("model", "revision", "tokenizer", "target-tokenizer", "model-head", "device", "dtype", "trust-remote-code"),
    *("text", "pair", "target", "file", "column", "chat", "generate", "max-tokens", "kind", "layer", "head"),
)
"""Options that select the attention of a command."""


def make_page(run: Collected, budget: int, tables: Tables | None = None, saved: RunInfo | None = None) -> Page:
    """Return the page of a run, of at most about `budget` bytes.

    tables  the strongest weights of each row, for maps that are pooled already
    saved   the saved run that the run was read from
    Without statistics, kept maps are measured if they can be. Raise UsageError if maps are no weights or too large.
    """
    check_weights(run.maps)
    vectors = run.vectors if all(map(_is_of_model, run.maps)) else ()
    maps, edges = fit_maps(run.maps, vectors, budget, tables or {})
    notes = pooling_notes(maps, edges)
    statistics = run.statistics or _measure(run.maps, run.inputs)
    origin = saved or run.info
    asked_in_vain = origin.resolved.get("neurons") and not run.vectors
    command = "" if vectors or asked_in_vain else neurons_command(origin, run.inputs[0].text.text)
    numbers = None if statistics is None else _numbers(statistics)
    content = PageContent(run.info, run.inputs, maps, edges, vectors, numbers, notes, command)
    return Page(page_html(content), notes)


def _is_of_model(attention: Attention) -> bool:
    """Return whether heads, rows and columns are those of the model, as vectors need it."""
    combined = (attention.aggregate, attention.aggregate_layers) != ("none", "none")
    return not (combined or attention.words or attention.dropped_special)


def _measure(maps: Sequence[Attention], inputs: Sequence[Input]) -> Statistics | None:
    if not all(attention.whole and attention.aggregate != "max" for attention in maps):
        return None
    # imported here: metrics need torch
    from attncli.engine.measuring import measure_maps

    return measure_maps(maps, inputs, Request(metrics=metric_names(ALL_METRICS)))


def _numbers(statistics: Statistics) -> Mapping[str, Any]:
    """Return metrics and heads as in stats.json."""
    # imported here: metrics need torch
    from attncli.engine.measuring import declarations

    heads = list(records(statistics_tables(statistics)["stats"]))
    return {"metrics": metric_entries(statistics, declarations(statistics.heads)), "heads": heads}


def neurons_command(info: RunInfo, text: str) -> str:
    """Return the command that adds query and key vectors to a run.

    text  the first text of the run
    """
    if info.cls == "file":
        return "attncli view --model MODEL --text TEXT --neurons"
    if not info.given:
        model, text = (json.dumps(_shorten(value), ensure_ascii=False) for value in (info.model, text))
        return f"attncli.load({model}).run({text}, neurons=True).view()"
    parts = ["attncli", "view"]
    for name in _OPTIONS_OF_RUN:
        given = info.given.get(name)
        for value in given if isinstance(given, list) else [] if given is None else [given]:
            parts += [f"--{name}"] if value is True else [f"--{name}", _shorten(str(value))]
    return shlex.join([*parts, "--neurons"])


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_OPTION else text[: _LONGEST_OPTION - 1] + "…"
