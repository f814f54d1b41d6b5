"""The study `qk-map`: queries and keys of every head as points of one map."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attncli.engine.report import Formats, Report
from attncli.engine.study import Study
from attncli.errors import ModelError, UsageError, did_you_mean
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

        for name, choices in {"method": MAP_METHODS, "color": MAP_COLOURS}.items():
            value = getattr(self.options, name)
            if value not in choices:
                raise UsageError(f"unknown --{name} '{str(value)[:60]}': {did_you_mean(str(value), choices)}")
        for name, least in {"seed": 0, "vectors": LEAST_VECTORS[self.options.method]}.items():
            value = getattr(self.options, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"expected --{name} to be a number from {least} up, got {value!r:.60}")
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
                "a saved run has no query and key vectors, and --module is not read: give --model and a text"
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
        result = map_heads(run.inputs, samples, layers, options, execution.track)
        return run.with_notes(*missing_vectors_notes(prepared.heads, layers), *result.notes), result

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
