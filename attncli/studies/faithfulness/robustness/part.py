"""The part `robustness`: infidelity and maximal sensitivity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.engine.progress import Advance
from attncli.studies.attribute.methods import METHODS
from attncli.studies.faithfulness.protocol import Part
from attncli.studies.faithfulness.robustness.compute import captum_metrics, infidelity, sensitivity
from attncli.studies.faithfulness.robustness.result import Robustness
from attncli.studies.faithfulness.robustness.terminal import robustness_table
from attncli.studies.faithfulness.text import StudiedText

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncli.engine.request import Request


class RobustnessPart(Part):
    """How well values predict random removals, and how much they change when the text hardly does."""

    name = "robustness"
    arrays = ("values",)

    @property
    def is_wanted(self) -> bool:
        return self.options.robustness

    @property
    def needs_vectors(self) -> bool:
        return True

    def check(self, request: Request) -> None:
        captum_metrics()

    def measure(self, text: StudiedText, advance: Advance) -> Mapping[str, Any]:
        """Return infidelity and sensitivity of each method; None for a method that reads no vectors."""
        seed, measured = self.options.seed, []
        for name, values in zip(text.methods, text.values, strict=True):
            moved = sensitivity(text, name, self.options, seed) if METHODS[name].replaces else None
            measured.append([infidelity(text, values, seed), moved])
            advance(1 / len(text.methods))
        return {"values": measured}

    def result(self, measured: Sequence[Mapping[str, Any]]) -> Robustness:
        """Return the measures of all texts."""
        values = np.array([of_text["values"] for of_text in measured], np.float64)
        return Robustness(self.options.methods, np.moveaxis(values, (0, 2), (2, 0)))

    def terminal(self, result: Robustness) -> Iterable[RenderableType]:
        """Return the table of methods."""
        yield robustness_table(result)
