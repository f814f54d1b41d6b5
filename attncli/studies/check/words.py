"""Verdicts on attention between words: on one text, and on suites of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array, Attention, Kind
from attncli.studies.check.bound import (
    BoundAttention,
    BoundSuite,
    HeadKey,
    WordPositions,
    decisive_head,
    head_fields,
    reaches,
    rule_holds,
)
from attncli.studies.check.limits import DIGITS
from attncli.studies.check.permutations import permutation_p
from attncli.studies.check.result import Case, Verdict
from attncli.studies.check.rules.heads import describe_heads
from attncli.studies.check.rules.kinds import AttentionRule, SuiteRule
from attncli.studies.check.suites import Trial, suite_p, unit_counts
from attncli.studies.check.weights import Demand, MeanRows
from attncli.studies.check.wilson import wilson


@dataclass(frozen=True, eq=False)
class ChosenRows:
    """Maps of only the query positions that rules need, with these positions, by text and kind."""

    maps: Mapping[tuple[int, Kind], Attention]
    positions: Mapping[tuple[int, Kind], Array]

    @classmethod
    def of(cls, maps: Sequence[Attention], positions: Mapping[tuple[int, Kind], Array]) -> ChosenRows:
        """Return the kept maps by text and kind, with their query positions."""
        return cls({(attention.text, attention.kind): attention for attention in maps}, positions)

    def mean_rows(self, words: WordPositions, heads: Sequence[HeadKey]) -> MeanRows:
        """Return the mean weights of these heads from the query word to all keys."""
        attention = self.maps[words.text, words.kind]
        rows = np.searchsorted(self.positions[words.text, words.kind], words.query)
        layers = {maps.layer: maps for maps in attention.layers}
        weights, visible = [], []
        for _, layer, head in heads:
            maps = layers[layer]
            index = maps.heads.index(head)
            weights.append(maps.weights[index][rows])
            all_visible = np.ones_like(weights[-1], bool)
            # one mask for all heads, or one for each
            mask = None if maps.visible is None else maps.visible[min(index, len(maps.visible) - 1)][rows]
            visible.append(all_visible if mask is None else mask)
        return MeanRows.of(np.stack(weights), np.stack(visible))


def attention_verdict(bound: BoundAttention, rows: ChosenRows, tolerance: float) -> Verdict:
    """Return whether any head (or every head) attends from one word to another as the rule demands."""
    rule, words = bound.rule, bound.words
    mean_rows = rows.mean_rows(words, bound.heads)
    weight = mean_rows.to(words.target)
    than = mean_rows.to(words.than) if words.than else None
    margins = Demand(rule.least, rule.most, rule.than is not None, tolerance).margins(weight, than)
    over = rule.heads.quantifier
    # a rule without limits has infinite margins: then the weights decide which head is shown
    head = decisive_head(np.where(np.isposinf(margins), weight, margins), over, tolerance)
    p = None if rule.above is None else permutation_p(mean_rows.rows, mean_rows.visible, words.target, over, tolerance)
    above = p is None or rule.above is None or reaches(p, rule.above)
    rank, keys = mean_rows.rank(head, words.target)
    values: dict[str, Any] = {
        **head_fields(bound.heads[head]),
        "heads": len(bound.heads),
        "met": int((margins >= 0).sum()),
        "found": float(weight[head]),
        "than": None if than is None else float(than[head]),
        "rank": rank,
        "keys": keys,
        "chance": mean_rows.chance(words.target),
        "p": None if p is None else round(p, DIGITS),
    }
    holds = rule_holds(margins, over) and above
    wanted, why = _attention_wanted(rule), _attention_why(rule, values)
    return Verdict(rule.name, "attention", holds, rule.line, wanted, why, text=words.text, **values)


def _attention_wanted(rule: AttentionRule) -> str:
    limits = [f"at least {rule.least:g}"] if rule.least is not None else []
    limits += [f"at most {rule.most:g}"] if rule.most is not None else []
    comparisons = [f"more than to '{rule.than}'"] if rule.than is not None else []
    comparisons += [f"more than in {rule.above:g} % of permutations"] if rule.above is not None else []
    amount = " and ".join(limits) + " of " if limits else ""
    return ", ".join([f"{describe_heads(rule.heads)} gives {amount}'{rule.from_}' to '{rule.to}'", *comparisons])


def _attention_why(rule: AttentionRule, values: Mapping[str, Any]) -> str:
    text = f"head {values['layer']}.{values['head']} gives {values['found']:.3f} to '{rule.to}'"
    if values["than"] is not None:
        text += f", {values['than']:.3f} to '{rule.than}'"
    text += f"; rank {values['rank']} of {values['keys']} keys, uniform attention gives {values['chance']:.3f}"
    return text if values["p"] is None else f"{text}; p {values['p']:.4f}"


def suite_verdict(bound: BoundSuite, rows: ChosenRows, tolerance: float) -> tuple[Verdict, list[Case]]:
    """Return whether the best head (or the worst, if all must) is right in enough cases, and the cases of that head."""
    rule, over = bound.rule, bound.rule.heads.quantifier
    trials = [
        Trial(rows.mean_rows(words, bound.heads), words.target, words.than, case.unit)
        for words, case in zip(bound.cases, rule.cases, strict=True)
    ]
    demand = Demand(rule.least, None, True, tolerance)
    units = [trial.unit for trial in trials]
    counts, count = unit_counts([trial.holds(demand) for trial in trials], units), len(set(units))
    head = decisive_head(counts + _tie_breaks(trials, demand), over, tolerance)
    right = int(counts[head])
    rate_margins = None if rule.rate is None else np.round(counts / count - rule.rate, 9)
    p = None if rule.above is None else suite_p(trials, demand, over)
    above = p is None or rule.above is None or reaches(p, rule.above)
    holds = (rate_margins is None or rule_holds(rate_margins, over)) and above
    low, high = (round(end, DIGITS) for end in wilson(right, count))
    cases = list(_head_cases(bound, trials, demand, head))
    shown_text = next((case.text for case in cases if not case.holds), cases[0].text)
    values: dict[str, Any] = {
        **head_fields(bound.heads[head]),
        "heads": len(bound.heads),
        "met": None if rate_margins is None else int((rate_margins >= 0).sum()),
        "found": round(right / count, DIGITS),
        "p": None if p is None else round(p, DIGITS),
        "low": low,
        "high": high,
    }
    unit = "pairs" if any(case.pair is not None for case in rule.cases) else "cases"
    why = f"head {values['layer']}.{values['head']} is right in {right} of {count} {unit}, {right / count:.0%}"
    why += f" (95 % interval {low:.0%} to {high:.0%})" + ("" if p is None else f"; p {p:.4f}")
    verdict = Verdict(rule.name, "suite", holds, rule.line, _suite_wanted(rule, unit), why, text=shown_text, **values)
    return verdict, cases


def _tie_breaks(trials: Sequence[Trial], demand: Demand) -> Array:
    """Return from 0 to 1 how large the mean margin of each head [head] is, to choose among heads with equal counts."""
    margins = [
        demand.margins(trial.mean_rows.to(trial.target), trial.mean_rows.to(trial.other) if trial.other else None)
        for trial in trials
    ]
    return np.asarray(0.5 + np.round(np.mean(margins, axis=0), DIGITS) / 2)


def _suite_wanted(rule: SuiteRule, unit: str) -> str:
    parts = [f"in at least {rule.rate:.0%} of {unit}"] if rule.rate is not None else []
    parts += [f"more often than in {rule.above:g} % of permutations"] if rule.above is not None else []
    return f"{describe_heads(rule.heads)} is right {', '.join(parts)}"


def _head_cases(bound: BoundSuite, trials: Sequence[Trial], demand: Demand, head: int) -> Iterator[Case]:
    """Yield the cases with the weights of one head, which is given by its index."""
    for case, words, trial in zip(bound.rule.cases, bound.cases, trials, strict=True):
        rank, keys = trial.mean_rows.rank(head, trial.target)
        yield Case(
            suite=bound.rule.name,
            line=case.line,
            pair=case.pair,
            text=words.text,
            query=case.from_,
            target=case.to,
            than=case.than,
            holds=bool(trial.holds(demand)[head]),
            kind=words.kind,
            layer=bound.heads[head][1],
            head=bound.heads[head][2],
            weight=float(trial.mean_rows.to(trial.target)[head]),
            than_weight=float(trial.mean_rows.to(trial.other)[head]) if trial.other else None,
            rank=rank,
            keys=keys,
        )
