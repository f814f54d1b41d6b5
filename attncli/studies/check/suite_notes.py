"""What is said about a suite in words: why it holds or not, and notes on what its numbers do not show."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attncli.studies.check.halves import LEAST_UNITS
from attncli.studies.check.result import Half, HeadOfSuite, Quantifier, Verdict

_MOST_CASES = 0.5


def suite_why(values: Mapping[str, Any], right: int, over: Quantifier, halves: Sequence[Half | None], unit: str) -> str:
    """Return the rate of the head that decides, what it is compared with, and how often the target is its top key.

    values  fields of the verdict
    right   number of units that are right
    halves  half of each case
    unit    word for units: cases or pairs
    """
    head, count, heads = f"head {values['layer']}.{values['head']}", values["units"], values["heads"]
    if "score" in halves:
        rate = f"{head}, chosen on the other half, is right in {right} of {count} {unit}"
    elif heads == 1:
        rate = f"{head} is right in {right} of {count} {unit}"
    else:
        chosen = "best" if over == "any" else "worst"
        rate = f"{head}, the {chosen} of {heads} on the same {unit}, is right in {right} of {count}"
    text = f"{rate}, {values['found']:.0%} (95 % interval {values['low']:.0%} to {values['high']:.0%})"
    text += f"; guessing gives {values['chance']:.0%}, the best fixed position {values['position_rate']:.0%}"
    text += f" ({values['position']})"
    if values["top"] is not None:
        text += f"; the target gets {values['weight']:.3f}, and is the top key in {values['top']:.0%} of cases"
    return text if values["p"] is None else f"{text}; p {values['p']:.4f}"


def suite_notes(
    verdict: Verdict, heads: Sequence[HeadOfSuite], over: Quantifier, has_halves: bool, unit: str
) -> Iterator[str]:
    """Yield notes: too few cases for halves, a target that is mostly not the top key, a rate that a position reaches.

    heads       all heads of the suite
    has_halves  whether one half chose the head
    unit        word for units: cases or pairs
    """
    if over == "all" and len(heads) > 1:
        return
    suite, head, found = f"suite '{verdict.name}'", f"head {verdict.layer}.{verdict.head}", verdict.found or 0.0
    if len(heads) > 1 and not has_halves:
        yield (
            f"{suite}: {verdict.units} {unit} are too few to choose a head on one half and score it on the other (each "
            f"needs {LEAST_UNITS} {unit} with texts of its own), so {head} is scored on the {unit} that chose it, and "
            f"its rate is too high; add {unit}, or name a head that other texts chose (heads: 3.1): then all {unit} "
            "count"
        )
    if verdict.top is not None and verdict.top < _MOST_CASES:
        largest = max(heads, key=lambda row: -1.0 if row.weight is None else row.weight)
        text = f"{suite}: {head} is right in {found:.0%} of {unit}, but the target is its top key in only "
        text += f"{verdict.top:.0%} of cases, with a mean weight of {verdict.weight or 0.0:.3f}"
        if not largest.used:
            text += f"; head {largest.layer}.{largest.head} gives it the most, {largest.weight or 0.0:.3f}"
            text += f" (top key in {largest.top or 0.0:.0%}, right in {largest.rate:.0%})"
        yield f"{text}; give the suite a min, or see all heads in check-heads.csv"
    if verdict.holds and (verdict.position_rate or 0.0) >= (verdict.low or 0.0):
        yield (
            f"{suite}: a fixed position ({verdict.position}) is right in {verdict.position_rate or 0.0:.0%} of {unit}, "
            f"which is within the interval of {head}: give pairs in which the words swap places"
        )
