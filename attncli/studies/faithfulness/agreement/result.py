"""How methods agree with each other, over all texts."""

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
from attncli.studies.faithfulness.protocol import Columns, PartResult

MEASURES = ("kendall", "spearman", "overlap")


@dataclass(frozen=True, eq=False)
class Agreement(PartResult):
    """The agreement between methods.

    methods  the methods, then position
    values   [measure, method, method, text]; NaN where a method gives all units the same value
    chance   [text] overlap of two random orders
    """

    methods: tuple[str, ...]
    values: Array
    chance: Array

    def __post_init__(self) -> None:
        for name in ("values", "chance"):
            object.__setattr__(self, name, read_only(getattr(self, name), np.float64))

    @cached_property
    def means(self) -> Array:
        """[measure, method, method] mean over the texts that have a value."""
        known = ~np.isnan(self.values)
        count = known.sum(-1)
        means: Array = np.where(count > 0, np.nansum(self.values, -1) / np.maximum(count, 1), np.nan)
        return means

    @cached_property
    def pairs(self) -> dict[str, Array]:
        """A row per pair of methods: the mean of each measure over texts, with its 95 % interval."""
        first, second = np.triu_indices(len(self.methods), 1)
        names = np.array(self.methods, object)
        columns: dict[str, Array] = {"method": names[first], "other": names[second]}
        for measure, values, means in zip(MEASURES, self.values, self.means, strict=True):
            low, high = intervals(values[first, second]).T
            columns |= {
                measure: means[first, second],
                f"{measure}_low": low,
                f"{measure}_high": high,
                f"{measure}_texts": (~np.isnan(values[first, second])).sum(1),
            }
        return {**columns, "overlap_by_chance": np.full(len(first), self.chance.mean())}

    def tables(self) -> Mapping[str, Columns]:
        """Return the table of pairs."""
        return {"faithfulness-agreement": self.pairs} if len(self.methods) > 1 else {}

    def document(self) -> Mapping[str, Any]:
        """Return the pairs as a list of rows."""
        return {"overlap_by_chance": float(self.chance.mean()), "pairs": list(records(self.pairs))}

    @property
    def sentences(self) -> tuple[str, ...]:
        """Which methods agree most and least, or how the only two agree, and that agreement is no proof."""
        rho, tested = self.means[1], len(self.methods) - 1
        first, second = np.triu_indices(tested, 1)
        pairs = [(float(rho[a, b]), self.methods[a], self.methods[b]) for a, b in zip(first, second, strict=True)]
        pairs = sorted(pair for pair in pairs if not np.isnan(pair[0]))
        if not pairs:
            return ()
        (low, *least), (high, *most) = pairs[0], pairs[-1]
        both = f"{' and '.join(most)} agree most (Spearman's rho {high:.2f}), {' and '.join(least)} least ({low:.2f})"
        if len(pairs) == 1:
            both = f"Spearman's rho between the orders of {' and '.join(most)} is {high:.2f}"
        return (
            f"{both}. Agreement is reported, it is no verdict: methods can agree and be wrong (Neely et al. 2022).",
        )
