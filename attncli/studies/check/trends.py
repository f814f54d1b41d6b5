"""Rules about checkpoints: what their measures are at each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attncli import registry
from attncli.data import Array, Text
from attncli.engine.checkpoints import Checkpoint, find_checkpoints, is_pattern
from attncli.engine.execution import Execution
from attncli.engine.on_checkpoints import each_checkpoint, on_checkpoint
from attncli.engine.passes import Pass
from attncli.errors import UsageError
from attncli.stream import Measure, Sink
from attncli.stream.rigidity import RigiditySink
from attncli.studies.check.bound import Binder, Bound, HeadKey, TextIndices
from attncli.studies.check.probe import Probe, run_probe
from attncli.studies.check.rules.kinds import RIGIDITY, RuleFile, TrendRule, needs_probe
from attncli.studies.check.weights import DIGITS
from attncli.studies.patterns.result import head_keys

BoundTrend = Bound[TrendRule, TextIndices]
AtCheckpoint = tuple[Sequence[BoundTrend], Sequence[Array]]
"""The rules about checkpoints, and the measure of each in its heads [head] at one checkpoint."""


class TrendMeasures:
    """The measures of the trends of a file at one checkpoint.

    bound   the rules with their heads and texts
    probes  whether any of them is about repeated random tokens
    """

    def __init__(self, file: RuleFile, prepared: Pass, texts: Sequence[Text]) -> None:
        rules = [rule for rule in file.rules if isinstance(rule, TrendRule)]
        measured = tuple(range(len(file.texts)))
        binder = Binder(prepared.heads, texts, prepared.inputs, prepared.loaded.name)
        self.bound: list[BoundTrend] = [binder.measure(rule, measured) for rule in rules]
        self.probes = any(map(needs_probe, rules))
        of_texts = {rule.metric for rule in rules if not needs_probe(rule) and rule.metric != RIGIDITY}
        declared = [registry.module("metrics", name).METRIC for name in sorted(of_texts)]
        self._measure = Measure(declared, per_text=True, heads=prepared.heads)
        self._rigidity = RigiditySink()
        self._measures, self._compares = bool(declared), any(rule.metric == RIGIDITY for rule in rules)

    @property
    def sinks(self) -> list[Sink]:
        """The consumers of the forward pass."""
        measure: list[Sink] = [self._measure] if self._measures else []
        return [*measure, self._rigidity] if self._compares else measure

    def values(self, probe: Probe | None) -> list[Array]:
        """Return the measure of each rule [head], or its mean over the heads [1], rounded as all measures are.

        probe  scores on repeated random tokens; needed if `probes` says so
        """
        columns = []
        for bound in self.bound:
            of_heads = self._of_heads(bound, probe)
            column = np.array([of_heads.get(key, np.nan) for key in bound.heads])
            if bound.rule.mean:
                known = column[~np.isnan(column)]
                column = np.array([known.mean() if len(known) else np.nan])
            columns.append(np.round(column, DIGITS))
        return columns

    def _of_heads(self, bound: BoundTrend, probe: Probe | None) -> Mapping[HeadKey, float]:
        rule = bound.rule
        if needs_probe(rule):
            assert probe is not None  # the caller looks at `probes`
            return probe.real[rule.metric]
        if rule.metric == RIGIDITY:
            rigidity = self._rigidity.result()
            if len(rigidity.texts) < 2:
                raise rule.part.error(("trend",), "rigidity compares texts with each other: give several texts")
            return dict(zip(rigidity.heads, rigidity.mean().tolist(), strict=True))
        scores = self._measure.means_over(bound.data)[rule.metric]
        return dict(zip(head_keys(scores), scores.values.tolist(), strict=True))


def prepared_pass(execution: Execution) -> Pass:
    """Return the pass over the texts; without any, as rules about random tokens alone need none, over nothing."""
    if execution.texts:
        return execution.prepared
    runner = execution.runner
    return Pass.prepare(runner.loaded, runner.plan(execution.request.capture), (), execution.request)


def earlier_checkpoints(
    execution: Execution, checkpoints: Sequence[Checkpoint], file: RuleFile
) -> tuple[list[AtCheckpoint], Execution]:
    """Return what the rules measure at all checkpoints but the last, and the execution on the last one.

    One model at a time is in memory.
    """
    measured: list[AtCheckpoint] = []
    if not checkpoints:
        return measured, execution
    for _, own in each_checkpoint(execution, checkpoints[:-1], "measuring"):
        measured.append(_measured(own, file))
    return measured, on_checkpoint(execution, checkpoints[-1])


def _measured(execution: Execution, file: RuleFile) -> AtCheckpoint:
    prepared = prepared_pass(execution)
    trends = TrendMeasures(file, prepared, execution.texts)
    if trends.sinks:
        prepared.gather(more=trends.sinks, texts=execution.texts)
    return trends.bound, trends.values(run_probe(execution) if trends.probes else None)


def checkpoints_of_rules(file: RuleFile, model: str | None) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of a pattern of models; none if no rule is about checkpoints.

    Raise UsageError if there are such rules and fewer than two checkpoints, or a pattern and no such rule.
    """
    rules = [rule for rule in file.rules if isinstance(rule, TrendRule)]
    if not is_pattern(model):
        if rules:
            raise rules[0].part.error(
                ("trend",),
                "the rule is about checkpoints: give a pattern of their folders, --model 'runs/checkpoint-*'",
            )
        return ()
    if not rules:
        raise UsageError(
            f"--model '{model}' is a pattern of checkpoints, and {file.part.name} has no rule about them: name one of "
            "them, or give a rule such as 'sink rises by more than 0.2 between checkpoints'"
        )
    found = find_checkpoints(str(model))
    if len(found) < 2:
        raise rules[0].part.error(
            ("trend",), f"'{model}' matches one checkpoint, {found[0].name}: expected two or more"
        )
    return found
