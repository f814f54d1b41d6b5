"""What heads do on repeated random tokens: budgets of the scores of the probe, and classes that are made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from attncli.data import Scores
from attncli.engine.execution import Execution
from attncli.errors import UsageError
from attncli.studies.check.bound import BoundMeasure
from attncli.studies.check.measures import Values, column, limit_margins, verdict_on
from attncli.studies.check.result import LEAST_BEYOND, PROBE_CLASSES, Verdict
from attncli.studies.check.rules.kinds import BudgetRule
from attncli.studies.check.weights import DIGITS, margins
from attncli.studies.repeated.result import SCORES, Repeated
from attncli.studies.repeated.study import RepeatedStudy


@dataclass(frozen=True, eq=False)
class Probe:
    """The scores of every head on repeated random tokens, on shuffled ones, and of uniform attention."""

    real: Values
    shuffled: Values
    uniform: Values

    @classmethod
    def of(cls, result: Repeated) -> "Probe":
        """Return the scores of a result by head, rounded as all measures are."""
        return cls(_by_head(result.heads), *(_by_head(result.baselines[name]) for name in ("shuffled", "uniform")))


def run_probe(execution: Execution) -> Probe:
    """Return the scores of `attncli patterns --probe repeated` with its default length and seeds.

    Raise UsageError for an encoder-decoder, or if the model reads too few tokens.
    """
    runner = execution.runner
    if runner.loaded.is_encoder_decoder:
        raise UsageError(
            "the probe of repeated tokens is for encoders and decoder-only models in check, "
            f"{runner.loaded.name} is an encoder-decoder: give another model"
        )
    # the random tokens are no text: none are merged, left out or cut
    request = replace(execution.request, words=False, special="keep", max_tokens=None)
    return Probe.of(RepeatedStudy().scores(replace(execution, request=request, load=lambda: runner)))


def probe_verdict(bound: BoundMeasure, probe: Probe, tolerance: float) -> Verdict:
    """Return whether a score is within its limits, or a class as the rule demands, in any head or in every head.

    A head is of a class if its score is at least `LEAST_BEYOND` beyond that on shuffled tokens.
    """
    rule = bound.rule
    values = {**probe.real, **{f"{name}_shuffled": of_heads for name, of_heads in probe.shuffled.items()}}
    if isinstance(rule, BudgetRule):
        head_margins = limit_margins(bound, rule, values, tolerance)
        return verdict_on(bound, rule.metric, head_margins, tolerance, values, probe.uniform)
    score = PROBE_CLASSES[rule.of]
    beyond = column(values, score, bound.heads) - column(values, f"{score}_shuffled", bound.heads)
    head_margins = margins(beyond, ">=" if rule.wanted else "<", LEAST_BEYOND, tolerance)
    return verdict_on(bound, score, head_margins, tolerance, values, probe.uniform)


def _by_head(scores: Mapping[str, Scores]) -> Values:
    values = {}
    for name in SCORES:
        keys = zip(*(scores[name].coords[coord][1].tolist() for coord in ("kind", "layer", "head")), strict=True)
        values[name] = dict(zip(keys, np.round(scores[name].values, DIGITS).tolist(), strict=True))
    return values
