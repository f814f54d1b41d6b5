"""Heatmaps of a run: from texts, or a saved run, to pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from attncli.data import Attention, Kind, Selection
from attncli.engine.collected import Collected
from attncli.engine.invocation import Invocation, Published
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request
from attncli.store import OutputFolder
from attncli.stream.zoom import zoomed
from attncli.studies.heatmap.pictures import Picture, Show, fitted, pictures, shared_top


def draw(job: Invocation, show: Show, formats: Sequence[str], track: Track, wrote: Callable[[Path], None]) -> Published:
    """Draw the maps of a job; `wrote` hears of each picture when it is there."""
    folder = job.folder
    # of several texts all is shown as one work, of a single one how far it is read, then how far it is drawn
    over_texts, in_text = (track, untracked) if len(job.texts) > 1 else (untracked, track)
    with over_texts("drawing", len(job.texts), "texts") as texts_done:
        for run in maps_to_draw(job, in_text, show):
            count = max(len(job.texts), len({attention.text for attention in run.maps}))
            drawn = [(picture, top) for attention in run.maps for picture, top in _with_top(attention, show, count)]
            with in_text("drawing", len(drawn), "pictures") as pictures_done:
                for picture, top in drawn:
                    for path in _save(folder, picture, run.info.title, count, top, formats):
                        wrote(path)
                    pictures_done(1)
                    texts_done(len(run.inputs) / len(drawn))
    return Published(folder.finish(run.info), run.info.notes)


def _with_top(attention: Attention, show: Show, texts: int) -> Iterator[tuple[Picture, float | None]]:
    top = shared_top(attention) if show.scale == "shared" else None
    return ((picture, top) for picture in pictures(attention, show, texts))


def _save(
    folder: OutputFolder, picture: Picture, model: str, texts: int, top: float | None, formats: Sequence[str]
) -> Iterator[Path]:
    from attncli.plotting.render import render

    note = f"text {picture.attention.text + 1} of {texts}" if texts > 1 else ""
    figure = picture.draw(model, note, top)
    for format in formats:
        data = render(figure, format, description=f"{model} {picture.name}")
        yield folder.write_bytes(f"{picture.name}.{format}", data)


def maps_to_draw(job: Invocation, track: Track, show: Show) -> Iterator[Collected]:
    """The maps to draw as one run after another, so that few are held at a time; where whole ones are kept, as one.

    Those to keep are saved on the way.
    """
    if job.there is not None or job.files.save_maps:
        run = job.gather(track)
        shown = tuple(zoomed(each, fitted(job.request.zoom, show, [_counts(each)])) for each in run.maps)
        job.save(run)
        yield replace(run, maps=shown)
        return
    model = job.load()
    pages = _pages(model.heads(job.request), job.request)
    request = replace(job.request, zoom=fitted(job.request.zoom, show, pages))
    yield from map(job.informed, model.runs(job.texts, request, track))


def _counts(attention: Attention) -> list[int]:
    """How many maps each layer has."""
    return [len(maps.weights) for maps in attention.layers]


def _pages(heads: Selection, request: Request) -> list[list[int]]:
    """The same for each kind, of maps that are still to come."""
    kinds: dict[Kind, list[int]] = {}
    for (kind, _), numbers in heads.items():
        kinds.setdefault(kind, []).append(len(numbers) if request.aggregate == "none" else 1)
    return [counts if request.aggregate_layers == "none" else counts[:1] for counts in kinds.values()]
