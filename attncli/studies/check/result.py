"""What became of rules: whether each holds, what was found and what it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from attncli.data.tokens import Array, Kind

Quantifier = Literal["any", "all"]
Sort = Literal["attention", "budget", "class", "suite", "baseline"]
BASELINE_SCHEMA = "attncli.baseline/1"
TOLERANCE = 1e-5
"""The default tolerance of rules, far above what processors and thread counts change in float32 weights."""
OFFSETS = {"previous-token": -1, "self": 0, "next-token": 1}
"""Classes of heads that are diagonals at one offset."""


@dataclass(frozen=True)
class Candidates:
    """Which heads a rule is about: any of them will do, or all of them must; all heads there are where none is named.

    named  (first layer, last layer, head or None for all of them); negative numbers count from the end
    """

    quantifier: Quantifier
    named: tuple[tuple[int, int, int | None], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """One rule, whether it holds, and why.

    line        where the rule stands in its file
    wanted      what it asks, and `why`, what was found, in words
    kind, layer, head, text   the head concerned and the text that shows it: of rules that some head must keep the one
                that comes nearest, of rules for all heads the one that is furthest from it
    heads, met  how many heads were asked, and how many of them keep it
    found       the weight, value or rate of that head; `than` the weight that it is held against
    rank, keys  of the target among the keys: 1 is the one that gets most
    chance      what even attention over the visible keys would give
    p           the share of permutations of the keys that give as much, where that was asked
    low, high   95 % interval of the rate of a suite
    """

    name: str
    sort: Sort
    holds: bool
    line: int
    wanted: str
    why: str
    kind: Kind | None = None
    layer: int | None = None
    head: int | None = None
    text: int | None = None
    heads: int | None = None
    met: int | None = None
    found: float | None = None
    than: float | None = None
    rank: int | None = None
    keys: int | None = None
    chance: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def place(self) -> str:
        """The head concerned, `3.1`; empty where there is none."""
        return "" if self.layer is None else f"{self.layer}.{self.head}"


@dataclass(frozen=True)
class Case:
    """One case of a suite by the head that stands for the suite: which weight goes where, and whether that is right."""

    suite: str
    line: int
    pair: str | None
    text: int
    query: str
    target: str
    than: str | None
    holds: bool
    kind: Kind
    layer: int
    head: int
    weight: float
    than_weight: float | None
    rank: int
    keys: int


@dataclass(frozen=True)
class Drift:
    """A measure of a head that is no longer what the baseline says."""

    kind: Kind
    layer: int
    head: int
    metric: str
    baseline: float | None
    now: float | None
    tolerance: float


@dataclass(frozen=True)
class Checked:
    """The verdicts on a file of rules, the cases of its suites, and the heads that drifted from its baseline.

    tolerance  the tolerance of all comparisons
    """

    verdicts: tuple[Verdict, ...]
    cases: tuple[Case, ...] = ()
    drifts: tuple[Drift, ...] = ()
    tolerance: float = TOLERANCE

    @property
    def holds(self) -> bool:
        """Whether all rules hold."""
        return all(verdict.holds for verdict in self.verdicts)

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The rules that do not hold."""
        return tuple(verdict for verdict in self.verdicts if not verdict.holds)

    def table(self) -> dict[str, Array]:
        """A row per rule."""
        return _table(self.verdicts, Verdict)

    def cases_table(self) -> dict[str, Array]:
        """A row per case of a suite."""
        return _table(self.cases, Case)

    def drifts_table(self) -> dict[str, Array]:
        """A row per measure that drifted."""
        return _table(self.drifts, Drift)


def _table(rows: Sequence[Any], of: type) -> dict[str, Array]:
    return {
        # a last entry keeps NumPy from making numbers or an empty float array of them
        field.name: np.array([*(getattr(row, field.name) for row in rows), ""], dtype=object)[:-1]
        for field in fields(of)
    }
