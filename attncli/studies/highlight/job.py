"""The whole job of `attncli highlight`: from texts, or from a saved run, to pages that show attention on the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from attncli.engine.collected import Collected
from attncli.engine.focus import FocusRequest, find_in_maps
from attncli.engine.invocation import Invocation, Published
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request
from attncli.studies.highlight.page import HighlightPage, file_name, highlights


def looking_at(job: Invocation, looking: FocusRequest, *, mean: bool) -> Invocation:
    """The same job, for the focus alone; `mean`: of all layers and heads."""
    request = replace(job.request, looking=looking)
    return replace(job, request=_mean_of_all(request, job.there) if mean else request)


def paint(
    job: Invocation,
    formats: Sequence[str],
    track: Track,
    wrote: Callable[[Path], None],
    show: Callable[[HighlightPage], None],
) -> Published:
    """Write a page for each text and kind of attention; `wrote` hears of each file, `show` of each page."""
    looking = job.request.looking
    assert looking is not None  # see looking_at
    count = len(job.texts) or len(job.there.inputs if job.there else ())
    over_texts, in_text = (track, untracked) if count > 1 else (untracked, track)
    with over_texts("drawing", count, "texts") as texts_done:
        for run in _runs(job, looking, in_text):
            for shown in highlights(run.maps, run.inputs, looking):
                note = f"text {shown.text + 1} of {count}" if count > 1 else ""
                page = HighlightPage(shown, run.info.title, note)
                name = file_name(shown, looking, count > 1)
                for format in formats:
                    wrote(page.save(job.folder.path_for(f"{name}.{format}")))
                show(page)
            texts_done(len(run.inputs))
            info = run.info
    return Published(job.folder.finish(info), info.notes)


def _mean_of_all(request: Request, there: Collected | None) -> Request:
    """The same with heads and layers combined, unless kept maps are so already."""
    combined = there is not None and any(attention.aggregate != "none" for attention in there.maps)
    return replace(request, aggregate="none" if combined else "mean", aggregate_layers="mean")


def _runs(job: Invocation, looking: FocusRequest, track: Track) -> Iterator[Collected]:
    """What is to be shown; of whole maps those that have the focus."""
    for run in job.looked_at(track):
        if job.there is not None or job.files.save_maps:
            places = find_in_maps(run.maps, run.inputs, looking)
            run = replace(run, info=replace(run.info, notes=(*run.info.notes, *places.notes)))
            job.save(run)
            run = replace(run, maps=tuple(each for each in run.maps if (each.text, each.kind) in places.at))
        yield run
