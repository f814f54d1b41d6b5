"""The study `compare`: what differs between two models, two texts or two saved runs, head by head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, cast

from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.options import typed
from attncli.studies.compare.options import CompareOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.table import Table

    from attncli.data import Input, RunInfo, Text
    from attncli.engine.checkpoints import Checkpoint
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import RunOptions
    from attncli.studies.compare.compute import Comparer
    from attncli.studies.compare.result import Comparison

    ComparisonWithOther = tuple[Comparison, RunInfo]
    Compared = tuple[RunInfo, RunInfo, tuple[Input, ...]]
    """Where A and B come from, and the texts that A reads."""


@dataclass(frozen=True)
class CompareStudy(Study["ComparisonWithOther"]):
    """A comparison of A, which the execution reads, with B.

    other    arguments of `attncli.models.load` for B, or the saved run B
    texts    texts that B reads; empty for a saved run
    names    A and B as they were typed
    """

    options: CompareOptions = field(default_factory=CompareOptions)
    other: Mapping[str, Any] | Collected = field(default_factory=dict)
    texts: Sequence[Text] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    name = "compare"
    group = CompareOptions

    def typed(self) -> dict[str, Any]:
        """Return the options that were typed, and the names of A and B."""
        return {**typed(self.options), **self.names}

    def of_checkpoint(self, checkpoint: Checkpoint) -> Self:
        """Return the study with a checkpoint as A, and as B too if none was named."""
        study = replace(self, names={**self.names, "a": checkpoint.path})
        if "b" in self.names or not isinstance(self.other, Mapping):
            return study
        return replace(study, other={**self.other, "name": checkpoint.path})

    def run_options(self) -> RunOptions:
        from attncli.studies.compare.compute import compared_metrics

        names = [name.strip() for value in self.options.metric or () for name in value.split(",")]
        return cast("RunOptions", {"metrics": compared_metrics(names or None), "by": self.options.by})

    def resolved(self) -> dict[str, Any]:
        """Return where B comes from."""
        from attncli.engine.invocation import plain_arguments
        from attncli.store import input_sha256

        if isinstance(self.other, Mapping):
            return {"b": {**plain_arguments(self.other), "inputs": input_sha256(self.texts)}}
        info = self.other.info
        return {"b": {"model": info.model, "inputs": info.input_sha256, "resolved": dict(info.resolved)}}

    def run(self, execution: Execution) -> tuple[Collected, ComparisonWithOther]:
        """Return the run of A, the comparison, and where B comes from."""
        from attncli.engine.collected import Collected
        from attncli.studies.compare.compute import Comparer

        comparer = Comparer(execution.request.metrics)
        if isinstance(self.other, Mapping):
            info, other, inputs = self._compare_models(execution, self.other, comparer)
        else:
            info, other, inputs = self._compare_saved(execution, self.other, comparer)
        result = comparer.result()
        run = execution.finish(Collected(replace(info, notes=result.notes), inputs))
        return run, (result, other)

    def _compare_saved(self, execution: Execution, other: Collected, comparer: Comparer) -> Compared:
        from attncli.studies.compare.compute import text_pairs

        assert execution.existing is not None  # A and B are both saved runs
        existing = execution.existing
        a, b = (run.reshaped(execution.request, f"the run of {run.info.title}") for run in (existing, other))
        with execution.track("comparing", len(a.inputs), "texts") as advance:
            for text_a, text_b in text_pairs(a, b, execution.request.metrics):
                comparer.add(text_a, text_b)
                advance(1)
        return existing.info, other.info, tuple(a.inputs)

    def _compare_models(self, execution: Execution, other: Mapping[str, Any], comparer: Comparer) -> Compared:
        """Compare text by text, so that only the maps of one text of A and of B are in memory."""
        from attncli.engine.runner import other_side
        from attncli.store import input_sha256
        from attncli.studies.compare.compute import check_heads
        from attncli.studies.compare.weights import WeightChanges

        a, request = execution.runner, execution.request
        b = other_side(a, execution.arguments, other)
        if not request.combined:
            heads_a, heads_b = (
                [(*layer, head) for layer, heads in runner.selected_heads(request).items() for head in heads]
                for runner in (a, b)
            )
            check_heads(heads_a, heads_b)
        infos: list[RunInfo] = []
        inputs: list[Input] = []
        with execution.track("comparing", len(execution.texts), "texts") as advance:
            for text_a, text_b in zip(execution.texts, self.texts, strict=True):
                runs = a.gather([text_a], request), b.gather([text_b], request)
                comparer.add(*runs)
                infos = [run.info for run in runs]
                inputs.append(replace(runs[0].inputs[0], index=len(inputs)))
                advance(1)
        first = replace(infos[0], input_sha256=input_sha256(execution.texts))
        if b.loaded.model is not a.loaded.model and not request.combined:
            comparer.weights = WeightChanges.between(a, b, request.capture, a.selected_heads(request))
        return first, replace(infos[1], input_sha256=input_sha256(self.texts)), tuple(inputs)

    def report(self, result: ComparisonWithOther, run: Collected) -> Report:
        from attncli.studies.compare.report import compare_report

        return compare_report(*result, run, self.texts_of_b)

    def terminal(self, result: ComparisonWithOther, run: Collected) -> Iterator[Table]:
        from attncli.studies.compare.terminal import comparison_tables

        return comparison_tables(result[0])

    def shown_texts(self, result: ComparisonWithOther, run: Collected) -> Mapping[Any, Text]:
        """Return the texts by number; where A and B read different ones, each has the name of its side."""
        shown: dict[Any, Text] = {}
        for text, b in zip(run.inputs, self.texts_of_b, strict=True):
            if text.text.line == b.line:
                shown[text.index] = text.text
            else:
                number = f"{text.index} " if len(run.inputs) > 1 else ""
                shown |= {f"{number}A": text.text, f"{number}B": b}
        return shown

    @property
    def texts_of_b(self) -> Sequence[Text]:
        """The texts that B reads."""
        return self.texts if isinstance(self.other, Mapping) else [text.text for text in self.other.inputs]
