"""The study `patterns`: what each head does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.checks import check_seeds, check_share
from attncli.engine.costs import note_cost
from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.errors import ModelError, UsageError
from attncli.options import SelectionOptions, changed
from attncli.studies.patterns.options import PatternsOptions
from attncli.vocabulary import CLASS_THRESHOLDS, HIGHEST_LIMIT, RESOLUTION

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from rich.table import Table

    from attncli.data import Attention, Kind, Selection, Zoom
    from attncli.data.part_states import PartState
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.studies.patterns.result import Patterns

    PatternsAndExamples = tuple[Patterns, Sequence[Attention]]

PASSES = 1.5
"""Forward passes that the measures and baselines take for each reading of a long text, as measured."""


@dataclass(frozen=True)
class PatternsStudy(Study["PatternsAndExamples"]):
    """Classes of all heads with the numbers behind them and their baselines.

    layered  whether layers were chosen: then each has a picture of its heads
    """

    options: PatternsOptions = field(default_factory=PatternsOptions)
    layered: bool = False
    name = "patterns"
    group = PatternsOptions
    sharded = True

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study for the chosen layers; without shuffled passes for a saved run."""
        study = replace(self, layered=selection.layer is not None)
        if not from_saved_run:
            return study
        if "shuffles" in changed(self.options):
            raise UsageError("--shuffles runs the model on shuffled tokens, and --from has none: leave it out")
        return replace(study, options=replace(self.options, shuffles=0))

    def resolved(self) -> dict[str, Any]:
        return {**super().resolved(), "layered": self.layered}

    def check(self, request: Request) -> None:
        if request.by == "norm":
            raise UsageError("patterns are of attention weights: leave out by='norm'")
        if request.combined:
            raise UsageError("patterns are of single heads: leave out --aggregate and --aggregate-layers")
        for name in CLASS_THRESHOLDS:
            check_share({name: getattr(self.options, name)}, name)
        margin: object = self.options.margin
        if not isinstance(margin, int | float) or not 0 <= margin <= HIGHEST_LIMIT:
            raise UsageError(f"expected --margin from 0 to {HIGHEST_LIMIT:g}, got {margin!r:.60}")
        if not 0 <= self.options.reach <= 8:
            raise UsageError(
                f"expected --reach from 0 to 8 tokens, as far as the metric diagonal goes, got {self.options.reach}"
            )
        check_seeds("--shuffles", self.options.shuffles, 0)

    def run(self, execution: Execution) -> tuple[Collected, PatternsAndExamples]:
        """Return the run with the seed of its shuffled passes, the classes, and example maps if they are drawn."""
        from attncli.studies.patterns.compute import PatternsSink
        from attncli.studies.patterns.numbers import NumbersSink

        seeds = self.options.shuffles
        if execution.existing is None:
            note_cost("patterns", execution.prepared, PASSES * (1 + seeds))
        run, sink = execution.stream(lambda source: PatternsSink(source.inputs, source.heads, words=source.words))
        shuffled = execution.shuffled(seeds, lambda source: NumbersSink(source.inputs, source.heads))
        result = sink.result(self.options, shuffled)
        examples = _example_maps(result, run, execution, self.layered) if execution.draws else ()
        return replace(run, info=replace(run.info, seed=0 if seeds else run.info.seed)), (result, examples)

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        from attncli.studies.patterns.compute import PatternsSink
        from attncli.studies.patterns.numbers import NumbersSink

        run, sink = execution.stream(
            lambda source: PatternsSink(source.inputs, source.heads, words=source.words, corpus=True)
        )
        shuffled = execution.shuffled(self.options.shuffles, lambda source: NumbersSink(source.inputs, source.heads))
        more = {} if shuffled is None else {"shuffled": shuffled.state()}
        return run, {"observed": sink.state(), **more}

    def merge(
        self, states: Iterable[PartState], run: Collected, execution: Execution
    ) -> tuple[Collected, PatternsAndExamples]:
        """Return the run of a corpus, the classes, and example maps of its first text if they are drawn."""
        from attncli.studies.patterns.compute import PatternsSink
        from attncli.studies.patterns.numbers import NumbersSink

        seeds = self.options.shuffles
        shuffled = NumbersSink((), {}) if seeds else None

        def observed() -> Iterator[PartState]:
            for state in states:
                if shuffled is not None:
                    shuffled.absorb(state["shuffled"])
                yield state["observed"]

        result = PatternsSink.merged(observed()).result(self.options, shuffled)
        examples = _example_maps(result, run, execution, self.layered) if execution.draws else ()
        return replace(run, info=replace(run.info, seed=0 if seeds else run.info.seed)), (result, examples)

    def report(self, result: PatternsAndExamples, run: Collected) -> Report:
        from attncli.studies.patterns.report import patterns_report

        return patterns_report(result[0], run, result[1], self.layered)

    def terminal(self, result: PatternsAndExamples, run: Collected) -> Iterator[Table]:
        from attncli.studies.patterns.terminal import class_tables

        return class_tables(result[0], run.info.kinds)

    def details(self, result: PatternsAndExamples, run: Collected) -> Iterator[Table]:
        """Return how much the heads of each layer differ."""
        from attncli.studies.patterns.terminal import layers_table

        yield layers_table(result[0], run.info.kinds)


def _example_maps(result: Patterns, run: Collected, execution: Execution, layered: bool) -> Sequence[Attention]:
    """Return maps of the first text for the strongest heads of each class, or for all heads if layers were chosen.

    They have as many cells as a panel of a page of these heads can show.
    """
    from attncli.data import Zoom
    from attncli.data.transforms import zoomed
    from attncli.plotting.mosaic import panel_side

    keys = result.head_keys()
    if not layered:
        keys = [keys[row] for kind in {key[0] for key in keys} for row in result.strongest(kind).values()]
    if not keys:
        return ()
    heads: dict[tuple[Kind, int], tuple[int, ...]] = {}
    for kind, layer, head in sorted(set(keys)):
        heads[kind, layer] = (*heads.get((kind, layer), ()), head)
    zoom = replace(Zoom(RESOLUTION), panel=max(panel_side([len(numbers)]) for numbers in heads.values()))
    if not run.maps:
        return execution.maps_of(0, heads, zoom) if run.corpus is None else _maps_of_corpus(execution, heads, zoom)
    first = min(attention.text for attention in run.maps)
    return [zoomed(attention, zoom) for attention in run.maps if attention.text == first]


def _maps_of_corpus(execution: Execution, heads: Selection, zoom: Zoom) -> Sequence[Attention]:
    """Return maps of the first text of a corpus that can be read: others were left out, and counted."""
    for text in range(len(execution.texts)):
        try:
            return execution.maps_of(text, heads, zoom)
        except (ModelError, UsageError):
            if text + 1 == len(execution.texts):
                raise
    return ()
