"""The whole job of `attncli segments`: attention between segments as tables and as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from attncli import store
from attncli.data import Input, Kind
from attncli.engine.collected import Collected
from attncli.engine.invocation import Invocation, Published
from attncli.engine.progress import Track
from attncli.inputs.partitions import Sides
from attncli.studies.segments.dividing import Dividing, segments_of, sink_for
from attncli.studies.segments.result import Segments

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "attncli.segments/1"
MOST_IN_PANELS = 16
"""Segments that a panel of a page can show."""


def measure_segments(
    job: Invocation, dividing: Dividing, tables: Sequence[str], pictures: Sequence[str], track: Track
) -> tuple[Segments, dict[str, Any], Published]:
    """Measure what a job asks for; returns what was found, the contents of segments.json, and what was written."""
    folder = job.folder  # refused before the long work
    run, found, sides = _found(job, dividing, track)
    job.save(run)
    shown = {"heads": found.table(), "mean": found.mean_table()}
    shown |= {"tokens": found.tokens_table()} if found.tokens else {}
    inputs = [entry for one in run.inputs for entry in _entries(one, sides)]
    document = store.analysis_document(SCHEMA, run.info, {"inputs": inputs}, shown)
    names = {"heads": "segments", "mean": "segments-mean", "tokens": "segments-tokens"}
    store.write_analysis(folder, document, {names[name]: columns for name, columns in shown.items()}, tables)
    notes = list(run.info.notes)
    if any(len(names) > MOST_IN_PANELS for one in sides.values() for names in (one[0].names, one[1].names)):
        notes.append(f"there is no page of all heads: panels show at most {MOST_IN_PANELS} segments, segments.csv all")
    for name, figure in _figures(run, found):
        _save(job, run, name, figure, pictures)
    return found, document, Published(folder.finish(run.info), tuple(notes))


def _found(
    job: Invocation, dividing: Dividing, track: Track
) -> tuple[Collected, Segments, Mapping[tuple[int, Kind], Sides]]:
    request = replace(job.request, keep_maps=job.files.save_maps)
    if job.there is not None:
        run = job.gather(track)
        return run, *segments_of(run.maps, run.inputs, dividing)
    model = job.load()
    prepared = model.prepare(job.texts, request, track)
    sink, sides = sink_for(dividing, prepared.inputs, prepared.heads, (request.aggregate, request.aggregate_layers))
    if request.keep_maps:
        prepared.check_memory(at_once=True)
    run = job.informed(model.finish(prepared, job.texts, track, more=[sink]))
    return run, sink.result(), sides


def _entries(one: Input, sides: Mapping[tuple[int, Kind], Sides]) -> Iterator[dict[str, Any]]:
    """Which token is in which segment."""
    for kind in (kind for text, kind in sides if text == one.index):
        entry: dict[str, Any] = {"index": one.index, "kind": kind}
        for name, tokens, part in zip(("query", "key"), one.sides(kind), sides[one.index, kind], strict=True):
            entry |= {
                {"query": "queries", "key": "keys"}[name]: list(tokens.pieces),
                f"{name}_segments": [part.names[at] for at in part.places.tolist()],
            }
        yield entry


def _figures(run: Collected, found: Segments) -> Iterator[tuple[str, Figure]]:
    from attncli.studies.segments.figures import means as segments
    from attncli.studies.segments.figures import tokens as segment_tokens

    texts, inputs = len(run.inputs), {one.index: one for one in run.inputs}
    note = f"mean over {texts} texts" if texts > 1 else ""
    kinds: list[Kind] = list(dict.fromkeys(found["mass"].coords["kind"][1].tolist()))
    for kind in kinds:
        yield f"{kind}-segments", segments.draw(found, kind, model=run.info.title, note=note)
        if page := segments.draw_heads(found, kind, MOST_IN_PANELS, model=run.info.title, note=note):
            yield f"{kind}-segments-heads", page
    if found.tokens:
        coords = found.tokens["mass"].coords
        for text, kind in dict.fromkeys(zip(coords["text"][1].tolist(), coords["kind"][1].tolist(), strict=True)):
            prefix, note = (f"T{text:03}-", f"text {text + 1} of {texts}") if texts > 1 else ("", "")
            queries = inputs[text].sides(kind)[0]
            figure = segment_tokens.draw(found, kind, text, queries, model=run.info.title, note=note)
            yield f"{prefix}{kind}-segments-tokens", figure


def _save(job: Invocation, run: Collected, name: str, figure: Figure, formats: Sequence[str]) -> None:
    from attncli.plotting.render import render

    for format in formats:
        job.folder.write_bytes(f"{name}.{format}", render(figure, format, description=f"{run.info.title} {name}"))
