"""The study `qk-map`: queries and keys of every head as points of one map."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from attncli.engine.checks import check_at_least, check_choice
from attncli.engine.report import Formats, Report
from attncli.engine.study import Study
from attncli.errors import ModelError, UsageError
from attncli.studies.qk_map.options import QueryKeyMapOptions
from attncli.vocabulary import MAP_COLOURS, MAP_METHODS, PAGE_FORMATS, PICTURE_FORMATS, TABLE_FORMATS

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.table import Table

    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.passes import Pass
    from attncli.engine.request import Request
    from attncli.studies.qk_map.result import QueryKeyMap


@dataclass(frozen=True)
class QueryKeyMapStudy(Study["QueryKeyMap"]):
    """Queries and keys of every head in one space, as points of a plane, and how true the map is."""

    options: QueryKeyMapOptions = field(default_factory=QueryKeyMapOptions)
    name = "qk-map"
    group = QueryKeyMapOptions
    formats = Formats((*TABLE_FORMATS, *PICTURE_FORMATS, *PAGE_FORMATS), ("json", "csv", "png", "html"))

    def check(self, request: Request) -> None:
        from attncli.studies.qk_map.projection import LEAST_VECTORS, check_installed

        options = vars(self.options)
        check_choice(options, "method", MAP_METHODS)
        check_choice(options, "color", MAP_COLOURS)
        check_at_least(options, "seed", 0, optional=False)
        check_at_least(options, "vectors", LEAST_VECTORS[self.options.method], optional=False)
        if request.by == "norm":
            raise UsageError("qk-map compares vectors with attention weights: leave out by='norm'")
        if request.combined or request.words:
            raise UsageError(
                "qk-map shows the vectors of single heads and tokens: leave out --aggregate, --aggregate-layers and "
                "--words"
            )
        if request.capture == "eager":
            raise UsageError("qk-map needs vectors, which --capture eager does not capture: use --capture auto")
        check_installed(self.options.method)

    def run(self, execution: Execution) -> tuple[Collected, QueryKeyMap]:
        """Return the run, and the maps of all heads that have vectors."""
        if not execution.has_model:
            raise UsageError(
                "qk-map samples query and key vectors while a model reads texts: give --model and a text, not a saved "
                "run or --module"
            )
        from attncli.engine.measuring import missing_vectors_notes
        from attncli.studies.qk_map.compute import SampleVectors
        from attncli.studies.qk_map.maps import check_memory, map_heads

        prepared, options = execution.prepared, self.options
        _check_vectors(prepared, [kind for kind, (_, _, heads) in prepared.vector_values.items() if heads])
        texts = sorted((text for batch in prepared.batches for text in batch.inputs), key=lambda text: text.index)
        sink = SampleVectors(texts, prepared.heads, options.vectors, options.seed, prepared.request.dropped_special)
        check_memory(prepared, sink.samples, options)
        run = execution.run_pass(prepared, [sink])
        samples, layers = sink.result()
        _check_vectors(prepared, layers)
        result = map_heads(run, samples, layers, options, execution.track)
        run = run.with_notes(*missing_vectors_notes(prepared.heads, layers), *result.notes)
        return run, replace(result, info=run.info)

    def report(self, result: QueryKeyMap, run: Collected) -> Report:
        from attncli.studies.qk_map.report import query_key_map_report

        return query_key_map_report(result, run)

    def terminal(self, result: QueryKeyMap, run: Collected) -> Iterable[Table]:
        from attncli.studies.qk_map.terminal import heads_table

        return [heads_table(result, run.info.kinds)]


def _check_vectors(prepared: Pass, found: Collection[object]) -> None:
    """Raise ModelError if nothing with vectors was found in the model."""
    if not found:
        raise ModelError(
            f"{prepared.loaded.name} gives no query and key vectors: its attention weights are the model's own "
            "(attncli info says why)"
        )
