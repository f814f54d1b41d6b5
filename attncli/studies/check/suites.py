"""Verdicts on suites of cases: the head that decides, its rate on cases that did not choose it, and all other heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.studies.check.bound import BoundSuite, WordPositions, decisive_head, head_fields, reaches, rule_holds
from attncli.studies.check.halves import position_holds, position_names, scored_half
from attncli.studies.check.result import Case, Half, HeadOfSuite, Quantifier, Verdict
from attncli.studies.check.rules.kinds import SuiteRule
from attncli.studies.check.rules.phrases import describe_heads
from attncli.studies.check.statistics import wilson
from attncli.studies.check.suite_notes import suite_notes, suite_why
from attncli.studies.check.trials import Trial, guess_rate, suite_p, unit_counts
from attncli.studies.check.weights import DIGITS, Demand
from attncli.studies.check.words import ChosenRows


@dataclass(frozen=True, eq=False)
class Score:
    """How heads do on the cases of a suite that count.

    head      index of the head that decides: the best one, or the worst one if all must be right
    halves    half of each case, None without halves
    order     [head] indices of all heads, the best one first
    right     [head] number of units that are right, of `units`
    choosing  [head] share of the units that chose the head; None without halves
    chance    share of units that the head would have right if keys were permuted
    position  the best way to guess by a fixed position, and the share of units that it has right
    """

    head: int
    halves: tuple[Half | None, ...]
    order: Array
    right: Array
    units: int
    choosing: Array | None
    interval: tuple[float, float]
    chance: float
    position: tuple[str, float]
    p: float | None

    @property
    def rates(self) -> Array:
        """Share of units [head] that are right."""
        return np.asarray(self.right / self.units)


def score_heads(
    trials: Sequence[Trial], cases: Sequence[WordPositions], demand: Demand, over: Quantifier, permutes: bool = False
) -> Score:
    """Return how the head that decides does, on cases that did not choose it if it is the best of several.

    cases     positions of the words of each trial
    permutes  whether to compute p

    One head, or every head, is no search: all cases count. With too few units for halves, all cases choose the best
    head and score it; then p counts the search, and the interval is wide enough for all heads.
    """
    heads, units = len(trials[0].mean_rows.rows), [trial.unit for trial in trials]
    scored = scored_half(cases, units) if over == "any" and heads > 1 else None
    everything = np.ones(len(trials), bool)
    scoring, choosing = (everything, everything) if scored is None else (scored, ~scored)
    margins = np.stack([trial.margins(demand) for trial in trials])
    counts = _counts(margins[choosing] >= 0, units, choosing)
    # of heads with equal counts, the one with the largest mean margin is chosen
    ranking = counts + (0.5 + np.round(margins[choosing].mean(0), DIGITS) / 2)
    head = decisive_head(ranking, over, demand.tolerance)
    right, count = _counts(margins[scoring] >= 0, units, scoring), len({*np.array(units)[scoring].tolist()})
    of_head = [trial.of_head(head) for trial, counts_here in zip(trials, scoring, strict=True) if counts_here]
    names = position_names(cases)
    by_position = np.stack([position_holds(case, names, demand) for case in cases])
    best = int(_counts(by_position[choosing], units, choosing).argmax())
    p = None if not permutes else suite_p(trials if scored is None else of_head, demand, over)
    return Score(
        head,
        tuple(None if scored is None else "score" if is_scored else "choose" for is_scored in scoring.tolist()),
        np.argsort(-np.nan_to_num(ranking, nan=-1.0), kind="stable"),
        right,
        count,
        None if scored is None else counts / len({*np.array(units)[choosing].tolist()}),
        wilson(int(right[head]), count, heads=heads if scored is None else 1),
        guess_rate(of_head, demand),
        (names[best], float(_counts(by_position[scoring], units, scoring)[best] / count)),
        p,
    )


def _counts(holds: Array, units: Sequence[int], chosen: Array) -> Array:
    """Return the number of units [...] whose cases all hold, for holds [chosen case, ...]."""
    return unit_counts(list(holds), np.array(units)[chosen].tolist())


@dataclass(frozen=True, eq=False)
class JudgedSuite:
    """The verdict on a suite, the cases of the head that decides, all heads, and what the numbers do not show."""

    verdict: Verdict
    cases: list[Case]
    heads: list[HeadOfSuite]
    notes: list[str]


def judge_suite(bound: BoundSuite, rows: ChosenRows, tolerance: float) -> JudgedSuite:
    """Return whether the head that decides is right in enough cases, with its cases and all other heads."""
    rule, over = bound.rule, bound.rule.heads.quantifier
    trials = [
        Trial(rows.mean_rows(words, bound.heads), words.target, words.than, case.unit)
        for words, case in zip(bound.data, rule.cases, strict=True)
    ]
    demand = Demand(rule.least, None, True, tolerance)
    score = score_heads(trials, bound.data, demand, over, rule.above is not None)
    cases = list(_head_cases(bound, trials, score, demand))
    heads = _all_heads(bound, trials, score)
    used = next(row for row in heads if row.used)
    rate_margins = None if rule.rate is None else np.round(score.rates - rule.rate, 9)
    decides = None if rate_margins is None else rate_margins if score.choosing is None else rate_margins[[score.head]]
    holds = (decides is None or rule_holds(decides, over)) and reaches(score.p, rule.above)
    shown = next((case for case in cases if case.half != "choose" and not case.holds), cases[0])
    values: dict[str, Any] = {
        **head_fields(bound.heads[score.head]),
        "text": shown.text,
        "heads": len(bound.heads),
        "met": None if rate_margins is None else int((rate_margins >= 0).sum()),
        "found": used.rate,
        "chance": round(score.chance, DIGITS),
        "p": None if score.p is None else round(score.p, DIGITS),
        **{name: round(end, DIGITS) for name, end in zip(("low", "high"), score.interval, strict=True)},
        "units": score.units,
        "weight": used.weight,
        "top": used.top,
        "position": score.position[0],
        "position_rate": round(score.position[1], DIGITS),
    }
    unit = "pairs" if any(case.pair is not None for case in rule.cases) else "cases"
    wanted, line = _wanted(rule, unit), rule.part.position.line
    right = int(score.right[score.head])
    why = suite_why(values, right, over, score.halves, unit)
    verdict = Verdict(rule.name, "suite", holds, line, wanted, why, **values)
    notes = suite_notes(verdict, heads, over, score.choosing is not None, unit)
    return JudgedSuite(verdict, cases, heads, list(notes))


def _wanted(rule: SuiteRule, unit: str) -> str:
    parts = [f"in at least {rule.rate:.0%} of {unit}"] if rule.rate is not None else []
    parts += [f"more often than in {rule.above:g} % of permutations"] if rule.above is not None else []
    return f"{describe_heads(rule.heads)} is right {', '.join(parts)}"


def _head_cases(bound: BoundSuite, trials: Sequence[Trial], score: Score, demand: Demand) -> Iterator[Case]:
    """Yield the cases with the weights of the head that decides."""
    head = score.head
    for case, words, trial, half in zip(bound.rule.cases, bound.data, trials, score.halves, strict=True):
        rank, keys = trial.mean_rows.rank(head, trial.target)
        yield Case(
            suite=bound.rule.name,
            line=case.part.position.line,
            pair=case.pair,
            text=words.text,
            query=case.from_,
            target=case.to,
            than=case.than,
            holds=bool(trial.margins(demand)[head] >= 0),
            **head_fields(bound.heads[head]),
            weight=float(trial.mean_rows.to(trial.target)[head]),
            than_weight=float(trial.mean_rows.to(trial.other)[head]) if trial.other else None,
            rank=rank,
            keys=keys,
            half=half,
        )


def _all_heads(bound: BoundSuite, trials: Sequence[Trial], score: Score) -> list[HeadOfSuite]:
    """Return how each head does on the cases that count, the best one first."""
    scored = [trial for trial, half in zip(trials, score.halves, strict=True) if half != "choose"]
    weight = np.mean([trial.mean_rows.to(trial.target) for trial in scored], axis=0)
    others = [trial.mean_rows.to(trial.other) for trial in scored if trial.other]
    than = np.mean(others, axis=0) if others else np.full(len(weight), np.nan)
    ranks = np.stack([trial.mean_rows.ranks(trial.target) for trial in scored])
    numbers = {"rate": score.rates, "weight": weight, "than_weight": than}
    numbers |= {"rank": ranks.mean(0), "top": (ranks == 1).mean(0)}
    numbers |= {} if score.choosing is None else {"rate_choose": score.choosing}
    rows = []
    for head in score.order.tolist():
        values: dict[str, Any] = {name: _plain(of_heads[head]) for name, of_heads in numbers.items()}
        key = head_fields(bound.heads[head])
        rows.append(HeadOfSuite(bound.rule.name, **key, used=head == score.head, units=score.units, **values))
    return rows


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), DIGITS)
