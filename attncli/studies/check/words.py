"""Verdicts on attention between words: on one text, and on suites of cases."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from attncli.studies.check.result import Case, Quantifier, Verdict
from attncli.studies.check.rules.kinds import AttentionRule, SuiteRule
from attncli.studies.check.rules.phrases import describe_heads
from attncli.studies.check.statistics import REDUCTIONS, SUITE_SAMPLES, draw_key_sets, permutation_p, wilson
from attncli.studies.check.weights import DIGITS, Demand, MeanRows


@dataclass(frozen=True, eq=False)
class ChosenRows:
    """Maps of only the query positions that rules need, with these positions, by text and kind."""

    maps: Mapping[tuple[int, Kind], Attention]
    positions: Mapping[tuple[int, Kind], Array]

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
            # one mask for all heads, or one for each
            mask = True if maps.visible is None else maps.visible[min(index, len(maps.visible) - 1)][rows]
            visible.append(np.broadcast_to(mask, weights[-1].shape))
        return MeanRows.of(np.stack(weights), np.stack(visible))


def attention_verdict(bound: BoundAttention, rows: ChosenRows, tolerance: float) -> Verdict:
    """Return whether any head (or every head) attends from one word to another as the rule demands."""
    rule, words = bound.rule, bound.data
    mean_rows = rows.mean_rows(words, bound.heads)
    weight = mean_rows.to(words.target)
    than = mean_rows.to(words.than) if words.than else None
    margins = Demand(rule.least, rule.most, rule.than is not None, tolerance).margins(weight, than)
    over = rule.heads.quantifier
    # a rule without limits has infinite margins: then the weights decide which head is shown
    head = decisive_head(np.where(np.isposinf(margins), weight, margins), over, tolerance)
    p = None if rule.above is None else permutation_p(mean_rows.rows, mean_rows.visible, words.target, over, tolerance)
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
    holds = rule_holds(margins, over) and reaches(p, rule.above)
    wanted, why = _attention_wanted(rule), _attention_why(rule, values)
    return Verdict(rule.name, "attention", holds, rule.part.position.line, wanted, why, text=words.text, **values)


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


@dataclass(frozen=True, eq=False)
class Trial:
    """One case of a suite: the weights of all heads, and the positions of the target and of the other word, if any.

    unit  number of the unit, such as a minimal pair; a unit holds if all its cases hold
    """

    mean_rows: MeanRows
    target: tuple[int, ...]
    other: tuple[int, ...]
    unit: int

    def margins(self, demand: Demand) -> Array:
        """Return how clearly each head [head] is right: negative if it is wrong."""
        other = self.mean_rows.to(self.other) if self.other else None
        return demand.margins(self.mean_rows.to(self.target), other)


def unit_counts(holds: Iterable[Array], units: Sequence[int]) -> Array:
    """Return the number of units [...] whose cases all hold.

    holds  for each case, an array [...] of whether it holds
    units  unit of each case

    >>> unit_counts([np.array([True, True]), np.array([True, False]), np.array([False, True])], [0, 0, 1]).tolist()
    [1, 1]
    """
    unit_holds: dict[int, Array] = {}
    for unit, case_holds in zip(units, holds, strict=True):
        unit_holds[unit] = unit_holds[unit] & case_holds if unit in unit_holds else case_holds
    return np.asarray(sum(unit_holds.values(), start=np.zeros((), np.int64)))


def suite_p(trials: Sequence[Trial], demand: Demand, over: Quantifier = "any") -> float:
    """Return the p-value of the best head: how often it would hold in as many units if keys were permuted.

    Formula   p = (1 + hits) / (1 + samples): a hit is a sample in which some head (all: every head) holds in at least
              as many units as the best (all: the worst) head of the real data; 1,999 samples with one seed. A sample
              permutes the visible keys of each case in the same way for all heads, which corrects for the number of
              heads searched.
    Source    Phipson & Smyth 2010
    """
    reduce, units = REDUCTIONS[over], [trial.unit for trial in trials]
    observed = reduce(unit_counts((trial.margins(demand) >= 0 for trial in trials), units))
    rng = np.random.default_rng(0)
    sampled = reduce(unit_counts((_permuted_holds(trial, demand, rng) for trial in trials), units), axis=0)
    return float((1 + (sampled >= observed).sum()) / (1 + SUITE_SAMPLES))


def _permuted_holds(trial: Trial, demand: Demand, rng: np.random.Generator) -> Array:
    """Return whether each head [head, sample] is right with permuted keys."""
    rows, count = trial.mean_rows.rows, len(trial.target)
    visible = np.flatnonzero(trial.mean_rows.visible)
    key_sets = draw_key_sets(rng, visible, count + len(trial.other), SUITE_SAMPLES)
    weight = rows[:, key_sets[:, :count]].sum(-1)
    than = rows[:, key_sets[:, count:]].sum(-1) if trial.other else None
    return demand.margins(np.round(weight, 6), None if than is None else np.round(than, 6)) >= 0


def suite_verdict(bound: BoundSuite, rows: ChosenRows, tolerance: float) -> tuple[Verdict, list[Case]]:
    """Return whether the best head (or the worst, if all must) is right in enough cases, and the cases of that head."""
    rule, over = bound.rule, bound.rule.heads.quantifier
    trials = [
        Trial(rows.mean_rows(words, bound.heads), words.target, words.than, case.unit)
        for words, case in zip(bound.data, rule.cases, strict=True)
    ]
    demand = Demand(rule.least, None, True, tolerance)
    units = [trial.unit for trial in trials]
    margins = [trial.margins(demand) for trial in trials]
    counts, count = unit_counts([case_margins >= 0 for case_margins in margins], units), len(set(units))
    # of heads with equal counts, the one with the largest mean margin is chosen
    head = decisive_head(counts + (0.5 + np.round(np.mean(margins, axis=0), DIGITS) / 2), over, tolerance)
    right = int(counts[head])
    rate_margins = None if rule.rate is None else np.round(counts / count - rule.rate, 9)
    p = None if rule.above is None else suite_p(trials, demand, over)
    holds = (rate_margins is None or rule_holds(rate_margins, over)) and reaches(p, rule.above)
    low, high = (round(end, DIGITS) for end in wilson(right, count))
    cases = list(_head_cases(bound, trials, [bool(case_margins[head] >= 0) for case_margins in margins], head))
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
    verdict = Verdict(
        rule.name, "suite", holds, rule.part.position.line, _suite_wanted(rule, unit), why, text=shown_text, **values
    )
    return verdict, cases


def _suite_wanted(rule: SuiteRule, unit: str) -> str:
    parts = [f"in at least {rule.rate:.0%} of {unit}"] if rule.rate is not None else []
    parts += [f"more often than in {rule.above:g} % of permutations"] if rule.above is not None else []
    return f"{describe_heads(rule.heads)} is right {', '.join(parts)}"


def _head_cases(bound: BoundSuite, trials: Sequence[Trial], holds: Sequence[bool], head: int) -> Iterator[Case]:
    """Yield the cases with the weights of one head, which is given by its index."""
    for case, words, trial, case_holds in zip(bound.rule.cases, bound.data, trials, holds, strict=True):
        rank, keys = trial.mean_rows.rank(head, trial.target)
        yield Case(
            suite=bound.rule.name,
            line=case.part.position.line,
            pair=case.pair,
            text=words.text,
            query=case.from_,
            target=case.to,
            than=case.than,
            holds=case_holds,
            **head_fields(bound.heads[head]),
            weight=float(trial.mean_rows.to(trial.target)[head]),
            than_weight=float(trial.mean_rows.to(trial.other)[head]) if trial.other else None,
            rank=rank,
            keys=keys,
        )
