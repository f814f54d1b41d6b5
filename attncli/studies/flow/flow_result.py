"""A flow with the names that go with it: its table, its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncli.studies.flow.result import Flow

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class FlowResult:
    """Rollout or attention flow of one text and kind: the numbers (`flow`), and what shows them.

    beside  where a decoder reads an encoder, the flow to the inputs of the other
    focus   its name, "" where all tokens are asked for
    """

    flow: Flow
    beside: Flow | None = None
    focus: str = ""
    model: str = ""
    note: str = ""

    def to_frame(self) -> pd.DataFrame:
        """A row per query and key: their tokens, the value, its baselines."""
        return self.flow.to_frame()

    def figure(self, threshold: float | None = None) -> Figure:
        """The layers as a graph, lines as wide as what runs along them, without those under `threshold`."""
        from attncli.studies.flow import figures as view

        shown = {"focus": self.focus, "model": self.model, "note": self.note}
        return view.draw(self.flow, self.beside, threshold=threshold, **shown)

    def matrix(self) -> Figure:
        """Tokens at the top by tokens of the input."""
        from attncli.studies.flow import figures as view

        return view.matrix(self.flow, model=self.model, note=self.note)

    @property
    def name(self) -> str:
        """What its files are called: `encoder-rollout`."""
        return f"{self.flow.kind}-{self.flow.method}"

    @property
    def has_graph(self) -> bool:
        """Whether its layers are drawn: of a decoder that reads an encoder once, with those of both."""
        return self.flow.steps is not None and (self.flow.kind != "decoder" or self.beside is None)


def results(flows: Sequence[Flow], focus: str, model: str = "", texts: int = 1) -> list[FlowResult]:
    """Flows with their names."""
    there = {(flow.text, flow.kind): flow for flow in flows}
    other = {"decoder": "cross", "cross": "decoder"}
    return [
        FlowResult(
            flow,
            there.get((flow.text, other.get(flow.kind, ""))),  # type: ignore[arg-type]
            focus,
            model,
            f"text {flow.text + 1} of {texts}" if texts > 1 else "",
        )
        for flow in flows
    ]
