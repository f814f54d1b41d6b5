"""Maps of heads with their classes: the strongest head of each class, or all heads of a layer."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from attncli.data import Attention
from attncli.plotting import grid
from attncli.studies.patterns.figures.classes import signed
from attncli.studies.patterns.result import CLASS_NUMBERS, Patterns

_SHORT = {"local_mass": "within 2", "entropy_normalized": "entropy", "segment_mass": "in segment"}


def draw(patterns: Patterns, attention: Attention, *, model: str = "", note: str = "", log: bool = False) -> Figure:
    """Return the page of examples: what does each class look like? One map for each class that occurs.

    attention  maps of one text, with at least the strongest head of each class
    """
    rows, heads = patterns.strongest(attention.kind), list(patterns.head_keys())
    examples = [(name, row, heads[row][1], heads[row][2]) for name, row in rows.items()]
    layers = tuple(attention.sel(layer=layer, head=head).layers[0] for _, _, layer, head in examples)
    names = [_example_name(patterns, *example) for example in examples]
    title = "the strongest head of each class"
    return grid.draw(replace(attention, layers=layers), model=model, note=note, log=log, title=title, names=names)


def draw_layer(
    patterns: Patterns, attention: Attention, *, model: str = "", note: str = "", log: bool = False
) -> Figure:
    """Return the page of one layer: what do its heads do? Their maps side by side, each with its classes."""
    (maps,) = attention.layers
    rows = {place: row for row, place in enumerate(patterns.head_keys())}
    names = []
    for head in maps.heads:
        row = rows[attention.kind, int(maps.layer), head]
        names.append(f"head {head} · {' '.join(_with_offset(patterns, row, name) for name in patterns.classes[row])}")
    title = f"layer {maps.layer}, {len(names)} heads with their classes"
    return grid.draw(attention, model=model, note=note, log=log, title=title, names=names)


def _example_name(patterns: Patterns, name: str, row: int, layer: int, head: int) -> str:
    number = CLASS_NUMBERS[name]
    value = patterns.heads[number].values[row]
    return f"{_with_offset(patterns, row, name)} · {layer}.{head} · {_SHORT.get(number, number)} {value:.2f}"


def _with_offset(patterns: Patterns, row: int, name: str) -> str:
    return f"{name} {signed(patterns.heads['diagonal_offset'].values[row])}" if name == "diagonal" else name
