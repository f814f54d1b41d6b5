"""The whole job of `attncli flow`: from texts, or from a saved run, to numbers and pictures of rollout or flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.data import Kind
from attncli.engine.collected import Collected
from attncli.engine.invocation import Invocation, Published
from attncli.engine.progress import Track
from attncli.engine.request import check_share
from attncli.studies.flow.compute import FlowPlan, Tracer, of_maps
from attncli.studies.flow.documents import write_flows
from attncli.studies.flow.flow_result import FlowResult, results
from attncli.studies.flow.result import Flow
from attncli.studies.flow.tracing import DRAWN, Tracing

if TYPE_CHECKING:  # to trace a saved run needs no model
    from attncli.engine.runner import Runner


@dataclass(frozen=True)
class Drawing:
    """What becomes of the numbers: formats of the tables and of the pictures, and the weakest lines that are drawn."""

    tables: Sequence[str]
    pictures: Sequence[str]
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_share({"threshold": self.threshold}, "threshold")


def trace(
    job: Invocation, tracing: Tracing, drawing: Drawing, track: Track, wrote: Callable[[Path], None]
) -> tuple[tuple[Flow, ...], dict[str, Any], Published]:
    """Find what a job asks for; returns the flows, the contents of flow.json, and what was written."""
    folder, choice = job.folder, job.request.choice  # a folder is refused before the long work
    # which kinds are shown: what leads to them is all that the model has
    of_all = replace(job, request=replace(job.request, choice=replace(choice, kinds=None)))
    if job.there is not None:
        run = of_all.gather(track)
        flows, notes = of_maps(run.maps, run.inputs, choice.kinds, tracing, track)
    else:
        run, flows, notes = _of_model(of_all, job.load(), choice.kinds, tracing, track)
    job.save(run)
    run = job.informed(replace(run, info=replace(run.info, notes=(*run.info.notes, *notes, *_undrawn(flows)))))
    document = write_flows(folder, run.info, flows, drawing.tables)
    _draw(job, run, results(flows, tracing.name, run.info.title, len(run.inputs)), drawing, track, wrote)
    return flows, document, Published(folder.finish(run.info), run.info.notes)


def _of_model(
    job: Invocation, model: Runner, kinds: Sequence[Kind] | None, tracing: Tracing, track: Track
) -> tuple[Collected, tuple[Flow, ...], tuple[str, ...]]:
    """From a pass that holds a few maps [token, token] of each text, all maps only where they are to be kept."""
    request = replace(job.request, keep_maps=job.files.save_maps)
    prepared = model.prepare(job.texts, request, track)
    if request.keep_maps:
        prepared.check_memory(at_once=True)
    plan = FlowPlan.of(prepared.inputs, prepared.heads, kinds, tracing, prepared.loaded.name, request.max_memory)
    tracer = Tracer(plan, words=request.words, dropped_special=request.drop, by=request.by)
    run = model.finish(prepared, job.texts, track, more=[tracer.sink])
    return run, tracer.flows(track), plan.notes


def _draw(
    job: Invocation,
    run: Collected,
    shown: Sequence[FlowResult],
    drawing: Drawing,
    track: Track,
    wrote: Callable[[Path], None],
) -> None:
    from attncli.plotting.render import render

    with track("drawing", len(shown), "flows") as drawn:
        for one in shown:
            prefix = f"T{one.flow.text:03}-" if len(run.inputs) > 1 else ""
            figures = {f"{prefix}{one.name}": one.figure(drawing.threshold)} if one.has_graph else {}
            for name, figure in (figures | {f"{prefix}{one.name}-matrix": one.matrix()}).items():
                for format in drawing.pictures:
                    data = render(figure, format, description=f"{run.info.title} {name}")
                    wrote(job.folder.write_bytes(f"{name}.{format}", data))
            drawn(1)


def _undrawn(flows: Sequence[Flow]) -> tuple[str, ...]:
    if all(flow.steps is not None for flow in flows):
        return ()
    return (f"the layers of texts of more than {DRAWN} tokens are not drawn: only their matrix is",)
