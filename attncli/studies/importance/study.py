"""The study `importance`: does the output of the model change without a head?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.errors import UsageError, did_you_mean
from attncli.studies.importance.options import ImportanceOptions
from attncli.vocabulary import IMPORTANCE_METHODS, IMPORTANCE_UNITS

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.table import Table

    from attncli.data.part_states import PartState
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request, RunOptions
    from attncli.studies.importance.result import Importance


@dataclass(frozen=True)
class ImportanceStudy(Study["Importance"]):
    """The effect of removing each head on the output of the model, beside the statistics of its attention."""

    options: ImportanceOptions = field(default_factory=ImportanceOptions)
    name = "importance"
    uncompiled = "passes with gradients or edits"
    group = ImportanceOptions
    sharded = True
    shard_texts = 16

    def run_options(self) -> RunOptions:
        return {"metrics": "all", "keep_maps": False}

    def resolved(self) -> dict[str, Any]:
        """Return the options that change the result: not the number of rows on a terminal."""
        return {name: value for name, value in asdict(self.options).items() if name != "top"}

    def check(self, request: Request) -> None:
        for name, choices in {"method": IMPORTANCE_METHODS, "unit": IMPORTANCE_UNITS}.items():
            value = getattr(self.options, name)
            if value not in choices:
                raise UsageError(f"unknown --{name} '{str(value)[:60]}': {did_you_mean(str(value), choices)}")
        for name, least in {"seed": 0, "top": 1}.items():
            value = getattr(self.options, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"expected --{name} to be a number from {least} up, got {value!r:.60}")
        if request.combined or request.words or request.dropped_special:
            raise UsageError(
                "importance removes single heads of the model: leave out --aggregate, --aggregate-layers, --words and "
                "--special drop"
            )
        if request.neurons or request.zoom.windowed:
            raise UsageError("importance reads whole texts: leave out rows, keys and neurons")

    def run(self, execution: Execution) -> tuple[Collected, Importance]:
        """Return the run with the statistics of attention, and the effects."""
        if not execution.has_model:
            raise UsageError(
                "a saved run has no model whose heads could be removed, and --module is not read: "
                "give --model and a text"
            )
        from attncli.engine.memory import allowed_memory
        from attncli.studies.importance.compute import Ablation
        from attncli.studies.importance.summary import summarise

        prepared = execution.prepared
        ablation = Ablation(prepared, self.options, allowed_memory(execution.request.max_memory))
        measured = ablation.measure(execution.partial, execution.track)
        run = execution.run_pass(prepared)
        assert run.statistics is not None  # requested by `run_options`
        result = summarise(measured, self.options, run.statistics)
        return run.with_notes(*measured.notes, *result.notes), result

    def needs_texts(self) -> str:
        """Return the method whose means are those over all texts."""
        return "--method mean" if self.options.method == "mean" else ""

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        from attncli.engine.memory import allowed_memory
        from attncli.studies.importance.compute import Ablation
        from attncli.studies.importance.sharding import measured_state

        prepared = execution.prepared
        ablation = Ablation(prepared, self.options, allowed_memory(execution.request.max_memory))
        measured = ablation.measure(execution.partial, execution.track)
        run, statistics = prepared.reduce(execution.track, execution.texts)
        return run.with_notes(*measured.notes), {"effects": measured_state(measured), "statistics": statistics}

    def merge(self, states: Iterable[PartState], run: Collected, execution: Execution) -> tuple[Collected, Importance]:
        """Return the run of a corpus and the effects; those on all texts are kept in memory for the intervals."""
        from attncli.engine.measuring import merged_statistics
        from attncli.studies.importance.sharding import merged_effects
        from attncli.studies.importance.summary import summarise

        parts = list(states)
        statistics = merged_statistics(execution.request, (part["statistics"] for part in parts))
        result = summarise(merged_effects(part["effects"] for part in parts), self.options, statistics)
        return run.with_notes(*result.notes), result

    def report(self, result: Importance, run: Collected) -> Report:
        from attncli.studies.importance.report import importance_report

        return importance_report(result, run)

    def terminal(self, result: Importance, run: Collected) -> Iterable[Table]:
        from attncli.studies.importance.terminal import dead_table, heads_table

        yield heads_table(result, self.options.top)
        if result.dead:
            yield dead_table(result)

    def details(self, result: Importance, run: Collected) -> Iterable[Table]:
        from attncli.studies.importance.terminal import predictors_table

        if len(result.predictors["rho"]):
            yield predictors_table(result)
