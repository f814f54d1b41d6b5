"""How well values predict random removals, and how much they change when the text hardly does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.data.cached import cached_property
from attncli.data.tokens import read_only
from attncli.engine.paired_tests import intervals
from attncli.store.tables import records
from attncli.studies.faithfulness.curves.summary import joined
from attncli.studies.faithfulness.protocol import Columns, PartResult

MEASURES = ("infidelity", "sensitivity_max")


@dataclass(frozen=True, eq=False)
class Robustness(PartResult):
    """Infidelity and maximal sensitivity of all methods.

    values  [measure, method, text]; NaN for the sensitivity of a method that reads no vectors
    """

    methods: tuple[str, ...]
    values: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", read_only(self.values, np.float64))

    @cached_property
    def means(self) -> dict[str, Array]:
        """A row per method: the mean of each measure over texts, with its 95 % interval."""
        columns: dict[str, Array] = {"method": np.array(self.methods, object)}
        columns["texts"] = np.full(len(self.methods), self.values.shape[2])
        for name, values in zip(MEASURES, self.values, strict=True):
            low, high = intervals(values).T
            columns |= {name: values.mean(1), f"{name}_low": low, f"{name}_high": high}
        return columns

    def tables(self) -> Mapping[str, Columns]:
        """Return the table of methods."""
        return {"faithfulness-robustness": self.means}

    def document(self) -> Mapping[str, Any]:
        """Return the methods as a list of rows."""
        return {"methods": list(records(self.means))}

    @property
    def notes(self) -> tuple[str, ...]:
        """Which methods have no sensitivity."""
        unknown = [name for name, value in zip(self.methods, self.values[1, :, 0], strict=True) if np.isnan(value)]
        why = "these values come from attention, not from vectors"
        return (f"no sensitivity of {joined(unknown)}: {why}",) if unknown else ()
