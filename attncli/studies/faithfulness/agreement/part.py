"""The part `agreement`: how methods agree with each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.engine.checks import check_seeds
from attncli.engine.progress import Advance
from attncli.engine.report import Drawing
from attncli.studies.faithfulness.agreement.compute import overlaps, rank_correlations
from attncli.studies.faithfulness.agreement.result import MEASURES, Agreement
from attncli.studies.faithfulness.agreement.terminal import agreement_table
from attncli.studies.faithfulness.orders import POSITION, distances, orders_of
from attncli.studies.faithfulness.protocol import Part
from attncli.studies.faithfulness.text import StudiedText

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncli.engine.request import Request

_DEFAULT_TOP = 10
"""Per cent of the units whose overlap is counted by default."""


class AgreementPart(Part):
    """Kendall's tau-b, Spearman's rho and the overlap of the first units, between all methods and position."""

    name = "agreement"
    arrays = tuple(MEASURES)

    def check(self, request: Request) -> None:
        if self.options.top is not None:
            check_seeds("--top", self.options.top, 1)

    def measure(self, text: StudiedText, advance: Advance) -> Mapping[str, Any]:
        """Return the matrices of one text, and the overlap of two random orders."""
        units = text.values.shape[1]
        first = -(-_DEFAULT_TOP * units // 100) if self.options.top is None else min(self.options.top, units)
        orders = orders_of(text, 1, self.options.seed)
        chosen = [orders[name][0] for name in (*text.methods, POSITION)]
        tau, rho = rank_correlations(np.vstack([text.values, -distances(text)]))
        advance(1)
        matrices = zip(MEASURES, (tau, rho, overlaps(chosen, first)), strict=True)
        return {**dict(matrices), "chance": first / units}

    def result(self, measured: Sequence[Mapping[str, Any]]) -> Agreement:
        """Return the matrices of all texts."""
        values = [[np.array(of_text[name], np.float64) for of_text in measured] for name in MEASURES]
        stacked = np.stack([np.stack(of_measure, -1) for of_measure in values])
        return Agreement(
            (*self.options.methods, POSITION), stacked, np.array([of_text["chance"] for of_text in measured])
        )

    def drawings(self, result: Agreement, captions: Mapping[str, Any]) -> Iterable[Drawing]:
        """Return the picture of the matrices."""
        # imported here: matplotlib takes long to load
        from attncli.studies.faithfulness.agreement.figures import draw_agreement

        yield Drawing("faithfulness-agreement", partial(draw_agreement, result, **captions))

    def terminal(self, result: Agreement) -> Iterable[RenderableType]:
        """Return the table of pairs."""
        yield agreement_table(result)
