"""Attribution in the texts of a shard as tables, and the summary of those of all shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data import Array, Input, RunInfo
from attncli.data.part_states import PartState, table_of_state, table_state
from attncli.engine.collected import Collected
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explained import prepare_each_explained
from attncli.engine.progress import untracked
from attncli.engine.rounding import rounding_notes
from attncli.studies.attribute.compute import attribute
from attncli.studies.attribute.corpus_result import CorpusAttribution, error_shares, stacked
from attncli.studies.attribute.gradients import ALLOWED_DELTA, load_captum
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.attribute.result import Attribution

if TYPE_CHECKING:
    from attncli.engine.execution import Execution

_ABOUT = ("score", "unit", "kinds")
"""What is the same for all texts of a corpus."""


def attribute_each(execution: Execution, options: AttributeOptions) -> tuple[Collected, PartState]:
    """Return the run of the texts of a shard, and the tables of their attribution as a state."""
    if "integrated-gradients" in options.methods:
        load_captum()
    request = replace(execution.request, words=False, special="keep", keep_maps=False)
    wanted = ExplainRequest.parse(options.explain)
    arguments = execution.runner, execution.texts, request, wanted
    passes = prepare_each_explained(*arguments, execution.track, execution.first)
    results: list[tuple[int, Attribution]] = []
    inputs: list[Input] = []
    with execution.track("reading", len(passes), "texts") as advance:
        for position, (number, prepared) in enumerate(zip(execution.text_numbers, passes, strict=True)):
            alone = replace(execution, texts=[execution.texts[position]], track=untracked)
            with execution.errors_named(position):
                results.append((number, attribute(alone, options, None, prepared)[1]))
                inputs += prepared.inputs
            advance(1)
    notes = dict.fromkeys(note for prepared in passes for note in prepared.notes)
    info: RunInfo = replace(passes[0].info_of(execution.texts), notes=(*notes, *rounding_notes(passes[0].loaded)))
    return Collected(info, tuple(inputs)), _state(results) if results else {}


def _state(results: Sequence[tuple[int, Attribution]]) -> PartState:
    first = results[0][1]
    return {
        **{name: getattr(first, name) for name in _ABOUT},
        "methods": [[method.name, method.baseline] for method in first.methods],
        "tokens": table_state(stacked([_with_text(number, result.table()) for number, result in results])),
        "texts": table_state(stacked([_with_text(number, predictions_table(result)) for number, result in results])),
    }


def predictions_table(result: Attribution) -> dict[str, Array]:
    """Return a row per prediction and method: its score, and how the integration of gradients went, if there is any."""
    rows: list[dict[str, Any]] = []
    integrates = any(method.steps for method in result.methods)
    for number, output in enumerate(result.outputs):
        for method in result.methods:
            row = {"output": number, "prediction": output.name, "score": output.score}
            row |= {"probability": output.probability, "units": len(result.units), "method": method.name}
            if integrates:
                row |= {
                    "steps": method.steps[number] if method.steps else None,
                    "score_change": method.change[number] if method.change else np.nan,
                    "delta": method.delta[number] if method.delta else np.nan,
                }
            rows.append(row)
    objects = ("prediction", "method", "steps")
    return {name: np.array([row[name] for row in rows], object if name in objects else None) for name in rows[0]}


def _with_text(number: int, table: Mapping[str, Array]) -> dict[str, Array]:
    """Return a table with the number of its text as its first column."""
    return {"text": np.full(len(next(iter(table.values()))), number), **table}


@dataclass
class _MethodSums:
    """What is summed up over the texts for one method."""

    baseline: str | None
    texts: int = 0
    predictions: int = 0
    values: int = 0
    all_zero: int = 0
    steps: int = 0
    errors: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    """Their number, their sum, the largest, and how many are over the limit."""

    def add(self, texts: Mapping[str, Array], tokens: Mapping[str, Array]) -> None:
        """Add the rows of one shard that are those of the method."""
        self.texts += len(np.unique(texts["text"]))
        self.predictions += len(texts["text"])
        known = np.isfinite(tokens["value"])
        self.values += int(known.sum())
        pairs = np.stack([tokens["text"], tokens["output"]])
        nonzero = np.unique(pairs[:, known & (tokens["value"] != 0)], axis=1).shape[1]
        self.all_zero += len(texts["text"]) - nonzero
        if "steps" in texts:
            self.steps = max([self.steps, *(steps for steps in texts["steps"].tolist() if steps)])
            errors = error_shares(texts)
            errors = errors[np.isfinite(errors)]
            count, total, largest, over = self.errors
            self.errors = [
                count + len(errors),
                total + float(errors.sum()),
                max([largest, *errors.tolist()]),
                over + int((errors > ALLOWED_DELTA).sum()),
            ]


def merged_attribution(states: Iterable[PartState], spec: str) -> CorpusAttribution:
    """Return the attribution in all texts; only its summary is kept in memory.

    states  of the shards in order; they can be read repeatedly
    spec    what is explained
    """
    about: dict[str, Any] = {}
    sums: dict[str, _MethodSums] = {}
    for state in states:
        about = about or {name: state[name] for name in _ABOUT}
        texts, tokens = table_of_state(state["texts"]), table_of_state(state["tokens"])
        for name, baseline in state["methods"]:
            rows = [{column: of[column][of["method"] == name] for column in of} for of in (texts, tokens)]
            sums.setdefault(name, _MethodSums(baseline)).add(*rows)
    return CorpusAttribution(spec, about["score"], about["unit"], tuple(about["kinds"]), _summary(sums), states)


def _summary(sums: Mapping[str, _MethodSums]) -> dict[str, Array]:
    """Return a row per method; the errors only if a method integrates."""
    columns: dict[str, Any] = {
        "method": np.array(list(sums), object),
        "baseline": np.array([of.baseline for of in sums.values()], object),
    }
    for name in ("texts", "predictions", "values", "all_zero"):
        columns[name] = np.array([getattr(of, name) for of in sums.values()])
    if any(of.steps for of in sums.values()):
        has_errors = np.array([bool(of.steps) for of in sums.values()])
        count, total, largest, over = np.array([of.errors for of in sums.values()]).T
        columns["most_steps"] = np.array([of.steps or None for of in sums.values()], object)
        columns["error"] = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        columns["error_max"] = np.where(has_errors, largest, np.nan)
        columns["over_limit"] = np.where(has_errors, over.astype(int).astype(object), None)
    return columns
