"""What `patterns` writes: patterns.json, two tables and pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from attncli.data import Attention
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import declared_numbers, defined_columns, document_head, records
from attncli.studies.patterns.classes import questions
from attncli.studies.patterns.notes import pattern_notes
from attncli.studies.patterns.numbers import number_questions
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import Patterns
from attncli.vocabulary import LINEAR_UP_TO


def patterns_report(result: Patterns, run: Collected, maps: Sequence[Attention], layered: bool) -> Report:
    """Return the document, the tables, and the pictures with example `maps`; each layer has one if `layered`."""
    heads, layers = result.table(), result.layers_table()
    rigidity = {} if result.rigidity is None else {"rigidity": result.rigidity}
    numbers = {**result.heads, **rigidity, "differentiation": result.layers["differentiation"]}
    document = {
        **document_head("attncli.patterns/1", run.info, run.inputs, heads, run.corpus),
        "thresholds": {field.name: getattr(result.thresholds, field.name) for field in fields(Thresholds)},
        "classes": questions(),
        "numbers": declared_numbers(numbers, number_questions()),
        "heads": [{**head, "classes": head["classes"].split()} for head in records(heads)],
        "layers": list(records(layers)),
    }
    drawings = list(_drawings(result, run, maps, layered))
    tables = {"patterns": defined_columns(heads), "patterns-layers": defined_columns(layers)}
    return Report(run.info, document, tables, drawings, pattern_notes(result))


def _drawings(result: Patterns, run: Collected, maps: Sequence[Attention], layered: bool) -> Iterator[Drawing]:
    """Yield the page of all heads, the strongest head of each class, and if layers were chosen a page of each."""
    # imported here: matplotlib takes long to load
    from attncli.studies.patterns import figures

    yield Drawing("patterns", partial(figures.draw, result, **run.info.captions(run.mean_note)))
    note = "the first text" if len(run.inputs) > 1 or run.corpus is not None else ""
    for attention in maps:
        log = max(len(attention.queries), len(attention.keys)) > LINEAR_UP_TO
        labels: Mapping[str, Any] = {**run.info.captions(note), "log": log}
        prefix = f"{attention.kind}-" if len(maps) > 1 else ""
        if result.strongest(attention.kind):
            yield Drawing(f"{prefix}patterns-examples", partial(figures.draw_examples, result, attention, **labels))
        for layer_maps in attention.layers if layered else ():
            layer = replace(attention, layers=(layer_maps,))
            name = f"{attention.kind}-L{layer_maps.layer:02}-patterns"
            yield Drawing(name, partial(figures.draw_layer, result, layer, **labels))
