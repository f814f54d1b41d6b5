"""What `patterns` writes: patterns.json, two tables and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from attncli.data import Array, Attention
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing
from attncli.store.tables import declared_numbers, document_head, records
from attncli.studies.patterns.classes import questions
from attncli.studies.patterns.compute import number_questions, uniform_verdicts
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import Patterns
from attncli.vocabulary import LINEAR_UP_TO

SCHEMA = "attncli.patterns/1"


def tables(result: Patterns) -> dict[str, dict[str, Array]]:
    """Return the tables by file name."""
    return {"patterns": result.table(), "patterns-layers": result.layers_table()}


def document(result: Patterns, run: Collected) -> dict[str, Any]:
    """Return the contents of patterns.json."""
    columns = tables(result)
    numbers = {**result.heads, "differentiation": result.layers["differentiation"]}
    return {
        **document_head(SCHEMA, run.info, run.inputs, columns["patterns"]),
        "thresholds": {field.name: getattr(result.thresholds, field.name) for field in fields(Thresholds)},
        "classes": questions(),
        "numbers": declared_numbers(numbers, number_questions()),
        "heads": [{**head, "classes": head["classes"].split()} for head in records(columns["patterns"])],
        "layers": list(records(columns["patterns-layers"])),
    }


def notes(result: Patterns) -> tuple[str, ...]:
    """Return a warning if the texts are so short that uniform weights belong to a class."""
    names = {name for classes in uniform_verdicts(result) for name in classes} - {"uniform", "mixed"}
    if not names:
        return ()
    return (
        f"texts are so short that uniform weights would be called {' and '.join(sorted(names))}: "
        "give longer ones, or compare the numbers with their uniform baseline",
    )


def drawings(result: Patterns, run: Collected, maps: Sequence[Attention], layered: bool) -> list[Drawing]:
    """Return the pictures: all heads by class, and example heads with their maps."""
    # imported here: matplotlib takes long to load
    from attncli.studies.patterns.figures import classes

    picture = partial(classes.draw, result, model=run.info.title, note=run.mean_note)
    return [Drawing("patterns", picture), *_examples(result, run, maps, layered)]


def _examples(result: Patterns, run: Collected, maps: Sequence[Attention], layered: bool) -> Iterator[Drawing]:
    """Yield the strongest head of each class; if layers were chosen, the heads of each layer with their classes."""
    from attncli.studies.patterns.figures import examples

    note = "the first text" if len(run.inputs) > 1 else ""
    for attention in maps:
        log = max(len(attention.queries), len(attention.keys)) > LINEAR_UP_TO
        labels: Mapping[str, Any] = {"model": run.info.title, "note": note, "log": log}
        prefix = f"{attention.kind}-" if len(maps) > 1 else ""
        if result.strongest(attention.kind):
            yield Drawing(f"{prefix}patterns-examples", partial(examples.draw, result, attention, **labels))
        for layer_maps in attention.layers if layered else ():
            layer = replace(attention, layers=(layer_maps,))
            name = f"{attention.kind}-L{layer_maps.layer:02}-patterns"
            yield Drawing(name, partial(examples.draw_layer, result, layer, **labels))
