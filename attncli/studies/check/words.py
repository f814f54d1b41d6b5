"""Verdicts on attention between words: of one text, and of suites of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array, Attention, Kind
from attncli.studies.check.bound import BoundAttention, BoundSuite, Place, Words, kept, pick, reaches, where
from attncli.studies.check.limits import DIGITS
from attncli.studies.check.permutations import permutation_p
from attncli.studies.check.result import Case, Verdict
from attncli.studies.check.rules.heads import said
from attncli.studies.check.rules.kinds import AttentionRule, SuiteRule
from attncli.studies.check.suites import Trial, suite_p, unit_counts
from attncli.studies.check.weights import Demand, MeanRows
from attncli.studies.check.wilson import wilson


@dataclass(frozen=True, eq=False)
class ChosenRows:
    """The rows that rules need: maps of these queries alone, and which they are."""

    maps: Mapping[tuple[int, Kind], Attention]
    positions: Mapping[tuple[int, Kind], Array]

    @classmethod
    def of(cls, maps: Sequence[Attention], positions: Mapping[tuple[int, Kind], Array]) -> ChosenRows:
        """Of the maps that the sink kept, by text and kind."""
        return cls({(attention.text, attention.kind): attention for attention in maps}, positions)

    def mean_rows(self, words: Words, heads: Sequence[Place]) -> MeanRows:
        """Where these heads look from a word."""
        attention = self.maps[words.text, words.kind]
        rows = np.searchsorted(self.positions[words.text, words.kind], words.query)
        layers = {maps.layer: maps for maps in attention.layers}
        weights, visible = [], []
        for _, layer, head in heads:
            maps = layers[layer]
            at = maps.heads.index(head)
            weights.append(maps.weights[at][rows])
            everything = np.ones_like(weights[-1], bool)
            visible.append(everything if maps.visible is None else maps.visible[min(at, len(maps.visible) - 1)][rows])
        return MeanRows.of(np.stack(weights), np.stack(visible))


def attention_verdict(bound: BoundAttention, rows: ChosenRows, tolerance: float) -> Verdict:
    """Does some head (or every one) look from one word to another as the rule asks?"""
    rule, words = bound.rule, bound.words
    mean_rows = rows.mean_rows(words, bound.heads)
    weight = mean_rows.to(words.target)
    than = mean_rows.to(words.than) if words.than else None
    margins = Demand(rule.least, rule.most, rule.than is not None, tolerance).margins(weight, than)
    over = rule.heads.quantifier
    at = pick(_or_weight(margins, weight), over, tolerance)
    p = None if rule.above is None else permutation_p(mean_rows.rows, mean_rows.visible, words.target, over, tolerance)
    above = p is None or rule.above is None or reaches(p, rule.above)
    rank, keys = mean_rows.rank(at, words.target)
    found = {
        **where(bound.heads, at),
        "heads": len(bound.heads),
        "met": int((margins >= 0).sum()),
        "found": float(weight[at]),
        "than": None if than is None else float(than[at]),
        "rank": rank,
        "keys": keys,
        "chance": mean_rows.chance(words.target),
        "p": None if p is None else round(p, DIGITS),
    }
    holds = kept(margins, over) and above
    return _verdict(rule, "attention", holds, _wanted(rule), _why(rule, found), text=words.text, **found)


def _or_weight(margins: Array, weight: Array) -> Array:
    """The margins; where a rule has no limits, so that all are infinite, the weights."""
    return np.where(np.isposinf(margins), weight, margins)


def _verdict(rule: AttentionRule | SuiteRule, sort: Any, holds: bool, wanted: str, why: str, **more: Any) -> Verdict:
    return Verdict(rule.name, sort, holds, rule.line, wanted, why, **more)


def _wanted(rule: AttentionRule) -> str:
    limits = [f"at least {rule.least:g}"] if rule.least is not None else []
    limits += [f"at most {rule.most:g}"] if rule.most is not None else []
    beside = [f"more than to '{rule.than}'"] if rule.than is not None else []
    beside += [f"more than in {rule.above:g} % of permutations"] if rule.above is not None else []
    much = " and ".join(limits) + " of " if limits else ""
    return ", ".join([f"{said(rule.heads)} gives {much}'{rule.from_}' to '{rule.to}'", *beside])


def _why(rule: AttentionRule, found: Mapping[str, Any]) -> str:
    text = f"head {found['layer']}.{found['head']} gives {found['found']:.3f} to '{rule.to}'"
    if found["than"] is not None:
        text += f", {found['than']:.3f} to '{rule.than}'"
    text += f"; rank {found['rank']} of {found['keys']} keys, even attention gives {found['chance']:.3f}"
    return text if found["p"] is None else f"{text}; p {found['p']:.4f}"


def suite_verdict(bound: BoundSuite, rows: ChosenRows, tolerance: float) -> tuple[Verdict, list[Case]]:
    """Is one head right in as many cases as asked? Of any heads the best single one, of all the worst."""
    rule, over = bound.rule, bound.rule.heads.quantifier
    trials = [
        Trial(rows.mean_rows(words, bound.heads), words.target, words.than, case.unit)
        for words, case in zip(bound.cases, rule.cases, strict=True)
    ]
    demands = Demand(rule.least, None, True, tolerance)
    units = [trial.unit for trial in trials]
    counts, count = unit_counts([trial.holds(demands) for trial in trials], units), len(set(units))
    at = pick(counts + _clearness(trials, demands), over, tolerance)
    rate, held = counts / count, int(counts[at])
    p = None if rule.above is None else suite_p(trials, demands, over)
    enough = rule.rate is None or kept(np.round(rate - rule.rate, 9), over)
    holds = enough and (p is None or rule.above is None or reaches(p, rule.above))
    low, high = (round(end, DIGITS) for end in wilson(held, count))
    cases = list(_cases(bound, trials, demands, at))
    first = next((case.text for case in cases if not case.holds), cases[0].text)
    found = {
        **where(bound.heads, at),
        "heads": len(bound.heads),
        "met": None if rule.rate is None else int((np.round(rate - rule.rate, 9) >= 0).sum()),
        "found": round(held / count, DIGITS),
        "p": None if p is None else round(p, DIGITS),
        "low": low,
        "high": high,
    }
    pairs = "pairs" if any(case.pair is not None for case in rule.cases) else "cases"
    why = f"head {found['layer']}.{found['head']} is right in {held} of {count} {pairs}, {held / count:.0%}"
    why += f" (95 % interval {low:.0%} to {high:.0%})" + ("" if p is None else f"; p {p:.4f}")
    return _verdict(rule, "suite", holds, _rate_wanted(rule, pairs), why, text=first, **found), cases


def _clearness(trials: Sequence[Trial], demand: Demand) -> Array:
    """[head] from 0 to 1: of heads that are right as often, the clearer one stands for the suite."""
    margins = [
        demand.margins(trial.mean_rows.to(trial.target), trial.mean_rows.to(trial.other) if trial.other else None)
        for trial in trials
    ]
    return np.asarray(0.5 + np.round(np.mean(margins, axis=0), DIGITS) / 2)


def _rate_wanted(rule: SuiteRule, pairs: str) -> str:
    parts = [f"in at least {rule.rate:.0%} of {pairs}"] if rule.rate is not None else []
    parts += [f"more often than in {rule.above:g} % of permutations"] if rule.above is not None else []
    return f"{said(rule.heads)} is right {', '.join(parts)}"


def _cases(bound: BoundSuite, trials: Sequence[Trial], demand: Demand, at: int) -> Iterator[Case]:
    for case, words, trial in zip(bound.rule.cases, bound.cases, trials, strict=True):
        rank, keys = trial.mean_rows.rank(at, trial.target)
        yield Case(
            suite=bound.rule.name,
            line=case.line,
            pair=case.pair,
            text=words.text,
            query=case.from_,
            target=case.to,
            than=case.than,
            holds=bool(trial.holds(demand)[at]),
            kind=words.kind,
            layer=bound.heads[at][1],
            head=bound.heads[at][2],
            weight=float(trial.mean_rows.to(trial.target)[at]),
            than_weight=float(trial.mean_rows.to(trial.other)[at]) if trial.other else None,
            rank=rank,
            keys=keys,
        )
