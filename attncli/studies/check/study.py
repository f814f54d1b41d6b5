"""The study `check`: rules that attention must keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.errors import OutputError, UsageError
from attncli.inputs.text_files import read_file_text
from attncli.options import typed
from attncli.paths import what_is_at
from attncli.studies.check.ci import junit
from attncli.studies.check.options import CheckOptions
from attncli.vocabulary import RESOLUTION

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from rich.console import RenderableType

    from attncli.data import Attention, RunInfo, Text
    from attncli.engine.checkpoints import Checkpoint
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.studies.check.baseline import Recorded
    from attncli.studies.check.measures import Values
    from attncli.studies.check.probe import Probe
    from attncli.studies.check.result import Checked
    from attncli.studies.check.rules.kinds import BaselineRule, RuleFile


@dataclass(frozen=True, eq=False)
class CheckRun:
    """The result of a check with everything that its files need.

    numbers    the numbers of every head that a baseline holds
    base_info  where these numbers come from
    maps       map of the decisive head of each rule that does not hold, by row number
    notes      what the numbers do not show, and why some of these maps are missing
    """

    checked: Checked
    numbers: Values
    base_info: RunInfo
    reading: Mapping[str, Any]
    maps: Mapping[int, Attention]
    notes: Sequence[str]


@dataclass(frozen=True)
class CheckStudy(Study["CheckRun"]):
    """Rules of a file, checked on a model and the texts of the file.

    file_name, contents  the file as it was named, and its plain values
    force                whether files of other kinds may be overwritten by a baseline or JUnit XML
    checkpoints          the checkpoints of rules about trends, by step; other rules are about the last one
    """

    options: CheckOptions
    rules: RuleFile
    file_name: str
    contents: Mapping[str, Any]
    force: bool
    checkpoints: tuple[Checkpoint, ...] = ()
    name = "check"
    group = CheckOptions

    def typed(self) -> dict[str, Any]:
        """Return the options that were typed, and the name of the file."""
        return {**typed(self.options), "file": self.file_name}

    def resolved(self) -> dict[str, Any]:
        """Return the contents of the rules and of their suites, and what changes the result."""
        suites = [
            {"file": suite.name, "cases": [case.part.values for case in suite.cases]} for suite in self.rules.suites
        ]
        options = {"record": self.options.record, "baseline": self.options.baseline}
        series = {"checkpoints": [checkpoint.name for checkpoint in self.checkpoints]} if self.checkpoints else {}
        return {"rules": self.contents, "suites": suites, **options, **series}

    def check(self, request: Request) -> None:
        """Raise UsageError or OutputError if a baseline or JUnit file is missing or must not be overwritten."""
        self._recorded(self._baseline_rule())
        if self.options.junit is not None:
            path = Path(self.options.junit)
            _check_replaceable(path, "JUnit XML", self.force, lambda: _check_xml(path))

    def _baseline_rule(self) -> BaselineRule | None:
        """Return the rule of the baseline with its path; raise UsageError if none is named."""
        # imported here: the help of the command line needs no pydantic
        from attncli.studies.check.rules.kinds import BaselineRule
        from attncli.studies.check.rules.sections import BaselineSection

        rule = self.rules.baseline
        if rule is None and (self.options.baseline is not None or self.options.record):
            defaults = BaselineSection()
            rule = BaselineRule(self.rules.part, None, defaults.absolute, defaults.relative, {})
        if rule is None:
            return None
        path = rule.path if self.options.baseline is None else Path(self.options.baseline)
        if path is None:
            raise rule.part.error((), "no file of the baseline is named: give baseline: {file: …}, or --baseline PATH")
        if not self.rules.texts:
            raise rule.part.error((), "there is no text to measure for a baseline: give texts, or rules with a text")
        return replace(rule, path=path)

    def _recorded(self, rule: BaselineRule | None) -> Recorded | None:
        """Return the recorded numbers; None if there are none, or if they are recorded now."""
        from attncli.studies.check.baseline import read_baseline

        if rule is None or rule.path is None:
            return None
        path = rule.path
        if self.options.record:
            _check_replaceable(path, "a baseline", self.force, lambda: read_baseline(path))
            return None
        if what_is_at(path) == "nothing":
            raise rule.part.error(("file",), f"there is no baseline {path}: record one with --record")
        return read_baseline(path)

    def run(self, execution: Execution) -> tuple[Collected, CheckRun]:
        """Return the run, the verdicts, and the maps of the rules that do not hold."""
        from attncli.store import input_sha256
        from attncli.studies.check.baseline import check_same
        from attncli.studies.check.compute import Checker
        from attncli.studies.check.statistics import SEED
        from attncli.studies.check.trend_series import TrendSeries
        from attncli.studies.check.trends import TrendMeasures, earlier_checkpoints, prepared_pass

        measured, execution = earlier_checkpoints(execution, self.checkpoints, self.rules)
        runner = execution.runner
        prepared = prepared_pass(execution)
        info = replace(runner.loaded.run_info(prepared.plan.route), input_sha256=input_sha256(self.rules.texts))
        reading = {name: getattr(execution.request, name) for name in ("words", "special", "max_tokens")}
        reading |= {name: value for name in ("add_bos", "generate") if (value := getattr(execution.request, name))}
        rule = self._baseline_rule()
        recorded = self._recorded(rule)
        checker = Checker(self.rules, prepared, execution.texts, rule, recorded)
        if recorded is not None:
            check_same(recorded, info, reading)
        trends = TrendMeasures(self.rules, prepared, execution.texts)
        run = execution.run_pass(prepared, [*checker.sinks, *trends.sinks])
        probe, without_probe = self._probe(execution, checker.probes or trends.probes)
        series = None
        if trends.bound:
            series = TrendSeries.of(self.checkpoints, [*measured, (trends.bound, trends.values(probe))])
        checked, numbers = checker.result(probe, series)
        seed = SEED if checker.draws or probe is not None else None
        maps, notes = _failed_maps(execution, checked)
        notes = [*without_probe, *checked.notes, *notes]
        return replace(run, info=replace(run.info, seed=seed)), CheckRun(checked, numbers, info, reading, maps, notes)

    def _probe(self, execution: Execution, needed: bool) -> tuple[Probe | None, list[str]]:
        """Return the scores on repeated random tokens if they are needed or recorded, and a note if there are none."""
        from attncli.studies.check.probe import run_probe

        if not needed and not self.options.record:
            return None, []
        try:
            return run_probe(execution), []
        except UsageError as error:
            if needed:
                raise
            return None, [f"the baseline holds no scores on repeated random tokens: {error}"]

    def report(self, result: CheckRun, run: Collected) -> Report:
        """Return the document, the tables, pictures of the rules that do not hold, the baseline and JUnit XML."""
        from attncli.studies.check.report import baseline_document, document, drawings, tables

        rule, files = self._baseline_rule(), {}
        if self.options.record and rule is not None and rule.path is not None:
            files[rule.path] = baseline_document(result.base_info, result.reading, result.numbers)
        if self.options.junit is not None:
            files[Path(self.options.junit)] = junit(self.file_name, result.checked).encode()
        return Report(
            run.info,
            document(result.checked, self.file_name, run),
            tables(result.checked),
            drawings(result.checked, result.maps, run),
            late_notes=list(result.notes),
            more_files=files,
            replaces=True,
        )

    def terminal(self, result: CheckRun, run: Collected) -> Iterator[RenderableType]:
        """Return a table of the verdicts, and why rules do not hold."""
        from attncli.studies.check.terminal import verdict_tables

        return verdict_tables(result.checked, self.shown_texts(result, run))

    def details(self, result: CheckRun, run: Collected) -> Iterator[RenderableType]:
        """Return a table of the best heads of each suite."""
        from attncli.studies.check.terminal import suite_tables

        return suite_tables(result.checked)

    def shown_texts(self, result: CheckRun, run: Collected) -> Mapping[int, Text]:
        """Return the texts of rules about a single text, and of rules that do not hold."""
        from attncli.studies.check.terminal import verdict_texts

        numbers = verdict_texts(result.checked)
        return {text.index: text.text for text in run.inputs if text.index in numbers}


def _failed_maps(execution: Execution, checked: Checked) -> tuple[dict[int, Attention], list[str]]:
    """Return the map of the decisive head of each rule that does not hold, by one more pass over each of their texts.

    Also return why some are missing: the verdicts do not need them.
    """
    from attncli.data import Zoom

    numbered = enumerate(checked.verdicts, 1)
    failed = [(row, verdict) for row, verdict in numbered if not verdict.holds and verdict.text is not None]
    maps: dict[int, Attention] = {}
    notes: list[str] = []
    for text in dict.fromkeys(verdict.text for _, verdict in failed):
        of_text = [(row, verdict) for row, verdict in failed if verdict.text == text]
        heads: dict[Any, tuple[int, ...]] = {}
        for _, verdict in of_text:
            layer = verdict.kind, verdict.layer
            heads[layer] = tuple(sorted({*heads.get(layer, ()), verdict.head or 0}))
        try:
            text_maps = execution.maps_of(text or 0, heads, Zoom(RESOLUTION))
        except UsageError as error:
            notes.append(f"there are no pictures of text {text}: {error}")
            continue
        by_kind = {attention.kind: attention for attention in text_maps}
        for row, verdict in of_text:
            maps[row] = by_kind[verdict.kind].sel(layer=verdict.layer, head=verdict.head)  # type: ignore[index]
    return maps, notes


def _check_replaceable(path: Path, what: str, force: bool, read: Callable[[], object]) -> None:
    """Raise OutputError if there is a file of another kind, unless it may be overwritten."""
    # imported here: the help of the command line needs no NumPy
    from attncli.store.files import output_errors

    with output_errors(path):
        is_folder, exists = path.is_dir(), path.exists()
    if is_folder:
        raise OutputError(f"cannot write {path}: a folder of that name is in the way; name another file")
    if exists and not force:
        try:
            read()
        except UsageError as error:
            raise OutputError(
                f"{path} exists and is not {what}: name another file, or overwrite it with --force"
            ) from error


def _check_xml(path: Path) -> None:
    if not read_file_text(path).startswith("<?xml"):
        raise UsageError(f"{path} is not XML")
