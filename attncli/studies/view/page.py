"""A run as one page: what of it fits, its numbers beside it, and the page itself, in a notebook or as a file."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attncli.data import Attention, Edges, Input, RunInfo, Statistics, Vectors, Zoom
from attncli.engine.memory import format_size
from attncli.engine.request import ALL_METRICS, Request, metric_names
from attncli.errors import UsageError
from attncli.page import (
    EdgeTable,
    EdgeTables,
    LayerId,
    MapSize,
    PageContent,
    PageFit,
    build_payload,
    fit_page,
    full_page_bytes,
    page_html,
    smallest_page_bytes,
)
from attncli.store import stats_document, write_page
from attncli.stream.zoom import zoomed

MAX_PAGE = 32_000_000
"""Bytes of a page, unless another number is asked for."""
HEIGHT = 640
"""Pixels of a page in a notebook."""
LONG = 200
"""Characters of an option from which on it is cut in a command that is shown."""
_AGAIN = (
    *("model", "revision", "tokenizer", "target-tokenizer", "model-head", "device", "dtype", "trust-remote-code"),
    *("text", "pair", "target", "file", "column", "chat", "generate", "max-tokens", "kind", "layer", "head"),
)
"""Options that decide which attention a command is about."""


@dataclass(frozen=True, eq=False)
class Page:
    """One self-contained HTML page on which a run is explored; it needs no network.

    html   the document
    notes  what of the run it leaves out
    A notebook shows it in place, `height` pixels high.
    """

    html: str
    notes: tuple[str, ...] = ()
    height: int = HEIGHT

    def save(self, path: str | Path) -> Path:
        """Write it to a file, whole or not at all."""
        write_page(Path(path), self.html)
        return Path(path)

    def _repr_html_(self) -> str:
        inside = html.escape(self.html, quote=True)
        allowed = "allow-scripts allow-downloads"
        style = f"width: 100%; height: {self.height}px; border: 0"
        return f'<iframe srcdoc="{inside}" sandbox="{allowed}" style="{style}" title="attention"></iframe>'


def page_of(
    info: RunInfo,
    inputs: Sequence[Input],
    maps: Sequence[Attention],
    statistics: Statistics | None,
    *,
    vectors: Sequence[Vectors] = (),
    budget: int = MAX_PAGE,
    tables: Mapping[LayerId, EdgeTable] | None = None,
    made_by: RunInfo | None = None,
) -> Page:
    """The page of a run, of at most about `budget` bytes.

    statistics  those of the pass; without them kept maps are measured, where they can be
    tables      the strongest weights of each row, for maps that were pooled while they streamed
    made_by     the run of the model, where this one was opened from it
    """
    there = dict(tables or {})
    usable = vectors if all(map(_has_vectors, maps)) else ()
    shown = _fitted(maps, budget, there, usable)
    notes = _notes(shown, there)
    numbers = _numbers(info, statistics or _measured(maps, inputs))
    origin = made_by or info
    in_vain = origin.resolved.get("neurons") and not vectors
    neurons = "" if usable or in_vain else neurons_command(origin, inputs[0].text.text)
    content = PageContent(info, inputs, shown, there, usable, numbers, notes, neurons)
    return Page(page_html(build_payload(content)), notes)


def too_large(sizes: Sequence[MapSize], budget: int, advice: str) -> UsageError:
    """What is said where not even the strongest weights fit."""
    longest = max(max(size.queries, size.keys) for size in sizes)
    return UsageError(
        f"the page would take at least {format_size(smallest_page_bytes(sizes))} (longest text: {longest} tokens), "
        f"allowed are {format_size(budget)}; {advice}, or allow more with --max-page"
    )


def advice(part: str, several: bool) -> str:
    """How a page becomes smaller; `part`: how one shows less of a text."""
    return f"show less with --layer 0, --head 0, {part}{' or fewer texts' if several else ''}"


def tables_of(maps: Sequence[Attention], edges: Edges) -> dict[LayerId, EdgeTable]:
    """The strongest weights that a run holds beside its pooled maps."""
    heads = {
        (attention.kind, layer.layer): layer.heads
        for attention in maps
        for layer in attention.layers
        if isinstance(layer.layer, int)
    }
    tables = EdgeTables(heads, edges.most_per_row)
    tables.add(edges)
    return tables.tables


def _has_vectors(attention: Attention) -> bool:
    """Whether its rows and columns are those of the model, head by head."""
    combined = (attention.aggregate, attention.aggregate_layers) != ("none", "none")
    return not (combined or attention.words or attention.dropped_special)


def _size_of(attention: Attention, vectors: Sequence[Vectors]) -> MapSize:
    """How large the maps of a text and kind are."""
    count = sum(len(maps.weights) for maps in attention.layers)
    layers = {maps.layer for maps in attention.layers}
    own = [one for one in vectors if (one.text, one.kind) == (attention.text, attention.kind) and one.layer in layers]
    values = (
        sum(one.query.shape[0] * one.query.shape[2] for one in own),
        sum(one.key.shape[0] * one.key.shape[2] for one in own),
        sum(len(one.heads) for one in own),
    )
    return MapSize(count, len(attention.queries), len(attention.keys), values)


def _fitted(
    maps: Sequence[Attention], budget: int, tables: dict[LayerId, EdgeTable], vectors: Sequence[Vectors]
) -> tuple[Attention, ...]:
    """Kept maps as they are where they fit; else the strongest weights of each row, into `tables`, and their cells."""
    for attention in maps:
        places = {(attention.text, attention.kind, layer.layer) for layer in attention.layers}
        if attention.pool != "none" and not places <= tables.keys():
            raise UsageError(
                "the page of pooled maps also needs the strongest weights of each row: "
                "run with top_k=16 beside resolution, or keep whole maps"
            )
    sizes = [_size_of(attention, vectors) for attention in maps if attention.pool == "none"]
    if full_page_bytes(sizes) <= budget:
        return tuple(maps)
    found = fit_page(sizes, budget)
    if found is None:
        raise too_large(sizes, budget, advice("--rows and --keys", len({attention.text for attention in maps}) > 1))
    return tuple(attention if attention.pool != "none" else _strongest(attention, found, tables) for attention in maps)


def _strongest(attention: Attention, found: PageFit, tables: dict[LayerId, EdgeTable]) -> Attention:
    pooled = zoomed(attention, Zoom(found.side))
    if pooled is not attention:
        for maps in attention.layers:
            tables[attention.text, attention.kind, maps.layer] = EdgeTable.of_maps(maps, found.edges)
    return pooled


def _notes(maps: Sequence[Attention], tables: Mapping[LayerId, EdgeTable]) -> tuple[str, ...]:
    """That a page does not hold every weight."""
    pooled = [attention for attention in maps if attention.pool != "none"]
    if not pooled:
        return ()
    longest = max(pooled, key=lambda attention: max(len(attention.queries), len(attention.keys)))
    tokens = max(len(longest.queries), len(longest.keys))
    per_row = max(
        tables[attention.text, attention.kind, layer.layer].per_row
        for attention in pooled
        for layer in attention.layers
    )
    rows, columns = longest.cell
    several = "up to " if len({(len(each.queries), len(each.keys)) for each in pooled}) > 1 else ""
    return (
        f"{several}{tokens:,} tokens: each row shows its {per_row} strongest weights, "
        f"the map is pooled {several}{rows} x {columns}; "
        "give --rows and --keys for a part of it, or --max-page for more",
    )


def _measured(maps: Sequence[Attention], inputs: Sequence[Input]) -> Statistics | None:
    if not all(attention.whole and attention.aggregate != "max" for attention in maps):
        return None
    # here and not above: to load a run needs no torch
    from attncli.engine.measuring import measure_maps

    return measure_maps(maps, inputs, Request(metrics=metric_names(ALL_METRICS)))


def _numbers(info: RunInfo, statistics: Statistics | None) -> Mapping[str, Any] | None:
    """Metrics and heads as in stats.json."""
    if statistics is None:
        return None
    # here and not above: metrics need torch
    from attncli.engine.measuring import declarations

    return stats_document(info, (), statistics, declarations(statistics.heads))


def neurons_command(info: RunInfo, text: str) -> str:
    """The command that would add query and key vectors to a run that begins with this text."""
    if info.cls == "file":
        return "attncli view --model MODEL --text TEXT --neurons"
    if not info.given:
        model, text = (json.dumps(_cut(each), ensure_ascii=False) for each in (info.model, text))
        return f"attncli.load({model}).run({text}, neurons=True).view()"
    parts = ["attncli", "view"]
    for name in _AGAIN:
        value = info.given.get(name)
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            parts += [f"--{name}"] if one is True else [f"--{name}", _cut(str(one))]
    return shlex.join([*parts, "--neurons"])


def _cut(text: str) -> str:
    return text if len(text) <= LONG else text[: LONG - 1] + "…"
