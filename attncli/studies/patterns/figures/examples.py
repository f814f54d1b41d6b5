"""Maps of heads beside what they are: the clearest one of each class, or all heads of a layer."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from attncli.data import Attention, LayerMaps
from attncli.plotting import grid
from attncli.studies.patterns.figures.classes import signed
from attncli.studies.patterns.result import CLASS_NUMBERS, Patterns

_SHORT = {"local_mass": "within 2", "entropy_normalized": "entropy", "segment_mass": "in segment"}


def draw(patterns: Patterns, attention: Attention, *, model: str = "", note: str = "", log: bool = False) -> Figure:
    """What does each class look like? The maps of the head that bears it most clearly, one for each that occurs.

    attention  maps of one text, those of these heads among them
    """
    rows, places = patterns.strongest(attention.kind), list(patterns.head_keys())
    layers = tuple(_one(attention, places[row][1], places[row][2]) for row in rows.values())
    names = [_example(patterns, row, name) for name, row in rows.items()]
    shown = replace(attention, layers=layers)
    title = "the clearest head of each class"
    return grid.draw(shown, model=model, note=note, log=log, title=title, names=names)


def draw_layer(
    patterns: Patterns, attention: Attention, *, model: str = "", note: str = "", log: bool = False
) -> Figure:
    """What do the heads of this layer do? Their maps side by side, each with its classes."""
    (maps,) = attention.layers
    rows = {place: row for row, place in enumerate(patterns.head_keys())}
    names = []
    for head in maps.heads:
        row = rows[attention.kind, int(maps.layer), head]
        names.append(f"head {head} · {' '.join(_with_offset(patterns, row, name) for name in patterns.classes[row])}")
    title = f"layer {maps.layer}, {len(names)} heads with their classes"
    return grid.draw(attention, model=model, note=note, log=log, title=title, names=names)


def _one(attention: Attention, layer: int, head: int) -> LayerMaps:
    return attention.sel(layer=layer, head=head).layers[0]


def _example(patterns: Patterns, row: int, name: str) -> str:
    number = CLASS_NUMBERS[name]
    word = _SHORT.get(number, number)
    _, layer, head = list(patterns.head_keys())[row]
    return f"{_with_offset(patterns, row, name)} · {layer}.{head} · {word} {patterns.heads[number].values[row]:.2f}"


def _with_offset(patterns: Patterns, row: int, name: str) -> str:
    return f"{name} {signed(patterns.heads['diagonal_offset'].values[row])}" if name == "diagonal" else name
