"""What `heatmap` writes: pictures of maps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from attncli.engine.report import Drawing
from attncli.studies.heatmap.options import HeatmapOptions
from attncli.studies.heatmap.pictures import PictureChoice, pictures
from attncli.studies.heatmap.result import MapsToDraw


def drawings(maps: MapsToDraw, choice: PictureChoice, options: HeatmapOptions, notes: list[str]) -> Iterator[Drawing]:
    """Yield the pictures of one run after another.

    notes  is filled with the notes of the run that is drawn; those of the last run hold for all texts
    """
    # imported here: matplotlib takes long to load
    from attncli.plotting.cells import largest_weight

    own = options.scale == "panel"
    for run in maps.runs:
        notes[:] = run.info.notes
        for attention in run.maps:
            several = maps.texts > 1
            prefix = f"T{attention.text:03}-" if several else ""
            note = f"text {attention.text + 1} of {maps.texts}" if several else ""
            shared = None if own else largest_weight([attention])
            for picture in pictures(attention, choice, prefix):
                draw = partial(picture.draw, run.info.title, note, log=options.log, top=shared, own=own)
                yield Drawing(picture.name, draw)
