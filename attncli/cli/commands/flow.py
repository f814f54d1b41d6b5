"""`attncli flow`: how information travels through the layers."""

from __future__ import annotations

from typing import Any

from attncli.cli.console import command_console
from attncli.cli.groups.by import ByOptions
from attncli.cli.groups.flow import FlowOptions
from attncli.cli.invocations import job_of
from attncli.errors import UsageError
from attncli.options import (
    ConsoleOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)


def flow(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: OutputOptions,
    talk: ConsoleOptions,
    again: SavedRunOptions,
    by: ByOptions,
    followed: FlowOptions,
) -> None:
    """Follow information through the layers: how much of each input token is in a token at the top?

    --method rollout multiplies the layers, --method flow finds the maximum flow through them (attncli explain rollout,
    attncli explain attention-flow). Each layer is the mean of its heads (--aggregate max: their largest), with what
    each token keeps of itself unless --no-residual. Of an encoder-decoder all stacks are gone through: `decoder` is
    what of the target's input, `cross` what of the source is in a token at the top; --kind chooses what is shown.

    Writes flow.json and flow.csv, beside each value what even attention and attention by distance alone would give;
    KIND-METHOD-matrix.png, tokens at the top by tokens of the input; and up to 128 tokens KIND-METHOD.png, the layers
    with lines as wide as what runs along them. Rollout needs the memory of a few maps, whatever the number of heads and
    layers. In a pipe, prints flow.csv; with --json flow.json.

    Example: attncli flow --text "The cat sat on the mat because it was warm." --focus it
    """
    from attncli.engine.invocation import PICTURES, TABLES, choose_formats
    from attncli.store import json_text, table_csv
    from attncli.studies.flow.documents import flow_table
    from attncli.studies.flow.job import Drawing, trace
    from attncli.studies.flow.terminal import strongest
    from attncli.studies.flow.tracing import Tracing

    formats = choose_formats(files.format, (*TABLES, *PICTURES), ("json", "csv", "png"))
    drawing = Drawing([f for f in formats if f in TABLES], [f for f in formats if f in PICTURES], followed.threshold)
    if selection.aggregate_layers != "none":
        raise UsageError("flow goes from layer to layer: leave out --aggregate-layers")
    aggregate: Any = "mean" if selection.aggregate == "none" else selection.aggregate
    with command_console(talk) as say:
        method: Any = followed.method
        what: Any = by.by
        tracing = Tracing(method, followed.focus, followed.residual, followed.start_layer, aggregate)
        more = {"method": method, "focus": followed.focus, "residual": followed.residual, "aggregate": aggregate}
        more |= {"start_layer": followed.start_layer, "threshold": followed.threshold, "format": formats}
        groups = (model, texts, selection, files, again)
        job = job_of("flow", groups, typed(followed, by), more, {"aggregate": "none", "by": what})
        flows, document, done = trace(job, tracing, drawing, say.track, lambda path: None)
        say.notes(done.notes)
        say.result(
            lambda: json_text(document),
            lambda: table_csv(flow_table(flows)),
            lambda: strongest(flows, tracing.name),
            job.folder.written,
        )
