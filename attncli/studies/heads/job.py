"""The whole job of `attncli heads`: which heads are alike, as tables and as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.engine.collected import Collected
from attncli.engine.invocation import Invocation, Published
from attncli.engine.progress import Track
from attncli.studies.heads.documents import write_heads
from attncli.studies.heads.result import ClusterOptions, HeadsResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Asked:
    """What becomes of the distances.

    formats        of tables and of pictures
    shuffle_seeds  so many passes over shuffled tokens
    """

    formats: Sequence[str]
    pictures: Sequence[str]
    grouping: ClusterOptions = field(default_factory=ClusterOptions)
    shuffle_seeds: int = 0


def compare_heads(job: Invocation, asked: Asked, track: Track) -> tuple[HeadsResult, dict[str, Any], Published]:
    """Compare the heads of a job; returns what was found, the contents of heads.json, and what was written."""
    # here and not above: the help needs no torch
    from attncli.engine.shuffles import check_shuffle_seeds
    from attncli.studies.heads.passes import check_grouping, check_single_heads

    check_single_heads(job.request)
    check_grouping(asked.grouping)
    check_shuffle_seeds(asked.shuffle_seeds)
    folder = job.folder  # refused before the long work
    run, likeness = _found(job, asked, track)
    document = write_heads(folder, run.info, run.inputs, likeness, asked.formats)
    pictures = list(_pictures(likeness, run))
    with track("drawing", len(pictures), "pictures") as drawn:
        for name, figure in pictures:
            _save(job, run, name, figure, asked.pictures)
            drawn(1)
    return likeness, document, Published(folder.finish(run.info), (*run.info.notes, *_doubts(likeness, job)))


def _found(job: Invocation, asked: Asked, track: Track) -> tuple[Collected, HeadsResult]:
    from attncli.studies.heads.passes import heads_of_maps, heads_sink, of_shuffled, state_numbers

    if isinstance(job.source, Collected):
        run = job.gather(track)
        return run, heads_of_maps(run.maps, run.inputs, asked.grouping)
    model, seeds = job.load(), asked.shuffle_seeds
    prepared = model.prepare(job.texts, replace(job.request, keep_maps=job.files.save_maps), track)
    if job.there is not None:
        run = job.gather(track)
        states, shuffled = state_numbers([prepared], track), of_shuffled(prepared, seeds, track)
        likeness = heads_of_maps(run.maps, run.inputs, asked.grouping, states, shuffled)
    else:
        if job.files.save_maps:
            prepared.check_memory(at_once=True)
        sink = heads_sink(prepared.inputs, prepared.heads, asked.grouping)
        run = job.informed(model.finish(prepared, job.texts, track, more=[sink]))
        likeness = sink.result(asked.grouping, state_numbers([prepared], track), of_shuffled(prepared, seeds, track))
    run = replace(run, info=replace(run.info, seed=0 if seeds else run.info.seed))
    job.save(run)
    return run, likeness


def _pictures(likeness: HeadsResult, run: Collected) -> Iterator[tuple[str, Figure]]:
    from attncli.studies.heads.figures import (
        dendrogram as heads_tree,
    )
    from attncli.studies.heads.figures import (
        distances as heads_distances,
    )
    from attncli.studies.heads.figures import (
        layers as heads_layers,
    )
    from attncli.studies.heads.figures import (
        map as heads_map,
    )

    several = len(likeness.groups) > 1
    look: dict[str, Any] = {
        "model": run.info.title,
        "note": f"mean over {len(run.inputs)} texts" if len(run.inputs) > 1 else "",
    }
    for kind, group in likeness.groups.items():
        prefix = f"{kind}-" if several else ""
        yield f"{prefix}heads-map", heads_map.draw(group, kind, **look)
        yield f"{prefix}heads-dendrogram", heads_tree.draw(group, kind, likeness.grouping, **look)
        yield f"{prefix}heads-distances", heads_distances.draw(group, kind, **look)
    yield "heads-layers", heads_layers.draw(likeness, **look)


def _doubts(likeness: HeadsResult, job: Invocation) -> Iterator[str]:
    """What should keep a reader from believing what is shown."""
    if isinstance(job.source, Collected):
        yield (
            "a saved run has no hidden states and cannot be read with its tokens shuffled: cosine and "
            "rank_one_distance are empty, and that baseline is left out"
        )
    elif bool(np.isnan(likeness.layers["cosine"].values).all()):
        yield "the model gives no hidden states of these layers: cosine and rank_one_distance are left empty"


def _save(job: Invocation, run: Collected, name: str, figure: Figure, formats: Sequence[str]) -> None:
    from attncli.plotting.render import render

    for format in formats:
        job.folder.write_bytes(f"{name}.{format}", render(figure, format, description=f"{run.info.title} {name}"))
