"""Verdicts on rules about checkpoints: how much a measure changes from one checkpoint to a later one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.data.described import counted
from attncli.engine.checkpoints import Checkpoint, check_same_heads
from attncli.store.text import plain
from attncli.studies.check.bound import decisive_head, head_fields, rule_holds
from attncli.studies.check.result import Candidates, Quantifier, TrendPoint, Verdict
from attncli.studies.check.rules.kinds import TrendRule
from attncli.studies.check.rules.phrases import describe_heads
from attncli.studies.check.trends import AtCheckpoint, BoundTrend
from attncli.studies.check.weights import margins


@dataclass(frozen=True, eq=False)
class TrendSeries:
    """The measures of some rules at all checkpoints.

    values  [checkpoint, head] of each rule
    """

    checkpoints: Sequence[Checkpoint]
    bound: Sequence[BoundTrend]
    values: Sequence[Array]

    @classmethod
    def of(cls, checkpoints: Sequence[Checkpoint], measured: Sequence[AtCheckpoint]) -> TrendSeries:
        """Return the series of what was measured at each checkpoint; raise UsageError if their heads differ."""
        first, *_ = measured
        for checkpoint, (bound, _) in zip(checkpoints, measured, strict=True):
            ours, theirs = ([head for rule in rules for head in rule.heads] for rules in (first[0], bound))
            check_same_heads(ours, theirs, (checkpoints[0].name, checkpoint.name))
        columns = zip(*(values for _, values in measured), strict=True)
        return cls(checkpoints, first[0], [np.array(column) for column in columns])

    def verdicts(self, tolerance: float) -> tuple[list[Verdict], list[TrendPoint]]:
        """Return the verdict on each rule, and the values of its decisive head at all checkpoints."""
        verdicts, points = [], []
        for bound, values in zip(self.bound, self.values, strict=True):
            verdict, column = self._verdict(bound, values, tolerance)
            verdicts.append(verdict)
            head = verdict.kind, verdict.layer, verdict.head
            for checkpoint, value in zip(self.checkpoints, values[:, column], strict=True):
                at = checkpoint.name, checkpoint.step, plain(value)
                points.append(TrendPoint(verdict.name, *head, bound.rule.metric, *at))
        return verdicts, points

    def _verdict(self, bound: BoundTrend, values: Array, tolerance: float) -> tuple[Verdict, int]:
        """Return the verdict, and the index of the decisive head."""
        rule = bound.rule
        pairs = np.array(self._pairs(rule))
        changes = values[pairs[:, 1]] - values[pairs[:, 0]]  # [pair, head]
        sizes = {"rises": changes, "falls": -changes, "changes": np.abs(changes)}[rule.direction]
        if np.isnan(sizes).all():
            raise rule.part.error(
                ("trend",),
                f"{rule.metric} is undefined for these heads, texts and checkpoints (attncli explain {rule.metric})",
            )
        largest = np.where(np.isnan(sizes), -np.inf, sizes).argmax(0)
        head_sizes = np.take_along_axis(sizes, largest[None], 0)[0]
        head_margins = margins(head_sizes, ">" if rule.must else "<=", rule.by, tolerance)
        over = _quantifier(rule)
        column = decisive_head(head_margins, over, tolerance)
        key = None if rule.mean else bound.heads[column]
        pair = pairs[largest[column]].tolist()
        ends = " and ".join(f"{self.checkpoints[at].name} ({values[at, column]:z.3f})" for at in pair)
        change = float(changes[largest[column], column])
        of_heads = f"the mean {rule.metric} of {counted(len(bound.heads), 'head')}"
        whose = of_heads if key is None else f"{rule.metric} of head {key[1]}.{key[2]}"
        met = int((head_margins >= 0).sum())
        why = f"{whose} changes by {change:+.3f} between {ends}"
        why += f"; {met} of {len(head_margins)} heads hold" if len(head_margins) > 1 else ""
        fields: dict[str, Any] = {} if key is None else {**head_fields(key), "heads": len(head_margins), "met": met}
        line = rule.part.position.line
        holds = rule_holds(head_margins, over)
        return Verdict(rule.name, "trend", holds, line, _wanted(rule), why, **fields, found=change), column

    def _pairs(self, rule: TrendRule) -> list[tuple[int, int]]:
        """Return which checkpoints are compared, an earlier with a later one; raise UsageError if there are none."""
        first, last = rule.steps
        steps = [checkpoint.step for checkpoint in self.checkpoints]
        if (rule.span == "within" or (first, last) != (None, None)) and None in steps:
            name = self.checkpoints[steps.index(None)].name
            raise rule.part.error(("trend",), f"the rule counts steps, and the name '{name}' has no number")
        numbers = [
            number
            for number, step in enumerate(steps)
            if (first is None or step >= first) and (last is None or step <= last)  # type: ignore[operator]
        ]
        pairs = [(a, b) for at, a in enumerate(numbers) for b in numbers[at + 1 :]]
        if rule.span == "neighbours":
            pairs = list(pairwise(numbers))
        elif rule.span == "ends":
            pairs = [pair for pair in pairs if pair == (numbers[0], numbers[-1])]
        elif rule.span == "within":
            pairs = [(a, b) for a, b in pairs if steps[b] - steps[a] <= rule.within]  # type: ignore[operator]
        if not pairs:
            known = ", ".join(checkpoint.name for checkpoint in self.checkpoints)
            raise rule.part.error(("trend",), f"no two checkpoints can be compared: there are {known}")
        return pairs


def _quantifier(rule: TrendRule) -> Quantifier:
    """Return which of the heads must keep a rule: all, for an alarm of any head; any, for an alarm of all heads."""
    if rule.must:
        return rule.heads.quantifier
    return "all" if rule.heads.quantifier == "any" else "any"


def _wanted(rule: TrendRule) -> str:
    """Return what a rule demands, in words."""
    whose = describe_heads(Candidates(_quantifier(rule), rule.heads.named))
    if rule.mean:
        every = describe_heads(Candidates("all", rule.heads.named))
        whose = f"the mean of {every.replace('every head', 'all heads', 1)}"
    spans = {
        "neighbours": "between neighbouring checkpoints",
        "any": "between any two checkpoints",
        "within": f"within {rule.within} steps",
        "ends": "from the first to the last checkpoint",
    }
    limit = f"by {'more than' if rule.must else 'at most'} {rule.by:g}"
    first, last = ("" if step is None else str(step) for step in rule.steps)
    steps = f" of steps {first}-{last}" if first or last else ""
    return f"{rule.metric} {rule.direction} {limit} {spans[rule.span]}{steps} in {whose}"
