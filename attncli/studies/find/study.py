"""The study `find`: which heads attend from some tokens to others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attncli.engine.report import Report
from attncli.engine.segmented import SegmentedStudy
from attncli.errors import UsageError
from attncli.studies.find.options import FindOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.table import Table

    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution, Source
    from attncli.engine.request import Request
    from attncli.studies.find.compute import FindSink
    from attncli.studies.find.pairs import Pairs
    from attncli.studies.find.result import RankedHeads

    RankedHeadsAndPairs = tuple[RankedHeads, Pairs]


@dataclass(frozen=True)
class FindStudy(SegmentedStudy["RankedHeadsAndPairs"]):
    """Heads ranked by the attention from query tokens to key tokens, with uniform weights and position as baselines."""

    options: FindOptions = field(default_factory=FindOptions)
    name = "find"
    group = FindOptions

    def check(self, request: Request) -> None:
        from attncli.inputs.rows_as import check_rows_as

        if request.by == "norm":
            raise UsageError("find ranks attention weights: leave out by='norm'")
        if request.combined:
            raise UsageError("find ranks single heads: leave out --aggregate and --aggregate-layers")
        check_rows_as(self.options.rows_as, request.choice.kinds or (), words=request.words)

    def run(self, execution: Execution) -> tuple[Collected, RankedHeadsAndPairs]:
        """Return the run, and the result with the tokens that were found."""
        for name, purpose in (("query", "it says which tokens attend"), ("key", "it says what they attend to")):
            if getattr(self.options, name) is None:
                from attncli.engine.focus import missing_name

                raise missing_name(f"--{name}", purpose, execution.given_texts)
        run, sink = execution.stream(self._sink)
        return run.with_notes(*sink.pairs.notes), (sink.result(), sink.pairs)

    def _sink(self, source: Source) -> FindSink:
        from attncli.data import KINDS
        from attncli.inputs.partitions import spans_by_text
        from attncli.inputs.rows_as import check_rows_as
        from attncli.studies.find.compute import FindSink
        from attncli.studies.find.pairs import PairNames, find_pairs

        options = self.options
        spans = None if self.spans is None else spans_by_text(source.inputs, self.spans)
        names = PairNames(str(options.query), str(options.key), spans, options.rows_as)  # type: ignore[arg-type]
        kinds = [kind for kind in KINDS if any(of == kind for of, _ in source.heads)]
        check_rows_as(options.rows_as, kinds, words=source.words)
        pairs = find_pairs(source.inputs, kinds, names, source.words)
        return FindSink(source.inputs, source.heads, names, pairs)

    def report(self, result: RankedHeadsAndPairs, run: Collected) -> Report:
        from attncli.studies.find.report import find_report

        return find_report(*result, run)

    def terminal(self, result: RankedHeadsAndPairs, run: Collected) -> Iterable[Table]:
        from attncli.studies.find.terminal import heads_table

        return [heads_table(result[0], run.info.kinds)]
