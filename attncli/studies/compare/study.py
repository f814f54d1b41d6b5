"""The study `compare`: what differs between two models, two texts or two saved runs, head by head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, cast

from attncli.engine.report import Formats, Report
from attncli.engine.study import Study
from attncli.options import typed
from attncli.studies.compare.options import CompareOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.table import Table

    from attncli.data import Input, RunInfo, Text
    from attncli.data.part_states import PartState
    from attncli.engine.checkpoints import Checkpoint
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import RunOptions
    from attncli.engine.runner import Runner
    from attncli.studies.compare.compute import Comparer
    from attncli.studies.compare.result import Comparison

    ComparisonWithOther = tuple[Comparison, RunInfo]
    Compared = tuple[RunInfo, RunInfo, tuple[Input, ...]]
    """Where A and B come from, and the texts that A reads."""


TWO_CAUSES = "A and B are different models and read different texts: a change comes from either"


@dataclass(frozen=True)
class CompareStudy(Study["ComparisonWithOther"]):
    """A comparison of A, which the execution reads, with B.

    other    arguments of `attncli.models.load` for B, the loaded model B, or the saved run B
    texts    texts that B reads; empty for a saved run, and for a corpus
    names    A and B as they were typed
    two_corpora  whether A reads the first and B the second of two corpora
    """

    options: CompareOptions = field(default_factory=CompareOptions)
    other: Mapping[str, Any] | Runner | Collected = field(default_factory=dict)
    texts: Sequence[Text] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    two_corpora: bool = False
    _loaded: list[Runner] = field(default_factory=list, init=False, repr=False, compare=False)
    name = "compare"
    group = CompareOptions
    sharded = True
    formats = Formats(drawings=("html",))

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
        from attncli.engine.collected import Collected
        from attncli.engine.invocation import plain_arguments
        from attncli.store import input_sha256

        if isinstance(self.other, Mapping):
            views = {"views": self.options.views} if self.options.views else {}
            return {"b": {**plain_arguments(self.other), "inputs": input_sha256(self.texts)}, **views}
        assert isinstance(self.other, Collected)  # a loaded model has no folder
        info = self.other.info
        return {"b": {"model": info.model, "inputs": info.input_sha256, "resolved": dict(info.resolved)}}

    def run(self, execution: Execution) -> tuple[Collected, ComparisonWithOther]:
        """Return the run of A, the comparison, and where B comes from."""
        from attncli.engine.collected import Collected
        from attncli.studies.compare.compute import Comparer

        comparer = Comparer(execution.request.metrics)
        if isinstance(self.other, Collected):
            info, other, inputs = self._compare_saved(execution, self.other, comparer)
        else:
            info, other, inputs = self._compare_models(execution, comparer)
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

    def _compare_models(self, execution: Execution, comparer: Comparer) -> Compared:
        """Compare text by text, so that only the maps of one text of A and of B are in memory."""
        from attncli.store import input_sha256
        from attncli.studies.compare.weights import WeightChanges

        a, b, request = execution.runner, self._runner_of_b(execution), execution.request
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

    def other_models(self) -> tuple[str, ...]:
        return (str(self.other["name"]),) if isinstance(self.other, Mapping) else ()

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        from attncli.engine.paired_tests import load_scipy
        from attncli.studies.compare.corpus_parts import paired_part, side_part

        load_scipy()  # an error before the heavy work
        if not self.two_corpora:
            return paired_part(execution.runner, self._runner_of_b(execution), execution)
        return side_part(self._runner_of_b(execution) if execution.side else execution.runner, execution)

    def merge(
        self, states: Iterable[PartState], run: Collected, execution: Execution
    ) -> tuple[Collected, ComparisonWithOther]:
        """Return the run of a corpus, the comparison, and where B comes from."""
        from attncli.engine.text_measures import head_metrics
        from attncli.studies.compare.corpus_results import compared_corpora, compared_models
        from attncli.studies.compare.view_links import with_commands, with_pages
        from attncli.studies.compare.weights import WeightChanges

        compared, request = compared_corpora if self.two_corpora else compared_models, execution.request
        result, other = compared(states, head_metrics(request))
        counts = run.corpus.against or run.corpus if run.corpus else None
        other = other if counts is None else replace(other, input_sha256=counts.sha256)
        a, b = execution.runner, self._runner_of_b(execution)
        if self.two_corpora and b.loaded.model is not a.loaded.model:
            result = replace(result, notes=(*result.notes, TWO_CAUSES))
        if not self.two_corpora and not request.combined and b.loaded.model is not a.loaded.model:
            weights = WeightChanges.between(a, b, request.capture, a.selected_heads(request))
            result = replace(result, weights=weights.table(), notes=(*result.notes, *weights.notes()))
        if isinstance(self.other, Mapping) and result.examples:
            sides = {"a": execution.arguments, "b": self.other}
            result = replace(result, examples=with_commands(result.examples, sides, request))
        if self.options.views and result.examples:
            runners = {"a": a, "b": b}
            examples, pages = with_pages(result.examples, runners, request, self.options.views)
            result = replace(result, examples=examples, pages=pages)
        return run.with_notes(*result.notes), (result, other)

    def _runner_of_b(self, execution: Execution) -> Runner:
        """Return the model B; one process loads it once. Raise UsageError if it has other heads than A."""
        from attncli.engine.runner import Runner, other_side
        from attncli.studies.compare.compute import check_heads

        if not self._loaded:
            assert isinstance(self.other, Mapping | Runner)  # saved runs have no model
            a, other = execution.runner, self.other
            b = other if isinstance(other, Runner) else other_side(a, execution.arguments, other)
            if not execution.request.combined:
                selected = (runner.selected_heads(execution.request) for runner in (a, b))
                check_heads(*([(*layer, head) for layer in heads for head in heads[layer]] for heads in selected))
            self._loaded.append(b)
        return self._loaded[0]

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
        from attncli.engine.collected import Collected

        return [text.text for text in self.other.inputs] if isinstance(self.other, Collected) else self.texts
