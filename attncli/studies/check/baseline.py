"""Today's numbers of every head beside recorded ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attncli import registry
from attncli.data import KINDS, RunInfo
from attncli.errors import UsageError
from attncli.studies.check.limits import DIGITS
from attncli.studies.check.measures import Values
from attncli.studies.check.result import Drift, Verdict
from attncli.studies.check.rules.baseline import Recorded
from attncli.studies.check.rules.kinds import BaselineRule
from attncli.vocabulary import POSITION_METRICS

_SHOWN = 4


def recorded_metrics() -> tuple[str, ...]:
    """What a baseline holds: every measure of a whole head."""
    return tuple(name for name in registry.names("metrics") if not registry.module("metrics", name).METRIC.per_key)


def check_same(recorded: Recorded, info: RunInfo, reading: Mapping[str, Any]) -> None:
    """A `UsageError` unless both are of the same model and texts, read in the same way.

    Hub names must be equal. Where one of the models is a folder, their classes must: it may hold what came of more
    training.
    """
    there, anew = recorded.run, "record a baseline of its own with --record"
    same = (there.get("class"), there.get("architecture")) == (info.cls, info.architecture)
    trained = _is_folder(info.model) or _is_folder(str(there.get("model")))
    if not same or not (trained or (there.get("model"), there.get("revision")) == (info.model, info.revision)):
        of, now = _called(there.get("model"), there.get("revision")), _called(info.model, info.revision)
        raise UsageError(f"{recorded.path} is of another model, {of}, and this is {now}: {anew}")
    if there.get("input_sha256") != info.input_sha256:
        raise UsageError(f"{recorded.path} is of other texts than those of this file: {anew}")
    for name, value in reading.items():
        if recorded.reading.get(name) != value:
            got = recorded.reading.get(name)
            raise UsageError(f"{recorded.path} was recorded with {name} {got}, and this is {value}: {anew}")


def _is_folder(model: str) -> bool:
    return model.startswith((".", "/", "~")) or Path(model).is_dir()


def _called(model: object, revision: object) -> str:
    return f"{model}" if revision is None else f"{model} at {revision}"


def compare(rule: BaselineRule, recorded: Recorded, now: Values, tolerance: float) -> tuple[Verdict, tuple[Drift, ...]]:
    """Is every measure of every head where it was, within its tolerance: absolute, or a share of what it was?"""
    names = [name for name in recorded.numbers if name not in POSITION_METRICS or name in rule.metrics]
    for name in rule.metrics:
        if name not in recorded.numbers:
            raise rule.part.error(("metrics", name), f"{recorded.path} has no {name}: record it again with --record")
    drifts = sorted(
        (drift for name in names for drift in _drifts(rule, name, (recorded, now), tolerance)),
        key=lambda drift: (KINDS.index(drift.kind), drift.layer, drift.head, drift.metric),
    )
    heads = {(drift.kind, drift.layer, drift.head) for drift in drifts}
    total = len(next(iter(recorded.numbers.values()), {}))
    wanted = f"every measure within {rule.absolute:g} or {rule.relative:.0%} of {recorded.path.name}"
    more: dict[str, Any] = {"heads": total, "met": total - len(heads)}
    if not drifts:
        why = f"{len(names)} measures of {total} heads are where they were"
        return Verdict("baseline", "baseline", True, rule.part.position.line, wanted, why, **more), ()
    worst = max(drifts, key=_excess)
    why = f"{len(heads)} of {total} heads drifted: {_listed(drifts, worst)}"
    more |= {"kind": worst.kind, "layer": worst.layer, "head": worst.head, "text": 0}
    more |= {"found": worst.now, "than": worst.baseline}
    return Verdict("baseline", "baseline", False, rule.part.position.line, wanted, why, **more), tuple(drifts)


def _drifts(rule: BaselineRule, name: str, compared: tuple[Recorded, Values], tolerance: float) -> Iterator[Drift]:
    recorded, now = compared
    absolute, relative = rule.metrics.get(name, (rule.absolute, rule.relative))
    today = now[name]
    if recorded.numbers[name].keys() != today.keys():
        raise UsageError(f"{recorded.path} is of another model, one with other heads: record one of its own")
    for place, before in recorded.numbers[name].items():
        value = today[place]  # type: ignore[index]
        allowed = round(max(absolute, relative * abs(before or 0.0)), DIGITS)
        undefined = before is None, math.isnan(value)
        if undefined == (True, True):
            continue
        if any(undefined) or not _within(value, before or 0.0, allowed, tolerance):
            yield Drift(*place, name, before, None if undefined[1] else value, allowed)  # type: ignore[arg-type]


def _within(value: float, before: float, allowed: float, tolerance: float) -> bool:
    slack = tolerance * max(1.0, abs(before))
    return round(abs(value - before) - allowed - slack, 9) <= 0


def _excess(drift: Drift) -> float:
    """How many tolerances a measure drifted."""
    if drift.now is None or drift.baseline is None:
        return math.inf
    return abs(drift.now - drift.baseline) / max(drift.tolerance, 1e-6)


def _listed(drifts: list[Drift], worst: Drift) -> str:
    shown = [worst, *(drift for drift in sorted(drifts, key=_excess, reverse=True) if drift is not worst)][:_SHOWN]
    told = [f"{each.layer}.{each.head} {each.metric} {_number(each.baseline)} → {_number(each.now)}" for each in shown]
    return ", ".join(told) + (", …" if len(drifts) > _SHOWN else "")


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
