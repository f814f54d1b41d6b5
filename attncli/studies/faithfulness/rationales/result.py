"""How well methods find what people named as the reason for a label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.data.cached import cached_property
from attncli.data.described import counted
from attncli.data.tokens import read_only
from attncli.engine.paired_tests import intervals
from attncli.store.tables import records
from attncli.studies.faithfulness.curves.summary import joined
from attncli.studies.faithfulness.orders import BASELINES_OF_ORDER, RANDOM
from attncli.studies.faithfulness.protocol import Columns, PartResult

MEASURES = ("auprc", "auroc", "token_f1", "top1")


@dataclass(frozen=True, eq=False)
class RationaleScores(PartResult):
    """How well methods find the gold units.

    methods  the methods, then random and position
    values   [measure, method, text]; NaN for a text without gold units
    share    [text] share of the units that are gold
    """

    methods: tuple[str, ...]
    values: Array
    share: Array

    def __post_init__(self) -> None:
        for name in ("values", "share"):
            object.__setattr__(self, name, read_only(getattr(self, name), np.float64))

    @property
    def texts(self) -> int:
        """The number of texts with gold units."""
        return int((self.share > 0).sum())

    @cached_property
    def means(self) -> dict[str, Array]:
        """A row per method: the mean of each measure over texts with its interval, and the difference to random."""
        columns: dict[str, Array] = {
            "method": np.array(self.methods, object),
            "texts": np.full(len(self.methods), self.texts),
        }
        random = self.methods.index(RANDOM)
        for name, values in zip(MEASURES, self.values, strict=True):
            differences = values - values[random]
            for column, of_column in ((name, values), (f"{name}_over_random", differences)):
                low, high = intervals(of_column).T
                columns |= {column: _mean(of_column), f"{column}_low": low, f"{column}_high": high}
        return columns

    def tables(self) -> Mapping[str, Columns]:
        """Return the table of methods."""
        return {"faithfulness-rationales": self.means}

    def document(self) -> Mapping[str, Any]:
        """Return the methods as a list of rows."""
        return {"gold_share": float(self.share.mean()), "methods": list(records(self.means))}

    @property
    def notes(self) -> tuple[str, ...]:
        """How many texts have no gold unit."""
        missing = len(self.share) - self.texts
        return (f"{counted(missing, 'text')} without a rationale: left out of the comparison",) if missing else ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """How well each method finds the rationales, the best one first."""
        means, tested = self.means, [name for name in self.methods if name not in BASELINES_OF_ORDER]
        order = sorted(tested, key=lambda name: -float(np.nan_to_num(means["auprc"][self.methods.index(name)])))
        shown = [
            f"{name} {means['auprc'][row]:.2f}{_interval(means['auprc_low'][row], means['auprc_high'][row])}"
            for name in (*order, RANDOM)
            for row in [self.methods.index(name)]
        ]
        return (
            f"People's rationales, {counted(self.texts, 'text')}: area under the precision-recall curve "
            f"{joined(shown)}. A rationale is what convinces people; a model may use other tokens, so a low number is "
            "no error of the method.",
        )


def _mean(values: Array) -> Array:
    known = ~np.isnan(values)
    count = known.sum(1)
    means: Array = np.where(count > 0, np.nansum(values, 1) / np.maximum(count, 1), np.nan)
    return means


def _interval(low: float, high: float) -> str:
    return "" if low != low else f" [{low:.2f}, {high:.2f}]"
