"""The metrics of each single text of a pass, as arrays over texts, metrics and heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncli.data import Array, Kind, Metric, kind_order
from attncli.engine.measuring import declarations
from attncli.engine.passes import Pass
from attncli.engine.request import Request
from attncli.stream import Measure, Sink
from attncli.stream.combine import PassCombined
from attncli.stream.weights import NormShares

HeadName = tuple[Kind, int | str, int | str]
"""Kind, layer and head; `mean`, `max` or `weighted` if heads were combined."""


@dataclass(frozen=True, eq=False)
class TextValues:
    """Values [text, metric, head] of some texts, NaN where undefined; texts in their order."""

    texts: tuple[int, ...]
    heads: tuple[HeadName, ...]
    values: Array


class TextMeasures:
    """What measures each text of a pass: `sink` receives its attention, `values` returns the numbers.

    request  options of the pass; its metrics are measured
    """

    def __init__(self, prepared: Pass, request: Request) -> None:
        self._metrics = head_metrics(request)
        how = request.aggregate
        self._label = None if how == "none" else how
        self._measure = Measure(self._metrics, per_text=True, heads=None if self._label else prepared.heads)
        sink: Sink = NormShares(self._measure) if request.by == "norm" else self._measure
        if how != "none":
            sink = PassCombined(how, prepared.heads, sink, prepared.weights)
        self.sink = sink

    def values(self) -> TextValues:
        """Return the values of all texts."""
        rows = list(self._measure.text_values())
        keys = {heads for _, heads, _ in rows}
        order = sorted(keys, key=lambda key: (kind_order(key[0]), *key[1:]))
        starts = dict(zip(order, np.cumsum([0, *(len(heads[2]) for heads in order)])[:-1].tolist(), strict=True))
        texts = sorted({text for text, _, _ in rows})
        names: list[HeadName] = [(kind, layer, self._label or head) for kind, layer, heads in order for head in heads]
        values = np.full((len(texts), len(self._metrics), len(names)), np.nan)
        places = {text: place for place, text in enumerate(texts)}
        for text, heads, of_heads in rows:
            start = starts[heads]
            values[places[text], :, start : start + len(of_heads)] = of_heads.T
        return TextValues(tuple(texts), tuple(names), values)


def head_metrics(request: Request) -> list[Metric]:
    """Return the metrics of a request that have a value for a whole head."""
    return [metric for metric in declarations(request.metrics).values() if not metric.per_key]
