"""One forward pass for all rules of a file, and the verdicts on them."""

from collections.abc import Sequence

from attncli.data import Text
from attncli.engine.passes import Pass
from attncli.errors import UsageError
from attncli.stream import KeepChosen, Sink
from attncli.studies.check.baseline import Recorded, compare, recorded_metrics
from attncli.studies.check.bound import Binder, MeasureRule, needed_rows
from attncli.studies.check.measures import Measures, Values, measure_verdict
from attncli.studies.check.probe import Probe, probe_verdict
from attncli.studies.check.result import Checked, Drift, TrendPoint, Verdict
from attncli.studies.check.retrieval import RetrievalMeasures, retrieval_verdict, with_written_tokens
from attncli.studies.check.rules.kinds import AttentionRule, BaselineRule, RuleFile, needs_probe, needs_written
from attncli.studies.check.suites import judge_suite
from attncli.studies.check.trend_series import TrendSeries
from attncli.studies.check.words import ChosenRows, attention_verdict
from attncli.studies.repeated.result import SCORES


def texts_of(file: RuleFile) -> tuple[Text, ...]:
    """Return all texts of a file and its suites, measured texts first; raise UsageError if one is missing."""
    texts = tuple(dict.fromkeys([*file.texts, *(case.text for suite in file.suites for case in suite.cases)]))
    if not texts and not (file.rules and all(map(needs_probe, file.rules)) and file.baseline is None):
        raise UsageError("there is no text to read: give texts, or rules with a text")
    return texts


class Checker:
    """The rules of a file, bound to the heads and tokens of a prepared pass.

    sinks     consumers of the forward pass
    probes    whether a rule or the baseline is about repeated random tokens
    draws     whether a rule needs random samples
    Raise UsageError with line and column if a rule names a head, a word or a text that does not exist.
    """

    def __init__(
        self,
        file: RuleFile,
        prepared: Pass,
        texts: Sequence[Text],
        rule: BaselineRule | None,
        recorded: Recorded | None,
    ) -> None:
        self._file, self._prepared, self._rule, self._recorded = file, prepared, rule, recorded
        binder = Binder(prepared.heads, texts, prepared.inputs, prepared.loaded.name)
        self._measured_texts = tuple(range(len(file.texts)))
        self._words = [binder.attention(rule) for rule in file.rules if isinstance(rule, AttentionRule)]
        self._suites = [binder.suite(suite) for suite in file.suites]
        measured = [binder.measure(rule, self._measured_texts) for rule in file.rules if isinstance(rule, MeasureRule)]
        self._bound_probes = [bound for bound in measured if needs_probe(bound.rule)]
        self._bound_retrieval = [
            with_written_tokens(bound, prepared.inputs, words=prepared.request.words)
            for bound in measured
            if needs_written(bound.rule)
        ]
        self._retrieval = RetrievalMeasures(self._bound_retrieval, prepared.inputs)
        self._bound_measures = [
            bound for bound in measured if not (needs_probe(bound.rule) or needs_written(bound.rule))
        ]
        metrics = () if rule is None else recorded_metrics() if recorded is None else tuple(recorded.numbers)
        self.probes = bool(self._bound_probes or set(metrics) & set(SCORES))
        metrics = self._metrics = tuple(name for name in metrics if name not in SCORES)
        self._measures = Measures(self._bound_measures, metrics, prepared.inputs, prepared.heads)
        cases = [words for suite in self._suites for words in suite.data]
        self._rows = needed_rows([*(bound.data for bound in self._words), *cases])
        self._chosen = KeepChosen("query", self._rows, prepared.heads)
        self.draws = bool(file.suites) or any(bound.rule.above for bound in self._words)

    @property
    def sinks(self) -> list[Sink]:
        """The consumers of the forward pass."""
        sinks: list[Sink] = [self._chosen] if self._rows else []
        sinks += [self._retrieval] if self._bound_retrieval else []
        return [*sinks, self._measures] if self._measures.needed else sinks

    def result(self, probe: Probe | None = None, trends: TrendSeries | None = None) -> tuple[Checked, Values]:
        """Return the verdicts in the order of the file, and the numbers that a baseline holds.

        probe   scores on repeated random tokens, which the baseline holds too; needed if `probes` says so
        trends  the measures of rules about checkpoints, if there are any
        """
        tolerance = self._file.tolerance
        maps = {(attention.text, attention.kind): attention for attention in self._chosen.result(self._prepared.inputs)}
        rows = ChosenRows(maps, self._rows)
        verdicts: list[Verdict] = [attention_verdict(bound, rows, tolerance) for bound in self._words]
        verdicts += [measure_verdict(bound, self._measures, tolerance) for bound in self._bound_measures]
        verdicts += [retrieval_verdict(bound, self._retrieval, tolerance) for bound in self._bound_retrieval]
        if probe is not None:
            verdicts += [probe_verdict(bound, probe, tolerance) for bound in self._bound_probes]
        points: list[TrendPoint] = []
        if trends is not None:
            of_trends, points = trends.verdicts(tolerance)
            verdicts += of_trends
        verdicts.sort(key=lambda verdict: verdict.line)
        suites = [judge_suite(suite, rows, tolerance) for suite in self._suites]
        verdicts += [suite.verdict for suite in suites]
        numbers: Values = {}
        if self._rule is not None:
            values = self._measures.values(self._measured_texts)
            numbers = {name: values[name] for name in self._metrics} | ({} if probe is None else dict(probe.real))
        drifts: tuple[Drift, ...] = ()
        if self._recorded is not None and self._rule is not None:
            verdict, drifts = compare(self._rule, self._recorded, numbers, tolerance)
            verdicts.append(verdict)
        cases = tuple(case for suite in suites for case in suite.cases)
        heads = tuple(head for suite in suites for head in suite.heads)
        notes = tuple(note for suite in suites for note in suite.notes)
        return Checked(tuple(verdicts), cases, drifts, tolerance, heads, notes, tuple(points)), numbers
