"""What `log` writes: log.json, tables of heads, layers and changes, and two pictures by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from attncli.engine.checkpoints import is_pattern
from attncli.engine.collected import Collected
from attncli.engine.measuring import declarations
from attncli.engine.report import Drawing, Report
from attncli.store.tables import defined_columns, document_head, records
from attncli.studies.log.result import ROWS_TO_MEAN
from attncli.studies.log.series import Change, LogSeries, changes_table, largest_changes
from attncli.studies.repeated.compute import questions

_Entry = tuple[str, list[float | None], str, str]
"""Unit, range, question and source of a number."""
_OF_LAYERS: dict[str, _Entry] = {
    ROWS_TO_MEAN: ("nat", [0.0, 0.6931471805599453], "Do all tokens of a layer attend to the same keys?", ""),
    "cosine": ("1", [-1.0, 1.0], "Do the hidden states of the tokens of a layer still differ?", ""),
    "rank_one_distance": (
        "1",
        [0.0, 1.0],
        "How far are the hidden states of a layer from all being the same vector?",
        "Dong et al. 2021",
    ),
}
_RIGIDITY = {
    "rigidity": "How much of a head is the same whatever the text says, as the other texts show?",
    "rigidity_held_out": "How much of a head on held-out texts is its map by position in the texts of the training?",
    "rigidity_difference": "How much more rigid is the head on texts of the training than on held-out ones?",
}


def log_report(series: LogSeries, run: Collected) -> Report:
    """Return the document, the tables and the pictures of a series, with notes on abrupt changes."""
    # imported here: matplotlib takes long to load
    from attncli.studies.log import figures

    heads, layers = series.table(), series.layers_table()
    changes = list(largest_changes(series))
    tables = {"log": heads, "log-layers": layers, "log-changes": changes_table(changes)}
    document = {
        **document_head("attncli.log/1", run.info, run.inputs, heads),
        "numbers": described(series),
        "checkpoints": [{"checkpoint": checkpoint.name, "step": checkpoint.step} for checkpoint in series.checkpoints],
        **{name: list(records(tables[table])) for name, table in _TABLES.items()},
    }
    captions: dict[str, Any] = {**run.info.captions(run.mean_note), "model": _title(run)}
    units = {name: (entry["unit"], tuple(entry["range"])) for name, entry in document["numbers"].items()}
    drawings = [
        Drawing("log", partial(figures.draw_lines, series, units, **captions)),
        Drawing("log-heads", partial(figures.draw_heads, series, units, **captions)),
    ]
    written = {name: defined_columns(columns) for name, columns in tables.items() if len(columns["kind"])}
    return Report(run.info, document, written, drawings, tuple(change_notes(changes)))


def _title(run: Collected) -> str:
    """Return the pattern of the checkpoints with the folder before it, as `*` alone says little."""
    name = run.info.model
    return "/".join(name.split("/")[-2:]) if is_pattern(name) else run.info.title


_TABLES = {"changes": "log-changes", "heads": "log", "layers": "log-layers"}
"""The tables of the document, by their file names."""


def described(series: LogSeries) -> dict[str, dict[str, Any]]:
    """Return unit, range, source and question of each number."""
    entries: dict[str, _Entry] = {}
    for name, metric in declarations(series.snapshots[0].metrics).items():
        entries[name] = (metric.unit, list(metric.range), metric.question, metric.source)
    for name, question in questions().items():
        entries[name] = ("1", [0.0, 1.0], question, "Olsson et al. 2022")
    for name, question in _RIGIDITY.items():
        entries[name] = ("1", [-1.0 if name.endswith("difference") else 0.0, 1.0], question, "")
    entries |= _OF_LAYERS
    keys = "unit", "range", "question", "source"
    names = (*series.numbers, *series.layer_numbers)
    return {name: dict(zip(keys, entries[name], strict=True)) for name in names}


def change_notes(changes: Sequence[Change]) -> Iterator[str]:
    """Yield a line for each abrupt change: of which head, how large, and between which checkpoints."""
    for change in changes:
        if not change.abrupt:
            continue
        verb = "rises" if change.change > 0 else "falls"
        head = change.name if change.head is None else f"head {change.name}"
        of = "layers" if change.head is None else "heads"
        yield (
            f"{change.kind} {head}: {change.number} {verb} from {change.before:.3g} to {change.after:.3g} between "
            f"{change.first.name} and {change.second.name}: {change.share_of_range:.0%} of its range in "
            f"{change.share_of_steps:.0%} of the steps, the largest change of {change.searched} {of}"
        )
