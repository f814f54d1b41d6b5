"""The whole job of `attncli check`: from a file of rules to verdicts, files, and pictures of what does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli import store
from attncli.data import Attention, Kind, RunInfo, Text, Zoom
from attncli.engine.invocation import Invocation, Published
from attncli.engine.passes import Pass
from attncli.engine.progress import Track
from attncli.engine.request import RESOLUTION
from attncli.engine.runner import Runner
from attncli.errors import OutputError, UsageError
from attncli.inputs.text_files import decoded_whole
from attncli.stream import KeepChosen, Sink
from attncli.studies.check.baseline import check_same, compare, recorded_metrics
from attncli.studies.check.bound import Binder, BoundAttention, BoundSuite, all_texts, places_of
from attncli.studies.check.documents import write_baseline, write_check
from attncli.studies.check.junit import write_junit
from attncli.studies.check.measures import BoundMeasure, Measures, Values, measure_verdict
from attncli.studies.check.result import Checked, Drift, Verdict
from attncli.studies.check.rules.baseline import Recorded, read_baseline
from attncli.studies.check.rules.kinds import AttentionRule, BaselineRule, BudgetRule, ClassRule, RuleFile
from attncli.studies.check.words import ChosenRows, attention_verdict, suite_verdict
from attncli.studies.heatmap.pictures import LINEAR_UP_TO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_TOLERANCE = (0.01, 0.05)


@dataclass(frozen=True)
class Asked:
    """What becomes of the verdicts.

    file      the file of rules, as it was named
    formats   of tables and of pictures
    record    whether today's numbers become the baseline
    baseline  another file of it than the rules name
    junit     where to write JUnit XML
    """

    file: str
    formats: Sequence[str]
    pictures: Sequence[str]
    record: bool = False
    baseline: Path | None = None
    junit: Path | None = None


@dataclass(frozen=True, eq=False)
class Bound:
    """The rules of a file, held against a model and its texts."""

    words: tuple[BoundAttention, ...]
    measures: tuple[BoundMeasure, ...]
    suites: tuple[BoundSuite, ...]


def texts_of(file: RuleFile) -> tuple[Text, ...]:
    """All texts that a file is about."""
    texts = all_texts(file)
    if not texts:
        raise UsageError("there is no text to read: give texts, or rules that have one")
    return texts


def check(job: Invocation, file: RuleFile, asked: Asked, track: Track) -> tuple[Checked, dict[str, Any], Published]:
    """Hold rules against a model; returns the verdicts, the contents of check.json, and what was written.

    What is wrong with the file is a `UsageError` before anything is written.
    """
    rule = _baseline_rule(file, asked)
    recorded = _recorded(rule, asked, job.files.force)
    if (junit := asked.junit) is not None:
        _check_replaceable(junit, "JUnit XML", job.files.force, lambda: _check_xml(junit))
    folder = job.folder  # refused before the long work
    model = job.load()
    prepared = model.prepare(job.texts, replace(job.request, keep_maps=False), track)
    info, found, numbers = _found(job, model, prepared, file, (rule, recorded), track)
    document = write_check(folder, info, asked.file, prepared.inputs, found, asked.formats)
    if asked.record and rule is not None and rule.path is not None:
        write_baseline(rule.path, _informed(model, prepared, file), _reading(job), numbers)
    if junit is not None:
        write_junit(junit, asked.file, found)
    notes = list(info.notes)
    for name, figure in _pictures(job, model, found, info.title, notes):
        _save(job, name, figure, asked.pictures)
    return found, document, Published(folder.finish(replace(info, notes=tuple(notes)), alone=True), tuple(notes))


def _save(job: Invocation, name: str, figure: Figure, formats: Sequence[str]) -> None:
    from attncli.plotting.render import render

    for format in formats:
        job.folder.write_bytes(f"{name}.{format}", render(figure, format, description=name))


def _baseline_rule(file: RuleFile, asked: Asked) -> BaselineRule | None:
    """Which baseline there is to be; where one is to be recorded, its file must be named."""
    rule = file.baseline
    if rule is None and (asked.baseline is not None or asked.record):
        rule = BaselineRule(file.part, None, *DEFAULT_TOLERANCE, {})
    if rule is None:
        return None
    path = asked.baseline or rule.path
    if path is None:
        raise rule.part.error((), "no file of the baseline is named: give baseline: {file: …}, or --baseline PATH")
    if not file.texts:
        raise rule.part.error((), "there is no text to measure for a baseline: give texts, or rules that have one")
    return replace(rule, path=path)


def _recorded(rule: BaselineRule | None, asked: Asked, force: bool) -> Recorded | None:
    """What is to be compared with; None where nothing is, or where it is to be recorded now."""
    if rule is None or rule.path is None:
        return None
    if not asked.record:
        if not rule.path.exists():
            raise rule.part.error(("file",), f"there is no baseline {rule.path}: record one with --record")
        return read_baseline(rule.path)
    _check_replaceable(rule.path, "baseline", force, lambda: read_baseline(rule.path or Path()))
    return None


def _bind(job: Invocation, file: RuleFile, prepared: Pass) -> Bound:
    binder = Binder(prepared.heads, job.texts, prepared.inputs, prepared.loaded.name)
    own = tuple(range(len(file.texts)))
    measures = []
    for rule in file.rules:
        if isinstance(rule, BudgetRule | ClassRule):
            texts = own if rule.text is None else (binder.text(rule.text).index,)
            if not texts:
                raise rule.part.error((), "there is no text to measure: give texts, or the rule a text")
            measures.append(BoundMeasure(rule, binder.heads(rule), texts))
    words = tuple(binder.attention(rule) for rule in file.rules if isinstance(rule, AttentionRule))
    return Bound(words, tuple(measures), tuple(map(binder.suite, file.suites)))


def _found(
    job: Invocation,
    model: Runner,
    prepared: Pass,
    file: RuleFile,
    compared: tuple[BaselineRule | None, Recorded | None],
    track: Track,
) -> tuple[RunInfo, Checked, Values]:
    """The run, the verdicts in the order of the file, and the numbers that a baseline would hold."""
    bound, (rule, recorded) = _bind(job, file, prepared), compared
    own = tuple(range(len(file.texts)))
    if recorded is not None:
        check_same(recorded, _informed(model, prepared, file), _reading(job))
    metrics = () if rule is None else recorded_metrics() if recorded is None else tuple(recorded.numbers)
    measures = Measures(bound.measures, metrics, prepared.inputs, prepared.heads)
    cases = [words for suite in bound.suites for words in suite.cases]
    places = places_of([*(each.words for each in bound.words), *cases])
    chosen = KeepChosen("query", places, prepared.heads)
    sinks: list[Sink] = [chosen] if places else []
    sinks += [measures] if measures.wanted else []
    run = job.informed(model.finish(prepared, job.texts, track, more=sinks))
    asked = [each.rule.above for each in bound.words] + [each.rule.above for each in bound.suites]
    rows = ChosenRows.of(chosen.result(prepared.inputs), places)
    verdicts: list[Verdict] = [attention_verdict(each, rows) for each in bound.words]
    verdicts += [measure_verdict(each, measures) for each in bound.measures]
    verdicts.sort(key=lambda verdict: verdict.line)
    suites = [suite_verdict(each, rows) for each in bound.suites]
    verdicts += [verdict for verdict, _ in suites]
    numbers = measures.values(own) if rule is not None else {}
    drifts: tuple[Drift, ...] = ()
    if recorded is not None and rule is not None:
        verdict, drifts = compare(rule, recorded, numbers)
        verdicts.append(verdict)
    found = Checked(tuple(verdicts), tuple(case for _, cases_of in suites for case in cases_of), drifts)
    return replace(run.info, seed=0 if any(asked) else None), found, numbers


def _informed(model: Runner, prepared: Pass, file: RuleFile) -> RunInfo:
    """The run as a baseline knows it: of the texts that are measured alone."""
    info = model.loaded.run_info(prepared.plan.route)
    return replace(info, input_sha256=store.input_sha256(file.texts))


def _reading(job: Invocation) -> dict[str, Any]:
    """How texts are read, on which numbers depend."""
    return {name: getattr(job.request, name) for name in ("words", "special", "max_tokens")}


def _pictures(
    job: Invocation, model: Runner, found: Checked, title: str, notes: list[str]
) -> Iterator[tuple[str, Figure]]:
    """For each rule that does not hold the heatmap of the head concerned, by one more pass over the text.

    notes  get what could not be drawn: the verdicts stand without
    """
    from attncli.plotting import heatmap

    shown = [(at, each) for at, each in enumerate(found.verdicts, start=1) if not each.holds and each.text is not None]
    for text in dict.fromkeys(each.text for _, each in shown):
        verdicts = [(at, each) for at, each in shown if each.text == text]
        try:
            maps = _maps(job, model, text or 0, [each for _, each in verdicts])
        except UsageError as error:
            notes.append(f"there are no pictures of text {text}: {error}")
            continue
        for at, verdict in verdicts:
            attention = maps[verdict.kind].sel(layer=verdict.layer, head=verdict.head)  # type: ignore[index]
            log = max(len(attention.queries), len(attention.keys)) > LINEAR_UP_TO
            name = f"rule-{at:02}-{verdict.kind}-L{verdict.layer:02}-H{verdict.head:02}"
            why = verdict.why.partition(",")[0] if verdict.sort == "baseline" else verdict.why
            yield name, heatmap.draw(attention, model=title, note=f"{verdict.name}: {why}", log=log)


def _maps(job: Invocation, model: Runner, text: int, verdicts: Sequence[Verdict]) -> dict[Kind, Attention]:
    heads: dict[tuple[Kind, int], tuple[int, ...]] = {}
    for verdict in verdicts:
        place: Any = (verdict.kind, verdict.layer)
        heads[place] = tuple(sorted({*heads.get(place, ()), verdict.head or 0}))
    request = replace(job.request, keep_maps=True, zoom=Zoom(RESOLUTION))
    prepared = replace(model.prepare([job.texts[text]], request), heads=heads)
    prepared.check_memory(at_once=True)
    return {attention.kind: attention for attention in prepared.gather().maps}


def _check_replaceable(path: Path, what: str, force: bool, read: Callable[[], object]) -> None:
    """An `OutputError` where a file stands that is no such one, unless it may be replaced."""
    if path.is_dir():
        raise OutputError(f"cannot write {path}: a folder of that name is in the way; name another file")
    if path.exists() and not force:
        try:
            read()
        except UsageError as error:
            raise OutputError(
                f"{path} is there and no {what}: name another file, or replace it with --force"
            ) from error


def _check_xml(path: Path) -> None:
    if not decoded_whole(path).startswith("<?xml"):
        raise UsageError(f"{path} is no XML")
