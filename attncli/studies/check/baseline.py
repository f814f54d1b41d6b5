"""Baseline files that --record wrote, and the comparison of the numbers of every head with them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attncli import registry
from attncli.data import KINDS, RunInfo
from attncli.engine.measuring import categories
from attncli.errors import UsageError
from attncli.inputs.text_files import read_json, type_name
from attncli.paths import what_is_at
from attncli.studies.check.measures import Values
from attncli.studies.check.result import BASELINE_SCHEMA, Drift, Verdict
from attncli.studies.check.rules.kinds import BaselineRule
from attncli.studies.check.weights import DIGITS

_ADVICE = "record it again with --record"
_MAX_LISTED = 4


@dataclass(frozen=True, eq=False)
class Recorded:
    """A baseline file: where its numbers come from, how texts were read, and each value by measure and head."""

    path: Path
    run: Mapping[str, Any]
    reading: Mapping[str, Any]
    numbers: Mapping[str, Mapping[tuple[str, int, int], float | None]]


def read_baseline(path: Path) -> Recorded:
    """Return a baseline; raise UsageError if the file is not a baseline, or has another schema."""
    document: Any = read_json(path)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != BASELINE_SCHEMA:
        given_schema = f"'{schema}'" if isinstance(schema, str) else type_name(document)
        raise UsageError(
            f"{path} is not a baseline: expected the schema {BASELINE_SCHEMA}, got {given_schema}; {_ADVICE}"
        )
    try:
        numbers: dict[str, dict[tuple[str, int, int], float | None]] = {}
        for row in document["heads"]:
            key = str(row["kind"]), int(row["layer"]), int(row["head"])
            for name in row.keys() - {"kind", "layer", "head"}:
                numbers.setdefault(name, {})[key] = None if row[name] is None else float(row[name])
        return Recorded(path, dict(document["run"]), dict(document["reading"]), numbers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is a damaged baseline ({type(error).__name__}: {error}): {_ADVICE}") from error


def recorded_metrics() -> tuple[str, ...]:
    """Return the names of the metrics of a baseline: all that have one value per head."""
    return tuple(name for name in registry.names("metrics") if not registry.module("metrics", name).METRIC.per_key)


def check_same(recorded: Recorded, info: RunInfo, reading: Mapping[str, Any]) -> None:
    """Raise UsageError if a baseline is of another model, of other texts, or of texts that were read differently.

    Hub names and revisions must be equal. If one of the models is a folder, only the classes and architectures must be
    equal, because a folder may contain further training of the same model.
    """
    run, advice = recorded.run, "record a separate baseline with --record"
    same_class = (run.get("class"), run.get("architecture")) == (info.cls, info.architecture)
    any_folder = _is_folder(info.model) or _is_folder(str(run.get("model")))
    if not same_class or not (any_folder or (run.get("model"), run.get("revision")) == (info.model, info.revision)):
        recorded_model = _model_label(run.get("model"), run.get("revision"))
        model = _model_label(info.model, info.revision)
        raise UsageError(f"{recorded.path} is of another model, {recorded_model}, and this is {model}: {advice}")
    if run.get("input_sha256") != info.input_sha256:
        raise UsageError(f"{recorded.path} is of other texts than those of this file: {advice}")
    for name in dict.fromkeys([*reading, *recorded.reading]):
        value, recorded_value = reading.get(name), recorded.reading.get(name)
        if recorded_value != value:
            raise UsageError(
                f"{recorded.path} was recorded with {name} {recorded_value}, and this is {value}: {advice}"
            )


def _is_folder(model: str) -> bool:
    return model.startswith((".", "/", "~", "…")) or what_is_at(model) == "folder"


def _model_label(model: object, revision: object) -> str:
    return f"{model}" if revision is None else f"{model} at {revision}"


def compare(rule: BaselineRule, recorded: Recorded, now: Values, tolerance: float) -> tuple[Verdict, tuple[Drift, ...]]:
    """Return whether every measure of every head is within its tolerance of the baseline, and what drifted.

    The tolerance of a measure is the larger of its absolute one and its relative one times the recorded value.
    """
    left_out = set(categories()) - set(rule.metrics)
    names = [name for name in recorded.numbers if name not in left_out]
    for name in rule.metrics:
        if name not in recorded.numbers:
            raise rule.part.error(("metrics", name), f"{recorded.path} has no {name}: record it again with --record")
    drifts = sorted(
        (drift for name in names for drift in _drifts(rule, name, (recorded, now), tolerance)),
        key=lambda drift: (KINDS.index(drift.kind), drift.layer, drift.head, drift.metric),
    )
    drifted_heads = {(drift.kind, drift.layer, drift.head) for drift in drifts}
    total = len(next(iter(recorded.numbers.values()), {}))
    wanted = f"every measure within {rule.absolute:g} or {rule.relative:.0%} of {recorded.path.name}"
    fields: dict[str, Any] = {"heads": total, "met": total - len(drifted_heads)}
    if not drifts:
        why = f"{len(names)} measures of {total} heads are within their tolerance"
        return Verdict("baseline", "baseline", True, rule.part.position.line, wanted, why, **fields), ()
    worst, *_ = by_excess = sorted(drifts, key=_excess, reverse=True)
    changes = [
        f"{drift.layer}.{drift.head} {drift.metric} {_number(drift.baseline)} → {_number(drift.now)}"
        for drift in by_excess[:_MAX_LISTED]
    ]
    why = f"{len(drifted_heads)} of {total} heads drifted: {', '.join(changes)}"
    why += ", …" if len(drifts) > _MAX_LISTED else ""
    fields |= {"kind": worst.kind, "layer": worst.layer, "head": worst.head, "text": 0}
    fields |= {"found": worst.now, "than": worst.baseline}
    return Verdict("baseline", "baseline", False, rule.part.position.line, wanted, why, **fields), tuple(drifts)


def _drifts(rule: BaselineRule, name: str, values: tuple[Recorded, Values], tolerance: float) -> Iterator[Drift]:
    recorded, now = values
    absolute, relative = rule.metrics.get(name, (rule.absolute, rule.relative))
    head_values = now[name]
    if recorded.numbers[name].keys() != head_values.keys():
        raise UsageError(f"{recorded.path} is of a model with other heads: record a separate baseline with --record")
    for key, before in recorded.numbers[name].items():
        value = head_values[key]
        allowed = round(max(absolute, relative * abs(before or 0.0)), DIGITS)
        if before is None or math.isnan(value):
            differs = (before is None) != math.isnan(value)
        else:
            slack = tolerance * max(1.0, abs(before))
            differs = round(abs(value - before) - allowed - slack, 9) > 0
        if differs:
            yield Drift(*key, name, before, None if math.isnan(value) else value, allowed)


def _excess(drift: Drift) -> float:
    """Return the drift of a measure divided by its tolerance."""
    if drift.now is None or drift.baseline is None:
        return math.inf
    return abs(drift.now - drift.baseline) / max(drift.tolerance, 1e-6)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
