"""The part `curves`: comprehensiveness, sufficiency, and the curves of deletion and insertion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data import Array
from attncli.engine.progress import Advance
from attncli.engine.report import Drawing
from attncli.studies.faithfulness.curves.compute import removed_units
from attncli.studies.faithfulness.curves.result import NUMBER, PROBABILITY, SIMILARITY, Curves
from attncli.studies.faithfulness.curves.terminal import means_tables
from attncli.studies.faithfulness.orders import BASELINES_OF_ORDER, orders_of
from attncli.studies.faithfulness.protocol import Part
from attncli.studies.faithfulness.text import StudiedText

if TYPE_CHECKING:
    from rich.console import RenderableType


class CurvesPart(Part):
    """Comprehensiveness, sufficiency, and the curves of deletion and insertion."""

    name = "curves"
    arrays = ("deletion", "insertion")

    def measure(self, text: StudiedText, advance: Advance) -> Mapping[str, Any]:
        """Return the curves of one text: [removal][method][share] for deletion and insertion."""
        orders = orders_of(text, self.options.draws, self.options.seed)
        units = text.values.shape[1]
        removed = {name: np.stack([removed_units(order, units) for order in of]) for name, of in orders.items()}
        passes = np.concatenate([rows.reshape(-1, units) for rows in removed.values()])
        curves: dict[str, list[list[Array]]] = {"deletion": [], "insertion": []}
        for removal in self.options.removals:
            scores, start = text.remover.scores(removal, passes), 0
            of_removal = []
            for rows in removed.values():
                count = rows.shape[0] * rows.shape[1] * rows.shape[2]
                of_removal.append(scores[start : start + count].reshape(rows.shape[:3]).mean(0))
                start += count
            for number, values in enumerate(curves.values()):
                values.append([of_method[number] for of_method in of_removal])
            advance(1 / len(self.options.removals))
        response = PROBABILITY
        if text.output.by == "number":
            response = NUMBER if text.output.similar is None else SIMILARITY
        return {**curves, "response": response}

    def result(self, measured: Sequence[Mapping[str, Any]]) -> Curves:
        """Return the curves of all texts."""
        deletion, insertion = (
            np.stack([np.array(of_text[name], dtype=np.float64) for of_text in measured], axis=-1)
            for name in ("deletion", "insertion")
        )
        methods, removals = (*self.options.methods, *BASELINES_OF_ORDER), self.options.removals
        numbers = tuple(of_text["text"] for of_text in measured)
        return Curves(methods, removals, deletion, insertion, measured[0]["response"], numbers)

    def drawings(self, result: Curves, captions: Mapping[str, Any]) -> Iterable[Drawing]:
        """Return the picture of the curves."""
        # imported here: matplotlib takes long to load
        from attncli.studies.faithfulness.curves.figures import draw_curves

        yield Drawing("faithfulness", partial(draw_curves, result, **captions))

    def terminal(self, result: Curves) -> Iterable[RenderableType]:
        """Return a table of the methods for each removal."""
        return means_tables(result)
