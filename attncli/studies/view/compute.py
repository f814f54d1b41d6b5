"""From a run to the page on which it is explored: every weight, or the strongest of each row and a pooled map."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data import Attention, Edges, LayerMaps, RunInfo, Vectors, Zoom, kind_order, predicts_tokens
from attncli.data.transforms import zoomed
from attncli.engine.collected import Collected
from attncli.engine.kept_maps import check_weights
from attncli.engine.memory import format_size, maps_per_kind, parse_size
from attncli.engine.request import Request, metric_names
from attncli.engine.windows import located
from attncli.errors import UsageError
from attncli.page import (
    COMBINED,
    EdgeTable,
    EdgeTables,
    LayerId,
    MapSize,
    PageAttribution,
    PageContent,
    PageFit,
    fit_page,
    full_page_bytes,
    page_html,
    smallest_page_bytes,
)
from attncli.paths import without_folders
from attncli.shell import shell_line
from attncli.store.tables import metric_entries, records, statistics_tables
from attncli.studies.view.result import Page
from attncli.vocabulary import ALL_METRICS, MAX_PAGE
from attncli.wording import spelled

if TYPE_CHECKING:  # the page of a saved run needs no torch
    from attncli.engine.passes import Pass

Tables = Mapping[LayerId, EdgeTable]
"""The strongest weights of each row of pooled maps."""
_LONGEST_OPTION = 200
"""Characters of an option that a suggested command shows."""
_OPTIONS_OF_RUN = (
    *("model", "revision", "tokenizer", "target-tokenizer", "model-head", "device", "dtype", "trust-remote-code"),
    *("text", "pair", "target", "file", "column", "chat", "generate", "max-tokens", "kind", "layer", "head"),
)
"""Options that select the attention of a command."""


def make_page(
    run: Collected,
    budget: int,
    tables: Tables | None = None,
    saved: RunInfo | None = None,
    attribution: PageAttribution | None = None,
) -> Page:
    """Return the page of a run, of at most about `budget` bytes.

    tables       the strongest weights of each row, for maps that are pooled already
    saved        the saved run that the run was read from
    attribution  how much the tokens count for a prediction
    Without statistics, kept maps are measured if they can be. Raise UsageError if maps are no weights or too large.
    """
    check_weights(run.maps)
    vectors = run.vectors if all(map(_is_of_model, run.maps)) else ()
    maps, edges = fit_maps(run.maps, vectors, left_of(budget, attribution), tables or {})
    notes = tuple(map(spelled, pooling_notes(maps, edges)))
    origin = saved or run.info
    asked_in_vain = origin.resolved.get("neurons") and not run.vectors
    command = "" if vectors or asked_in_vain else neurons_command(origin, run.inputs[0].text.text)
    shown_notes = (*notes, *_row_notes(maps, run.info))
    numbers = _numbers(run)
    content = PageContent(run.info, run.inputs, maps, edges, vectors, numbers, shown_notes, command, attribution)
    return Page(page_html(content), notes)


def left_of(budget: int, attribution: PageAttribution | None) -> int:
    """Return the bytes of a page that an attribution leaves for maps."""
    return budget if attribution is None else budget - round(attribution.size)


def _row_notes(maps: Sequence[Attention], info: RunInfo) -> Iterator[str]:
    """Yield which tokens rows are named by, where rows predict the next token."""
    kinds = dict.fromkeys(attention.kind for attention in maps if predicts_tokens(attention.kind))
    if kinds and info.kinds.known and not any(attention.words for attention in maps):
        read = {attention.rows_as != "predicted" for attention in maps if attention.kind in kinds}
        named = "that the model reads there, and predict the next one" if True in read else "that they predict"
        yield f"rows of {' and '.join(kinds)} attention are named by the token {named}"


def _is_of_model(attention: Attention) -> bool:
    """Return whether heads, rows and columns are those of the model, as vectors need it."""
    combined = (attention.aggregate, attention.aggregate_layers) != ("none", "none")
    return not (combined or attention.words or attention.dropped_special)


def _numbers(run: Collected) -> Mapping[str, Any] | None:
    """Return metrics and heads as in stats.json; None if nothing was measured and the maps cannot be."""
    measurable = all(attention.whole and attention.aggregate != "max" for attention in run.maps)
    if run.statistics is None and not measurable:
        return None
    # imported here: metrics need torch
    from attncli.engine.measuring import declarations, measure_maps

    statistics = run.statistics or measure_maps(run.maps, run.inputs, Request(metrics=metric_names(ALL_METRICS)))
    heads = list(records(statistics_tables(statistics)["stats"]))
    return {"metrics": metric_entries(statistics, declarations(statistics.heads)), "heads": heads}


def neurons_command(info: RunInfo, text: str) -> str:
    """Return the command that adds query and key vectors to a run; `text` is its first text."""
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
    return shell_line([*parts, "--neurons"])


def _shorten(text: str) -> str:
    text = without_folders(text)
    return text if len(text) <= _LONGEST_OPTION else text[: _LONGEST_OPTION - 1] + "…"


def page_budget(size: int | str | None, option: str) -> int:
    """Return the bytes that a page may have; raise UsageError if `size`, given as `option`, is no size."""
    budget = parse_size(MAX_PAGE if size is None else size, option)
    assert budget is not None  # only None has no size
    return budget


def fit_pass(prepared: Pass, budget: int) -> PageFit | None:
    """Return how much of the maps of a forward pass fits into `budget` bytes; None if every weight does.

    None for combined maps too: they are kept whole, because their strongest weights are only known at the end.
    Raise UsageError if not even the strongest weights fit.
    """
    request, sizes = prepared.request, _sizes_of_pass(prepared)
    if request.combined or full_page_bytes(sizes) <= budget:
        return None
    if request.zoom.windowed:
        raise UsageError(
            f"the page would take {format_size(full_page_bytes(sizes))}, allowed are {format_size(budget)}: "
            "give smaller --rows and --keys, or allow more with --max-page"
        )
    return _fit_strongest(sizes, budget, "--max-tokens 512", len(prepared.inputs) > 1)


def fit_maps(
    maps: Sequence[Attention], vectors: Sequence[Vectors], budget: int, tables: Tables
) -> tuple[tuple[Attention, ...], Tables]:
    """Return kept maps, pooled if they are too large, and the tables of strongest weights of pooled maps.

    tables  the strongest weights of maps that are pooled already
    Raise UsageError if a table is missing, or if not even the strongest weights fit into `budget` bytes.
    """
    for attention in maps:
        places = {_layer_id(attention, layer) for layer in attention.layers}
        if attention.pool != "none" and not places <= tables.keys():
            raise UsageError(
                "the page of pooled maps also needs the strongest weights of each row: "
                "run with top_k=16 and resolution, or keep full maps"
            )
    sizes = [_size_of_maps(attention, vectors) for attention in maps if attention.pool == "none"]
    if full_page_bytes(sizes) <= budget:
        return tuple(maps), tables
    several = len({attention.text for attention in maps}) > 1
    strongest = _fit_strongest(sizes, budget, "--rows and --keys", several)
    shown, edge_tables = [], dict(tables)
    for attention in maps:
        pooled = zoomed(attention, Zoom(strongest.side, beside=COMBINED)) if attention.pool == "none" else attention
        if pooled is not attention:
            for full in (attention, *_combined(attention)):
                for layer in full.layers:
                    edge_tables[_layer_id(full, layer)] = EdgeTable.of_maps(layer, strongest.edges)
        shown.append(pooled)
    return tuple(shown), edge_tables


def _layer_id(attention: Attention, layer: LayerMaps) -> LayerId:
    return attention.text, attention.kind, layer.layer, attention.aggregate


def _combined(attention: Attention) -> Iterator[Attention]:
    """Yield the mean and the maximum over heads of the layers that have several."""
    layers = tuple(layer for layer in attention.layers if len(layer.heads) > 1)
    for how in COMBINED if layers else ():
        yield replace(attention, layers=layers).combined_heads(how)


def tables_of_edges(maps: Sequence[Attention], edges: Edges) -> Tables:
    """Return the tables of the strongest weights that a run has in addition to its pooled maps."""
    heads = {
        (attention.kind, layer.layer): layer.heads or tuple(np.unique(edges.head).tolist())
        for attention in maps
        for layer in attention.layers
        if isinstance(layer.layer, int)
    }
    most_per_row = int(np.diff([*edges.row_starts, len(edges)]).max(initial=0))
    tables = EdgeTables(heads, most_per_row, edges.aggregate)
    tables.add(edges)
    return tables.tables


def pooling_notes(maps: Sequence[Attention], tables: Tables) -> tuple[str, ...]:
    """Return what a reader should know about pooled maps; nothing if every weight is shown."""
    pooled = [attention for attention in maps if attention.pool != "none"]
    if not pooled:
        return ()
    longest = max(pooled, key=lambda attention: max(len(attention.queries), len(attention.keys)))
    tokens = max(len(longest.queries), len(longest.keys))
    per_row = max(tables[_layer_id(attention, layer)].per_row for attention in pooled for layer in attention.layers)
    rows, columns = longest.cell
    up_to = "up to " if len({(len(maps.queries), len(maps.keys)) for maps in pooled}) > 1 else ""
    return (
        f"{up_to}{tokens:,} tokens: each row shows its {per_row} strongest weights, "
        f"the map is pooled {up_to}{rows} x {columns}; "
        "give --rows and --keys for a part of it, or --max-page for more",
    )


def _fit_strongest(sizes: Sequence[MapSize], budget: int, shorter: str, several: bool) -> PageFit:
    """Return what fits; `shorter` are options that show less of a text, `several` whether there are several texts."""
    fit = fit_page(sizes, budget)
    if fit is None:
        longest = max(max(size.queries, size.keys) for size in sizes)
        raise UsageError(
            f"the page would take at least {format_size(smallest_page_bytes(sizes))} (longest text: {longest} tokens), "
            f"allowed are {format_size(budget)}; show less with --layer 0, --head 0, {shorter}"
            f"{' or fewer texts' if several else ''}, or allow more with --max-page"
        )
    return fit


def _sizes_of_pass(prepared: Pass) -> list[MapSize]:
    request = prepared.request
    maps = maps_per_kind(
        prepared.heads, one_head=request.aggregate != "none", one_layer=request.aggregate_layers != "none"
    )
    vectors = prepared.vector_values if request.neurons else {}
    several = [kind for (kind, _), heads in prepared.heads.items() if len(heads) > 1]
    sizes = []
    for text in prepared.inputs:
        for kind in sorted(maps, key=kind_order):
            part = located(request.zoom, text.sides(kind), kind)
            queries, keys = part.sides(*map(len, text.sides(kind)))
            of_kind = vectors.get(kind, (0, 0, 0)), len(COMBINED) * several.count(kind)
            sizes.append(MapSize(maps[kind], len(queries), len(keys), *of_kind))
    return sizes


def _size_of_maps(attention: Attention, vectors: Sequence[Vectors]) -> MapSize:
    layers = {maps.layer for maps in attention.layers}
    shown = [
        of_layer
        for of_layer in vectors
        if (of_layer.text, of_layer.kind) == (attention.text, attention.kind) and of_layer.layer in layers
    ]
    values = (
        sum(of_layer.query.shape[0] * of_layer.query.shape[2] for of_layer in shown),
        sum(of_layer.key.shape[0] * of_layer.key.shape[2] for of_layer in shown),
        sum(len(of_layer.heads) for of_layer in shown),
    )
    count = sum(len(maps.weights) for maps in attention.layers)
    combined = len(COMBINED) * sum(len(maps.heads) > 1 for maps in attention.layers)
    return MapSize(count, len(attention.queries), len(attention.keys), values, combined)
