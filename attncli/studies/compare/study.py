"""The study `compare`: what differs between two models, two texts or two saved runs, head by head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.options import typed
from attncli.studies.compare.options import CompareOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from rich.table import Table

    from attncli.data import RunInfo, Selection, Text
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import RunOptions
    from attncli.studies.compare.compute import Comparer, HeadKey
    from attncli.studies.compare.result import Comparison

    ComparisonWithOther = tuple[Comparison, RunInfo]


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

    def run_options(self) -> RunOptions:
        """Return the metrics that are compared."""
        # imported here: the help of the command line needs no NumPy
        from attncli.studies.compare.compute import compared_metrics

        typed_names = self.options.metric
        names = None if typed_names is None else [name.strip() for value in typed_names for name in value.split(",")]
        return {"metrics": compared_metrics(names)}

    def resolved(self) -> dict[str, Any]:
        """Return where B comes from."""
        from attncli.store import input_sha256

        if isinstance(self.other, Mapping):
            return {"b": {**self.other, "inputs": input_sha256(self.texts)}}
        info = self.other.info
        return {"b": {"model": info.model, "inputs": info.input_sha256, "resolved": dict(info.resolved)}}

    def run(self, execution: Execution) -> tuple[Collected, ComparisonWithOther]:
        """Return the run of A, the comparison, and where B comes from."""
        from attncli.engine.collected import Collected
        from attncli.studies.compare.compute import Comparer

        comparer = Comparer(execution.request.metrics)
        if isinstance(self.other, Mapping):
            info, other = self._compare_models(execution, self.other, comparer)
        else:
            info, other = self._compare_saved(execution, self.other, comparer)
        result = comparer.result()
        run = execution.finish(Collected(replace(info, notes=result.notes), ()))
        return run, (result, other)

    def _compare_saved(self, execution: Execution, other: Collected, comparer: Comparer) -> tuple[RunInfo, RunInfo]:
        from attncli.studies.compare.compute import text_pairs

        assert execution.existing is not None  # A and B are both saved runs
        existing = execution.existing
        a, b = (run.reshaped(execution.request, f"the run of {run.info.title}") for run in (existing, other))
        with execution.track("comparing", len(a.inputs), "texts") as advance:
            for text_a, text_b in text_pairs(a, b, execution.request.metrics):
                comparer.add(text_a, text_b)
                advance(1)
        return existing.info, other.info

    def _compare_models(
        self, execution: Execution, other: Mapping[str, Any], comparer: Comparer
    ) -> tuple[RunInfo, RunInfo]:
        """Compare text by text, so that only the maps of one text of A and of B are in memory."""
        from attncli.engine.runner import load_runner
        from attncli.store import input_sha256
        from attncli.studies.compare.compute import check_heads

        a, request = execution.runner, execution.request
        b = a if dict(other) == dict(execution.arguments) else load_runner(other)
        if not request.combined:
            check_heads(_head_keys(a.selected_heads(request)), _head_keys(b.selected_heads(request)))
        infos: list[RunInfo] = []
        with execution.track("comparing", len(execution.texts), "texts") as advance:
            for text_a, text_b in zip(execution.texts, self.texts, strict=True):
                runs = a.gather([text_a], request), b.gather([text_b], request)
                comparer.add(*runs)
                infos = [run.info for run in runs]
                advance(1)
        first = replace(infos[0], input_sha256=input_sha256(execution.texts))
        return first, replace(infos[1], input_sha256=input_sha256(self.texts))

    def report(self, result: ComparisonWithOther, run: Collected) -> Report:
        """Return the document, the tables of heads and measures, and the picture."""
        from attncli.studies.compare.report import document, drawings, tables

        comparison, other = result
        pictures = drawings(comparison, run.info, other)
        return Report(run.info, document(comparison, run, other), tables(comparison), pictures)

    def terminal(self, result: ComparisonWithOther, run: Collected) -> Iterator[Table]:
        """Return tables of the heads that differ most and of the largest changes."""
        from attncli.studies.compare.terminal import comparison_tables

        return comparison_tables(result[0])


def _head_keys(heads: Selection) -> list[HeadKey]:
    return [(kind, layer, head) for (kind, layer), numbers in heads.items() for head in numbers]
