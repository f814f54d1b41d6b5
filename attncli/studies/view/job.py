"""The whole job of `attncli view`: one page, of as much of the maps as it may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from attncli.data import KINDS
from attncli.engine.collected import Collected
from attncli.engine.invocation import Invocation, Published
from attncli.engine.memory import format_size, maps_per_kind
from attncli.engine.progress import Track
from attncli.errors import UsageError
from attncli.page import EdgeTable, EdgeTables, LayerId, MapSize, PageFit, fit_page, full_page_bytes
from attncli.store import write_view
from attncli.stream.zoom import zoomed
from attncli.studies.view.page import Page, advice, neurons_command, page_of, too_large

if TYPE_CHECKING:  # to show a saved run needs no model
    from attncli.engine.passes import Pass
    from attncli.engine.runner import Runner


def write_page(job: Invocation, budget: int, track: Track) -> Published:
    """Write the page of a job, of at most about `budget` bytes."""
    folder = job.folder  # refused before the long work
    if job.there is not None or job.files.save_maps:
        run, page = _of_kept(job, budget, track)
    else:
        run, page = _of_model(job, job.load(), budget, track)
    write_view(folder, page.html)
    return Published(folder.finish(run.info), (*run.info.notes, *page.notes))


def _of_kept(job: Invocation, budget: int, track: Track) -> tuple[Collected, Page]:
    """From maps that are there, or are to be kept."""
    source = job.source
    if isinstance(source, Collected) and job.request.neurons and not source.vectors:
        command = neurons_command(source.info, source.inputs[0].text.text)
        raise UsageError(f"only the model gives query and key vectors, this run has none: {command}")
    run = job.gather(track)
    job.save(run)
    made_by = source.info if isinstance(source, Collected) else None
    shown = [zoomed(each, job.request.zoom) for each in run.maps]
    return run, page_of(
        run.info, run.inputs, shown, run.statistics, vectors=run.vectors, budget=budget, made_by=made_by
    )


def _of_model(job: Invocation, model: Runner, budget: int, track: Track) -> tuple[Collected, Page]:
    """From a pass that keeps no more than the page shows: maps that are too large never exist."""
    # here and not above: to show a saved run needs no torch
    from attncli.stream import StrongestEdges

    prepared = model.prepare(job.texts, job.request, track)
    found = _fitting(prepared, budget)
    if found is None:
        prepared.check_memory(at_once=True)
        return _page(job, model.finish(prepared, job.texts, track), budget)
    tables = EdgeTables(prepared.heads, found.edges)
    edges = StrongestEdges(prepared.inputs, tables.add, top_k=found.edges, heads=prepared.heads)
    zoom = replace(job.request.zoom, resolution=found.side)
    pooled = replace(prepared, request=replace(job.request, zoom=zoom))
    run = model.finish(pooled, job.texts, track, more=[edges])
    edges.result()
    return _page(job, run, budget, tables.tables)


def _page(
    job: Invocation, run: Collected, budget: int, tables: Mapping[LayerId, EdgeTable] | None = None
) -> tuple[Collected, Page]:
    run = job.informed(run)
    return run, page_of(
        run.info, run.inputs, run.maps, run.statistics, vectors=run.vectors, budget=budget, tables=tables
    )


def _fitting(prepared: Pass, budget: int) -> PageFit | None:
    """How much is to be shown; None where it is every weight. Combined maps are kept whole, as their edges need it."""
    request, sizes = prepared.request, _sizes(prepared)
    if request.combined or full_page_bytes(sizes) <= budget:
        return None
    several = len(prepared.inputs) > 1
    if request.zoom.windowed:
        raise UsageError(
            f"the page would take {format_size(full_page_bytes(sizes))}, allowed are {format_size(budget)}: "
            "give smaller --rows and --keys, or allow more with --max-page"
        )
    found = fit_page(sizes, budget)
    if found is None:
        raise too_large(sizes, budget, advice("--max-tokens 512", several))
    return found


def _sizes(prepared: Pass) -> Sequence[MapSize]:
    request = prepared.request
    maps = maps_per_kind(
        prepared.heads, one_head=request.aggregate != "none", one_layer=request.aggregate_layers != "none"
    )
    vectors = prepared.vector_values if request.neurons else {}
    sizes = []
    for one in prepared.inputs:
        for kind in (kind for kind in KINDS if kind in maps):
            queries, keys = request.zoom.sides(*map(len, one.sides(kind)))
            sizes.append(MapSize(maps[kind], len(queries), len(keys), vectors.get(kind, (0, 0, 0))))
    return sizes
