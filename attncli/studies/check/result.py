"""Results of a check: verdicts on rules, cases of suites, and heads that drifted from a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from attncli.data.tokens import Array, Kind

Quantifier = Literal["any", "all"]
Sort = Literal["attention", "budget", "class", "suite", "baseline", "trend"]
Half = Literal["choose", "score"]
"""The half of a suite that chooses the head, and the half that scores it."""
BASELINE_SCHEMA = "attncli.baseline/1"
TOLERANCE = 1e-5
"""Default tolerance of rules; the processor and the number of threads change float32 weights by much less."""
OFFSETS = {"previous-token": -1, "self": 0, "next-token": 1}
"""Offset (key minus query) of the classes of heads that are diagonals at one offset."""
PROBE_CLASSES = {"induction": "induction", "duplicate-token": "duplicate"}
"""The score on repeated random tokens of each class of heads that is found by them."""
RETRIEVAL = "retrieval"
"""The class of the heads that copy what the model writes, and its score."""
LEAST_BEYOND = 0.3
"""Least score of these classes beyond their baselines: shuffled tokens, or position alone and uniform attention."""


@dataclass(frozen=True)
class Candidates:
    """The heads that a rule is about.

    quantifier  whether any of them must keep the rule, or all
    named       (first layer, last layer, head or None for all heads); negative numbers count from the end; empty for
                all heads of the model
    """

    quantifier: Quantifier
    named: tuple[tuple[int, int, int | None], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """One rule, whether it holds, and why; the fields are the columns of check.csv, which help.md explains.

    wanted, why        what the rule demands and what was measured, in words
    kind, layer, head  the decisive head: the best one if any head may keep the rule, the worst one if all must
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
    rank: float | None = None
    keys: int | None = None
    chance: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None
    units: int | None = None
    weight: float | None = None
    top: float | None = None
    position: str | None = None
    position_rate: float | None = None


@dataclass(frozen=True)
class Case:
    """One case of a suite: the weights of the decisive head of the suite, and whether they are right."""

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
    rank: float
    keys: int
    half: Half | None = None


@dataclass(frozen=True)
class HeadOfSuite:
    """One head on the cases of a suite that count; the fields are the columns of check-heads.csv.

    used         whether it is the head that decides
    rate         share of the units that are right; `rate_choose` that in the half that chose the head
    weight       mean weight on the target; `than_weight` that on the word of `than`
    rank, top    mean rank of the target, and share of the cases in which it is the top key
    """

    suite: str
    kind: Kind
    layer: int
    head: int
    used: bool
    units: int
    rate: float
    weight: float | None
    than_weight: float | None
    rank: float | None
    top: float | None
    rate_choose: float | None = None


@dataclass(frozen=True)
class Drift:
    """A measure of a head that differs from the baseline by more than its tolerance."""

    kind: Kind
    layer: int
    head: int
    metric: str
    baseline: float | None
    now: float | None
    tolerance: float


@dataclass(frozen=True)
class TrendPoint:
    """The measure of a trend at one checkpoint, of the head that decides; the fields are those of check-trends.csv."""

    rule: str
    kind: Kind | None
    layer: int | None
    head: int | None
    metric: str
    checkpoint: str
    step: int | None
    value: float | None


@dataclass(frozen=True)
class Checked:
    """The verdicts on a file of rules, with the rows of the other tables.

    cases, heads  cases and heads of suites
    drifts        measures that drifted from the baseline
    notes         what the numbers of suites do not show
    trends        the measures of trends at each checkpoint
    """

    verdicts: tuple[Verdict, ...]
    cases: tuple[Case, ...] = ()
    drifts: tuple[Drift, ...] = ()
    tolerance: float = TOLERANCE
    heads: tuple[HeadOfSuite, ...] = ()
    notes: tuple[str, ...] = ()
    trends: tuple[TrendPoint, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all rules hold."""
        return all(verdict.holds for verdict in self.verdicts)

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The rules that do not hold."""
        return tuple(verdict for verdict in self.verdicts if not verdict.holds)

    def tables(self) -> dict[str, dict[str, Array]]:
        """Return the tables of rules, cases of suites, heads of suites, measures that drifted, and trends."""
        return {
            "rules": _table(self.verdicts, Verdict),
            "cases": _table(self.cases, Case),
            "heads": _table(self.heads, HeadOfSuite),
            "drifts": _table(self.drifts, Drift),
            "trends": _table(self.trends, TrendPoint),
        }


def _table(rows: Sequence[Any], row_class: type) -> dict[str, Array]:
    return {
        # the extra last entry stops NumPy from converting the entries to numbers
        field.name: np.array([*(getattr(row, field.name) for row in rows), ""], dtype=object)[:-1]
        for field in fields(row_class)
    }
