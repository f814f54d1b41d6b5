"""The whole job of `attncli stats`: every head by numbers, as tables and as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli import store
from attncli.data import SINK, Metric, Profile, Statistics
from attncli.engine.collected import Collected
from attncli.engine.invocation import Invocation, Published
from attncli.engine.progress import Track
from attncli.studies.stats.profile_files import write_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Report:
    """What becomes of the numbers.

    formats         of the tables
    spread          whether to draw the heads of each layer as points too
    sink_threshold  how much attention a key gets that a profile calls a sink
    """

    formats: Sequence[str]
    spread: bool = False
    sink_threshold: float = SINK


def measure(job: Invocation, report: Report, track: Track) -> tuple[Statistics, dict[str, Any], Published]:
    """Measure what a job asks for; returns the statistics, the contents of stats.json, and what was written."""
    with store.EdgesFile(job.folder) if job.request.edges else nullcontext() as edges:
        run = job.gather(track, edges.take if edges else None)
    # here and not above: drawing needs no torch, which metrics import
    from attncli.engine.measuring import declarations

    statistics = run.statistics or run.stats(job.request.metrics, job.request.per_query)
    job.save(run)
    declared = declarations(job.request.metrics)
    document = store.write_statistics(job.folder, run.info, run.inputs, statistics, declared, report.formats)
    notes = run.info.notes
    if any(np.isfinite(scores.values).any() for scores in statistics.heads.values()):
        _draw_statistics(job, run, statistics, declared, report.spread)
    else:
        notes = (*notes, "there is no picture: none of these metrics has a value for a whole head here")
    if run.whole is not None:
        write_profile(job.folder, run.whole, report.sink_threshold, report.formats)
        _draw_profile(job, run, run.whole, report.sink_threshold, track)
    return statistics, document, Published(job.folder.finish(run.info), notes)


def _draw_statistics(
    job: Invocation, run: Collected, statistics: Statistics, declared: Mapping[str, Metric], spread_too: bool
) -> None:
    from attncli.plotting import overview

    neutral = {name: metric.neutral for name, metric in declared.items() if metric.neutral is not None}
    norms = "shares of value-weighted norms" if statistics.by == "norm" else ""
    note = " · ".join(each for each in (norms, _mean_note(run)) if each)
    _save(job, run, "stats", overview.draw(statistics, model=run.info.title, note=note, neutral=neutral))
    if spread_too:
        # here and not above: seaborn costs seconds
        from attncli.studies.stats.figures import spread

        _save(job, run, "stats-spread", spread.draw(statistics, model=run.info.title, note=note))


def _draw_profile(job: Invocation, run: Collected, profile: Profile, threshold: float, track: Track) -> None:
    from attncli.studies.stats.figures import distances, received

    texts = len(run.inputs)
    with track("drawing", len(profile.received), "pictures") as drawn:
        for one in profile.received:
            prefix, note = (f"T{one.text:03}-", f"text {one.text + 1} of {texts}") if texts > 1 else ("", "")
            figure = received.draw(one, model=run.info.title, note=note, threshold=threshold)
            _save(job, run, f"{prefix}{one.kind}-received", figure)
            drawn(1)
    for kind in dict.fromkeys(one.kind for one in profile.received):
        if kind != "cross":
            figure = distances.draw(profile, kind, model=run.info.title, note=_mean_note(run))
            _save(job, run, f"{kind}-distance", figure)


def _save(job: Invocation, run: Collected, name: str, figure: Figure) -> None:
    from attncli.plotting.render import render

    job.folder.write_bytes(f"{name}.png", render(figure, "png", description=f"{run.info.title} {name}"))


def _mean_note(run: Collected) -> str:
    return f"mean over {len(run.inputs)} texts" if len(run.inputs) > 1 else ""
