"""The part `rationales`: how well methods find what people named as the reason for a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data import Array
from attncli.engine.progress import Advance
from attncli.engine.report import Drawing
from attncli.inputs.partitions import tokens_in_span
from attncli.studies.faithfulness.orders import BASELINES_OF_ORDER, orders_of
from attncli.studies.faithfulness.protocol import Part
from attncli.studies.faithfulness.rationales.compute import area_under_roc, average_precision, first_hit, token_f1
from attncli.studies.faithfulness.rationales.result import MEASURES, RationaleScores
from attncli.studies.faithfulness.rationales.terminal import rationales_table
from attncli.studies.faithfulness.text import StudiedText

if TYPE_CHECKING:
    from rich.console import RenderableType


class RationalesPart(Part):
    """Area under the precision-recall curve, AUROC, token F1 and first hits of all methods."""

    name = "rationales"
    arrays = ("values",)

    @property
    def is_wanted(self) -> bool:
        return self.options.rationales is not None

    def measure(self, text: StudiedText, advance: Advance) -> Mapping[str, Any]:
        """Return [method][measure] of one text, NaN where undefined, and the share of its units that are gold."""
        gold, rows = gold_units(text), []
        values = dict(zip(text.methods, text.values, strict=True))
        for name, orders in orders_of(text, self.options.draws, self.options.seed).items():
            of_orders = []
            for order in orders:
                ranks = np.empty(len(order))
                ranks[order] = -np.arange(len(order))
                ranked = values.get(name, ranks)
                areas = average_precision(ranked, gold), area_under_roc(ranked, gold)
                of_orders.append([*areas, token_f1(order, gold), first_hit(order, gold)])
            rows.append(np.mean(of_orders, axis=0))
        advance(1)
        return {"values": rows, "share": float(gold.mean())}

    def result(self, measured: Sequence[Mapping[str, Any]]) -> RationaleScores:
        """Return the measures of all texts."""
        values = np.array([of_text["values"] for of_text in measured], np.float64)
        methods = (*self.options.methods, *BASELINES_OF_ORDER)
        shaped = np.moveaxis(values.reshape(len(measured), len(methods), len(MEASURES)), (0, 2), (2, 0))
        return RationaleScores(methods, shaped, np.array([of_text["share"] for of_text in measured]))

    def drawings(self, result: RationaleScores, captions: Mapping[str, Any]) -> Iterable[Drawing]:
        """Return the picture of the measures."""
        # imported here: matplotlib takes long to load
        from attncli.studies.faithfulness.rationales.figures import draw_rationales

        yield Drawing("faithfulness-rationales", partial(draw_rationales, result, **captions))

    def terminal(self, result: RationaleScores) -> Iterable[RenderableType]:
        """Return the table of methods."""
        yield rationales_table(result)


def gold_units(text: StudiedText) -> Array:
    """Return which units have a token in the rationale of a text, [unit] bool; raise UsageError for a wrong span."""
    tokens, where = text.predictions.text.source, "the rationale"
    gold = {position for span in text.rationale for position in tokens_in_span(tokens, where, span)}
    return np.array([side == "source" and not gold.isdisjoint(unit.positions) for side, unit in text.flat_units])
