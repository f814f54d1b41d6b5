"""A flow with its table and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncli.data import Kind
from attncli.studies.flow.result import Flow

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class FlowResult:
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

    def to_frame(self) -> pd.DataFrame:
        """Return a row per query and key: their tokens, the value, its baselines."""
        return self.flow.to_frame()

    def figure(self, threshold: float | None = None) -> Figure:
        """Return the layers as a graph; the width of a line is its share, and lines under `threshold` are left out."""
        from attncli.studies.flow import figures as view

        shown = {"focus": self.focus, "model": self.model, "note": self.note}
        return view.draw(self.flow, self.other, threshold=threshold, **shown)

    def matrix(self) -> Figure:
        """Return tokens at the top by tokens of the input."""
        from attncli.studies.flow import figures as view

        return view.matrix(self.flow, model=self.model, note=self.note)

    @property
    def name(self) -> str:
        """The name of its files: `encoder-rollout`."""
        return f"{self.flow.kind}-{self.flow.method}"

    @property
    def has_graph(self) -> bool:
        """Whether its layers are drawn; a decoder that reads an encoder is drawn once, with both stacks."""
        return self.flow.steps is not None and (self.flow.kind != "decoder" or self.other is None)


def flow_results(flows: Sequence[Flow], focus: str, model: str = "", texts: int = 1) -> list[FlowResult]:
    """Return flows with what their pictures need."""
    by_key = {(flow.text, flow.kind): flow for flow in flows}
    other_kind: dict[Kind, Kind] = {"decoder": "cross", "cross": "decoder"}
    return [
        FlowResult(
            flow,
            by_key.get((flow.text, other_kind.get(flow.kind, flow.kind))) if flow.kind != "encoder" else None,
            focus,
            model,
            f"text {flow.text + 1} of {texts}" if texts > 1 else "",
        )
        for flow in flows
    ]
