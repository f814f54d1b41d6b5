"""A flow with its table and its pictures, and what `flow` writes: flow.json, flow.csv and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from attncli.arguments import PictureArguments, checks_arguments
from attncli.data import Kind, RunInfo
from attncli.data.described import Tabulated
from attncli.data.focus import title_name
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import text_note
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store import run_document
from attncli.store.tables import defined_columns, mark_unit, token_lists
from attncli.store.text import plain
from attncli.studies.flow.result import Flow

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class FlowResult(Tabulated):
    """Rollout or attention flow of one text and kind, with its table and its pictures.

    flow    the numbers
    other   if a decoder reads an encoder, the flow to the inputs of the other stack
    focus   name of the focus; empty for all tokens
    model   name of the model in titles
    note    further words in titles
    """

    flow: Flow
    other: Flow | None = None
    focus: str = ""
    model: str = ""
    note: str = ""
    kinds: KindNames = KNOWN

    def to_frame(self) -> pd.DataFrame:
        """Return a row per query and key: their tokens, the value, its baselines."""
        return self.flow.to_frame()

    def figure(self, threshold: float | None = None, **look: Unpack[PictureArguments]) -> Figure:
        """Return the layers as a graph; the width of a line is its share, and lines under `threshold` are left out.

        look  figsize, dpi, cmap, title and font, as in `attncli.PictureArguments`
        """
        from attncli.plotting.picture_style import changed_style
        from attncli.studies.flow import figures

        shown: Any = {"focus": self.focus, "model": self.model, "note": self.note, "kinds": self.kinds}
        with changed_style(look):
            return figures.draw(self.flow, self.other, threshold=threshold, **shown)

    def matrix(self, **look: Unpack[PictureArguments]) -> Figure:
        """Return tokens at the top by tokens of the input; `look` as for `figure`."""
        from attncli.plotting.picture_style import changed_style
        from attncli.studies.flow import figures

        with changed_style(look):
            return figures.matrix(self.flow, model=self.model, note=self.note, kinds=self.kinds)

    @property
    def name(self) -> str:
        """The name of its files: `encoder-rollout`."""
        return f"{self.flow.kind}-{self.flow.method}"

    @property
    def has_graph(self) -> bool:
        """Whether its layers are drawn; a decoder that reads an encoder is drawn once, with both stacks."""
        return self.flow.steps is not None and (self.flow.kind != "decoder" or self.other is None)

    def _lines(self) -> Iterable[str]:
        yield f"{self.flow!r}{f', focus {self.focus}' if self.focus else ''}"
        yield ".figure() and .matrix() draw it"


def flow_results(flows: Sequence[Flow], focus: str, info: RunInfo, texts: int = 1) -> list[FlowResult]:
    """Return flows with what their pictures need."""
    by_key = {(flow.text, flow.kind): flow for flow in flows}
    other_kind: dict[Kind, Kind] = {"decoder": "cross", "cross": "decoder"}
    results = []
    for flow in flows:
        other = by_key.get((flow.text, other_kind[flow.kind])) if flow.kind in other_kind else None
        captions = info.captions(text_note(flow.text, texts))
        results.append(FlowResult(flow, other, title_name(flow.queries, focus), **captions))
    return results


def flow_report(flows: Sequence[Flow], focus: str, threshold: float | None, run: Collected) -> Report:
    """Return the document, one table of all texts and kinds, and the pictures with lines from `threshold` on."""
    document = {
        "schema": "attncli.flow/1",
        "run": run_document(run.info, given=False),
        "flows": [_entry(flow) for flow in flows],
    }
    parts = [mark_unit(flow.columns(), flow.by) for flow in flows]
    table = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
    return Report(run.info, document, {"flow": defined_columns(table)}, list(_drawings(flows, focus, threshold, run)))


def _entry(flow: Flow) -> dict[str, Any]:
    names = ("text", "kind", "method", "layers", "residual", "aggregate", "by", "queries", "keys", "rows", "values")
    entry = {name: getattr(flow, name) for name in (*names, "uniform", "position", "maximum")}
    entry |= {"rows": flow.named, "rows_as": flow.rows_as, **token_lists(flow.queries, flow.keys)}
    left_out = {"by"} if flow.by == "weight" else set()
    left_out |= {"rows_as"} if flow.rows_as == "input" else set()
    left_out |= {"maximum"} if flow.maximum is None else set()
    return {name: plain(value) for name, value in entry.items() if name not in left_out}


def _drawings(flows: Sequence[Flow], focus: str, threshold: float | None, run: Collected) -> Iterator[Drawing]:
    """Yield the pictures: the layers of short texts, and a matrix, for each text and kind."""
    for result in flow_results(flows, focus, run.info, len(run.inputs)):
        name = f"{run.text_prefix(result.flow.text)}{result.name}"
        if result.has_graph:
            yield Drawing(name, partial(result.figure, threshold))
        yield Drawing(f"{name}-matrix", result.matrix)
