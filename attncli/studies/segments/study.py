"""The study `segments`: how much attention goes between the parts of a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.report import Report
from attncli.engine.segmented import SegmentedStudy
from attncli.errors import UsageError
from attncli.options import SelectionOptions
from attncli.studies.segments.options import SegmentsOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.table import Table

    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution, Source
    from attncli.engine.request import Request
    from attncli.studies.segments.compute import SegmentsSink
    from attncli.studies.segments.result import Segments
    from attncli.studies.segments.sides import TextSides

    SegmentsAndSides = tuple[Segments, TextSides]


@dataclass(frozen=True)
class SegmentsStudy(SegmentedStudy["SegmentsAndSides"]):
    """Attention between the segments of a text, with uniform weights and position alone as baselines."""

    options: SegmentsOptions = field(default_factory=SegmentsOptions)
    name = "segments"
    group = SegmentsOptions

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study with the spans of its file; raise UsageError if they are wrong or exclude `--divide`."""
        from attncli.inputs.partitions import check_division

        check_division(self.options.divide)
        if self.options.segments is not None and self.options.divide != "auto":
            raise UsageError(
                f"--segments says what the segments are, as --divide {self.options.divide} does: give one of them"
            )
        return super().adapt(selection, from_saved_run)

    def resolved(self) -> dict[str, Any]:
        """Return the options with the contents of the file of segments."""
        shared = {name: getattr(self.options, name) for name in ("rows_as", "query", "key")}
        if self.spans is None:
            return {"divide": self.options.divide, "segments": None, **shared}
        from attncli.inputs.partitions import plain_spans

        return {"divide": "spans", "segments": plain_spans(self.spans), **shared}

    def check(self, request: Request) -> None:
        if request.by == "norm":
            raise UsageError("attention between segments is of attention weights: leave out by='norm'")
        from attncli.inputs.rows_as import check_rows_as

        check_rows_as(self.options.rows_as, words=request.words)

    def run(self, execution: Execution) -> tuple[Collected, SegmentsAndSides]:
        """Return the run, the result and the segments of its texts."""
        from attncli.engine.measuring import as_single_heads

        run, sink = execution.stream(self._sink, adapt=as_single_heads)
        run, result = self._with_words_note(run, sink.sides), sink.result()
        if self._selected:
            result = result.select(self.options.query, self.options.key)
        return run, (result, sink.sides)

    def _with_words_note(self, run: Collected, sides: TextSides) -> Collected:
        """Return the run with a note if rows of what the model wrote are read as input because they are words."""
        from attncli.data import KINDS
        from attncli.inputs.rows_as import words_note

        queries = dict.fromkeys(name for of_queries, _ in sides.values() for name in of_queries.names)
        kinds = [kind for kind in KINDS if any(of == kind for _, of in sides)]
        words = any(text.source.merged for text in run.inputs)
        names = [name for name in queries if self.options.query in (None, name)]
        note = words_note(names, kinds, self.options.rows_as, words=words)  # type: ignore[arg-type]
        return run.with_notes(note) if note else run

    @property
    def _selected(self) -> bool:
        return (self.options.query, self.options.key) != (None, None)

    def _sink(self, source: Source) -> SegmentsSink:
        from attncli.data import KINDS
        from attncli.inputs.rows_as import check_rows_as, rows_as_of
        from attncli.studies.segments.compute import SegmentsSink
        from attncli.studies.segments.sides import segments_of_texts

        if source.aggregate == "max":
            raise UsageError(
                "attention between segments is a sum of weights: expected --aggregate to be none or mean, got max"
            )
        kinds = [kind for kind in KINDS if any(of == kind for of, _ in source.heads)]
        given = check_rows_as(self.options.rows_as, kinds, words=source.words)
        sides = segments_of_texts(source.inputs, kinds, self.options.divide, self.spans)
        rows_as = partial(rows_as_of, given=given, words=source.words)
        return SegmentsSink(
            source.inputs,
            sides,
            source.heads,
            rows_as,
            mean_heads=source.aggregate != "none",
            mean_layers=source.aggregate_layers == "mean",
            mean_name=source.aggregate,
            of_layers=source.of_layers,
        )

    def report(self, result: SegmentsAndSides, run: Collected) -> Report:
        from attncli.studies.segments.report import segments_report

        return segments_report(*result, run, self._selected)

    def terminal(self, result: SegmentsAndSides, run: Collected) -> Iterable[Table]:
        from attncli.studies.segments.terminal import segments_tables

        return segments_tables(result[0], run.info.kinds)
