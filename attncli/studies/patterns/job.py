"""The whole job of `attncli patterns`: the classes of all heads, or their scores on repeated random tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from attncli import store
from attncli.data import Attention, Kind, RunInfo, Selection, Zoom
from attncli.engine.collected import Collected
from attncli.engine.invocation import Invocation, Published
from attncli.engine.progress import Track
from attncli.engine.request import RESOLUTION
from attncli.stream.zoom import zoomed
from attncli.studies.heatmap.pictures import LINEAR_UP_TO, Show, fitted
from attncli.studies.patterns.documents import write_patterns, write_repeated
from attncli.studies.patterns.result import Patterns, Thresholds
from attncli.studies.repeated.result import Repeated

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Asked:
    """What becomes of the patterns.

    formats   of tables and of pictures
    layered   whether layers were chosen: each gets a page of its heads
    """

    formats: Sequence[str]
    pictures: Sequence[str]
    thresholds: Thresholds = field(default_factory=Thresholds)
    shuffle_seeds: int = 0
    layered: bool = False


def classify(job: Invocation, asked: Asked, track: Track) -> tuple[Patterns, dict[str, Any], Published]:
    """Classify the heads of a job; returns the patterns, the contents of patterns.json, and what was written."""
    # here and not above: the help needs no torch
    from attncli.engine.shuffles import check_shuffle_seeds
    from attncli.studies.patterns.classes import questions
    from attncli.studies.patterns.compute import number_questions
    from attncli.studies.patterns.passes import check_single_heads, check_thresholds

    check_single_heads(job.request)
    check_thresholds(asked.thresholds)
    check_shuffle_seeds(asked.shuffle_seeds)
    folder = job.folder  # refused before the long work
    run, patterns, maps = _found(job, asked, track)
    asking = questions(), number_questions()
    document = write_patterns(folder, run.info, run.inputs, patterns, asking, asked.formats)
    from attncli.studies.patterns.figures import classes as view

    _save(job, run.info, "patterns", view.draw(patterns, model=run.info.title, note=_note(run)), asked.pictures)
    for name, figure in _pages(patterns, maps, asked.layered, run):
        _save(job, run.info, name, figure, asked.pictures)
    return patterns, document, Published(folder.finish(run.info), (*run.info.notes, *_doubts(patterns)))


def probe(
    job: Invocation, length: int, seeds: int, asked: Asked, track: Track
) -> tuple[Repeated, dict[str, Any], Published]:
    """The scores of repeated random tokens; returns them, the contents of repeated.json, and what was written."""
    from attncli.data import Statistics
    from attncli.plotting import overview
    from attncli.studies.patterns.passes import repeated_scores
    from attncli.studies.repeated.compute import questions

    folder = job.folder
    model = job.load()  # the command says that a probe needs one
    plan = model.plan(job.request.capture)
    found, prepared = repeated_scores(model.loaded, plan, job.request, length, seeds, track)
    info = replace(model.loaded.run_info(plan.route), notes=prepared.notes, seed=0, input_sha256=store.input_sha256(()))
    info = replace(info, given=dict(job.given), resolved=job.resolved)
    document = write_repeated(folder, info, prepared.inputs, found, questions(), asked.formats)
    note = f"random tokens r, read as BOS r r · |r| = {length} · mean over {seeds} seeds"
    shown = Statistics({name: found.heads[name] for name in questions()})
    _save(job, info, "repeated", overview.draw(shown, model=info.title, note=note, top=1.0), asked.pictures)
    return found, document, Published(folder.finish(info), info.notes)


def _found(job: Invocation, asked: Asked, track: Track) -> tuple[Collected, Patterns, list[Attention]]:
    """The run, its patterns, and the maps that are to be drawn: of the first text, of each kind."""
    from attncli.studies.patterns.passes import pattern_sink, patterns_in, shuffled_numbers

    request = replace(job.request, keep_maps=job.files.save_maps)
    if job.there is not None:
        run = job.gather(track)
        shuffled = None
        if asked.shuffle_seeds:  # a saved run has no model to shuffle tokens for
            shuffled = shuffled_numbers(job.load().prepare(job.texts, request), asked.shuffle_seeds, track)
        patterns = patterns_in(run.maps, run.inputs, asked.thresholds, shuffled)
    else:
        model = job.load()
        prepared = model.prepare(job.texts, request, track)
        if request.keep_maps:
            prepared.check_memory(at_once=True)
        sink = pattern_sink(prepared)
        run = job.informed(model.finish(prepared, job.texts, track, more=[sink]))
        patterns = sink.result(asked.thresholds, shuffled_numbers(prepared, asked.shuffle_seeds, track))
    run = replace(run, info=replace(run.info, seed=0 if asked.shuffle_seeds else run.info.seed))
    job.save(run)
    shown = _shown(patterns, asked.layered)
    return run, patterns, _kept(run, shown) if run.maps else _again(job, shown)


def _shown(patterns: Patterns, layered: bool) -> Selection:
    """The heads whose maps are drawn: the clearest of each class, all where layers were chosen."""
    places = list(patterns.places())
    kinds = dict.fromkeys(kind for kind, _, _ in places)
    rows = range(len(places)) if layered else [row for kind in kinds for row in patterns.clearest(kind).values()]
    heads: dict[tuple[Kind, int], tuple[int, ...]] = {}
    for kind, layer, head in sorted({places[row] for row in rows}):
        heads[kind, layer] = (*heads.get((kind, layer), ()), head)
    return heads


def _zoom(heads: Selection) -> Zoom:
    """As fine as a page of these heads can show."""
    return fitted(Zoom(RESOLUTION), Show(shape="grid"), [[len(numbers)] for numbers in heads.values()])


def _again(job: Invocation, heads: Selection) -> list[Attention]:
    """The maps of these heads by one more pass over the first text."""
    request = replace(job.request, zoom=_zoom(heads), keep_maps=True)
    prepared = replace(job.load().prepare(job.texts[:1], request), heads=heads)
    prepared.check_memory(at_once=True)
    return list(prepared.gather().maps)


def _kept(run: Collected, heads: Selection) -> list[Attention]:
    """Those of the first text, from maps that are there."""
    first = min(attention.text for attention in run.maps)
    return [zoomed(each, _zoom(heads)) for each in run.maps if each.text == first]


def _pages(
    patterns: Patterns, maps: Sequence[Attention], layered: bool, run: Collected
) -> Iterator[tuple[str, Figure]]:
    """The clearest head of each class, side by side; where layers were chosen, the heads of each with their classes."""
    from attncli.studies.patterns.figures import examples

    note = "the first text" if len(run.inputs) > 1 else ""
    for attention in maps:
        log = max(len(attention.queries), len(attention.keys)) > LINEAR_UP_TO
        look: dict[str, Any] = {"model": run.info.title, "note": note, "log": log}
        prefix = f"{attention.kind}-" if len(maps) > 1 else ""
        if patterns.clearest(attention.kind):
            yield f"{prefix}patterns-examples", examples.draw(patterns, attention, **look)
        for maps_of in attention.layers if layered else ():
            page = examples.draw_layer(patterns, replace(attention, layers=(maps_of,)), **look)
            yield f"{attention.kind}-L{maps_of.layer:02}-patterns", page


def _doubts(patterns: Patterns) -> tuple[str, ...]:
    """What should keep a reader from believing a verdict."""
    from attncli.studies.patterns.compute import uniform_verdicts

    found = {name for names in uniform_verdicts(patterns) for name in names} - {"uniform", "mixed"}
    if not found:
        return ()
    return (
        f"texts are so short that even attention would be called {' and '.join(sorted(found))}: "
        "give longer ones, or look at the numbers beside their uniform baseline",
    )


def _save(job: Invocation, info: RunInfo, name: str, figure: Figure, formats: Sequence[str]) -> None:
    from attncli.plotting.render import render

    for format in formats:
        job.folder.write_bytes(f"{name}.{format}", render(figure, format, description=f"{info.title} {name}"))


def _note(run: Collected) -> str:
    return f"mean over {len(run.inputs)} texts" if len(run.inputs) > 1 else ""
