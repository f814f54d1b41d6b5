"""How the probability of a prediction changes when the most important units are removed, or when they alone stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.data.cached import cached_property
from attncli.data.tokens import read_only
from attncli.engine.paired_tests import adjusted, intervals, sign_flip
from attncli.store.tables import records
from attncli.studies.faithfulness.curves.summary import curve_sentences
from attncli.studies.faithfulness.orders import BASELINES_OF_ORDER
from attncli.studies.faithfulness.protocol import Columns, PartResult

PERCENTS = (0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
"""Shares of the units that are removed, or that alone stay."""
COMPARED = (1, 5, 10, 20, 50)
"""The shares over which comprehensiveness and sufficiency are averaged (DeYoung et al. 2020)."""
MEASURES: Mapping[str, bool] = {
    "comprehensiveness": True,
    "sufficiency": False,
    "deletion_area": False,
    "insertion_area": True,
}
"""The numbers of a method, and whether a larger one is better."""
PROBABILITY, NUMBER, SIMILARITY = "probability of the prediction", "predicted number", "similarity"
"""What curves show."""
LEVEL = 0.05
"""The largest adjusted p-value of a difference that counts as clear."""


@dataclass(frozen=True, eq=False)
class Curves(PartResult):
    """The curves of all texts.

    methods    the methods, then random and position
    deletion   [removal, method, share, text] probability without the first units of the order
    insertion  [removal, method, share, text] probability with only the first units
    response   what the curves show: the probability of the prediction, a predicted number, or a similarity
    numbers    numbers of the texts; empty if they count from 0
    """

    methods: tuple[str, ...]
    removals: tuple[str, ...]
    deletion: Array
    insertion: Array
    response: str = PROBABILITY
    numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("deletion", "insertion"):
            object.__setattr__(self, name, read_only(getattr(self, name), np.float64))

    @property
    def sentences(self) -> tuple[str, ...]:
        """Which methods beat a random order, by how much, where the removals disagree, and what that does not show."""
        return tuple(curve_sentences(self.differences, self.removals, self.texts))

    @property
    def texts(self) -> int:
        """The number of texts."""
        return int(self.deletion.shape[-1])

    @cached_property
    def measures(self) -> dict[str, Array]:
        """Each number of `MEASURES` for each text, [removal, method, text]."""
        columns = [PERCENTS.index(percent) for percent in COMPARED]
        shares = np.array(PERCENTS) / 100
        return {
            "comprehensiveness": self.comprehensiveness[:, :, columns].mean(2),
            "sufficiency": self.sufficiency[:, :, columns].mean(2),
            "deletion_area": np.trapezoid(self.deletion, shares, axis=2),
            "insertion_area": np.trapezoid(self.insertion, shares, axis=2),
        }

    @property
    def comprehensiveness(self) -> Array:
        """[removal, method, share, text] loss of probability without the first units."""
        loss: Array = self.deletion[:, :, :1] - self.deletion
        return loss

    @property
    def sufficiency(self) -> Array:
        """[removal, method, share, text] loss of probability with only the first units."""
        loss: Array = self.deletion[:, :, :1] - self.insertion
        return loss

    def tables(self) -> Mapping[str, Columns]:
        """Return the means over texts, the same for each share, the differences from baselines, and single texts."""
        return {
            "faithfulness": self.means,
            "faithfulness-differences": self.differences,
            "faithfulness-shares": self.by_share,
            "faithfulness-texts": self.of_texts,
        }

    @cached_property
    def means(self) -> dict[str, Array]:
        """A row per removal and method: the mean over texts of each number, with its 95 % interval."""
        columns = self._names()
        columns["texts"] = np.full(len(columns["method"]), self.texts)
        for name, values in self.measures.items():
            flat = values.reshape(-1, self.texts)
            low, high = intervals(flat).T
            columns |= {name: flat.mean(1), f"{name}_low": low, f"{name}_high": high}
        return columns

    @cached_property
    def differences(self) -> dict[str, Array]:
        """A row per removal, method, number and baseline: the mean difference over texts, with its 95 % interval."""
        rows = list(self._difference_rows())
        differences = np.stack([values for *_, values in rows])
        ends, p = intervals(differences), sign_flip(differences)
        names = ("removal", "method", "measure", "baseline")
        columns = {name: np.array([row[number] for row in rows], object) for number, name in enumerate(names)}
        signs = np.array([1 if MEASURES[row[2]] else -1 for row in rows])
        return {
            **columns,
            "texts": np.full(len(rows), self.texts),
            "difference": differences.mean(1),
            "low": ends[:, 0],
            "high": ends[:, 1],
            "p": p,
            "p_adjusted": adjusted(p),
            "better": better(signs, ends, adjusted(p)),
        }

    def _difference_rows(self) -> Iterator[tuple[str, str, str, str, Array]]:
        for removal_number, removal in enumerate(self.removals):
            for number, method in enumerate(self.methods):
                for name, values in self.measures.items() if method not in BASELINES_OF_ORDER else ():
                    for baseline in BASELINES_OF_ORDER:
                        of_baseline = values[removal_number, self.methods.index(baseline)]
                        yield removal, method, name, baseline, values[removal_number, number] - of_baseline

    @cached_property
    def by_share(self) -> dict[str, Array]:
        """A row per removal, method and share: the mean over texts of both losses and both curves."""
        removals, methods, shares, _ = self.deletion.shape
        names = {name: np.repeat(column, shares) for name, column in self._names().items()}
        columns = {**names, "share": np.tile(np.array(PERCENTS) / 100, removals * methods)}
        for name in ("comprehensiveness", "sufficiency", "deletion", "insertion"):
            flat = getattr(self, name).reshape(-1, self.texts)
            low, high = intervals(flat).T
            columns |= {name: flat.mean(1), f"{name}_low": low, f"{name}_high": high}
        return columns

    @cached_property
    def of_texts(self) -> dict[str, Array]:
        """A row per text, removal and method."""
        rows = len(self.removals) * len(self.methods)
        columns = {"text": np.repeat(np.array(self.numbers or range(self.texts)), rows)}
        columns |= {name: np.tile(column, self.texts) for name, column in self._names().items()}
        return columns | {name: np.moveaxis(values, 2, 0).reshape(-1) for name, values in self.measures.items()}

    def _names(self) -> dict[str, Array]:
        """Return the columns of removals and methods."""
        return {
            "removal": np.repeat(np.array(self.removals, object), len(self.methods)),
            "method": np.tile(np.array(self.methods, object), len(self.removals)),
        }

    def document(self) -> Mapping[str, Any]:
        """Return the means, the differences and the curves as lists of rows."""
        return {
            "larger_is_better": dict(MEASURES),
            "means": list(records(self.means)),
            "differences": list(records(self.differences)),
            "shares": list(records(self.by_share)),
        }


def better(signs: Array, ends: Array, p_adjusted: Array) -> Array:
    """Return whether a difference is on the better side; None if this is unclear.

    It is clear if the whole interval is on one side of 0 and the adjusted p-value is at most 0.05: of many rows, some
    intervals leave out 0 by chance.

    signs       1 where larger numbers are better, else -1
    ends        [row, 2] low and high
    p_adjusted  [row], NaN if unknown
    """
    low, high = np.sort(ends * signs[:, None], axis=1).T
    clear = p_adjusted <= LEVEL
    known = np.full(len(signs), None, dtype=object)
    known[clear & (low > 0)] = True
    known[clear & (high < 0)] = False
    return known
