"""The study `highlight`: attention shown on the text itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.report import Drawing, Formats, Report
from attncli.engine.study import Study
from attncli.options import SelectionOptions
from attncli.studies.highlight.options import HighlightOptions
from attncli.studies.highlight.terminal import coloured_text
from attncli.vocabulary import HIGHLIGHT_FORMATS

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.focus import FocusRequest
    from attncli.engine.request import Request, RunOptions
    from attncli.studies.highlight.result import Highlight

    RunsAndCount = tuple[Iterator[Collected], int]

MEAN_NOTE = "this is the mean over all layers and heads: --layer and --head choose among them"


@dataclass(frozen=True)
class HighlightStudy(Study["RunsAndCount"]):
    """Pages that show attention from the focus, or to it, on the text.

    mean  whether all layers and heads are combined, because none were chosen
    """

    options: HighlightOptions = field(default_factory=HighlightOptions)
    mean: bool = False
    name = "highlight"
    group = HighlightOptions
    formats = Formats(HIGHLIGHT_FORMATS, HIGHLIGHT_FORMATS[:2], replaced=True)
    prints = "paths"

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        chosen = (selection.layer, selection.head) != (None, None)
        combined = (selection.aggregate, selection.aggregate_layers) != ("none", "none")
        return replace(self, mean=not chosen and not combined)

    def run_options(self) -> RunOptions:
        return {"aggregate": "mean", "aggregate_layers": "mean"} if self.mean else {}

    def highlights(self, run: Collected) -> Iterator[Highlight]:
        """Yield the highlights of the maps of a run."""
        from attncli.studies.highlight.compute import highlights

        return highlights(run.maps, run.inputs, self._focus)

    def check(self, request: Request) -> None:
        from attncli.inputs.rows_as import check_rows_as

        check_rows_as(self.options.rows_as, words=request.words)

    @property
    def _focus(self) -> FocusRequest:
        from attncli.engine.focus import FocusRequest

        options: Any = self.options  # checked there
        return FocusRequest(str(options.focus), options.direction, rows_as=options.rows_as)

    def run(self, execution: Execution) -> tuple[Collected, RunsAndCount]:
        """Return the first run; then all runs that are shown, one after another, and the number of texts."""
        if self.options.focus is None:
            from attncli.engine.focus import missing_name

            raise missing_name("--focus", "it says which word is the focus", execution.given_texts)
        runs = self._runs(execution, self._focus)
        first = next(runs)
        return first, (chain([first], runs), len(execution.texts) or len(first.inputs))

    def _runs(self, execution: Execution, focus: FocusRequest) -> Iterator[Collected]:
        """Yield runs with the rows or columns of the focus; of full maps, those of the texts that contain the focus."""
        from attncli.engine.focus import find_in_maps

        if not execution.keeps_all_maps:
            yield from execution.batches(replace(execution.request, focus=focus), execution.track)
            return
        if execution.existing and any(attention.aggregate != "none" for attention in execution.existing.maps):
            execution.request = replace(execution.request, aggregate="none")
        run = execution.gather()
        matches = find_in_maps(run.maps, run.inputs, focus)
        maps = tuple(attention for attention in run.maps if (attention.text, attention.kind) in matches.matches)
        yield replace(run.with_notes(*matches.notes), maps=maps)

    def report(self, result: RunsAndCount, run: Collected) -> Report:
        notes: list[str] = []
        more = (MEAN_NOTE,) if self.mean else ()
        drawings = self._drawings(*result, notes)
        return Report(replace(run.info, notes=()), drawings=drawings, notes=more, late_notes=notes)

    def _drawings(self, runs: Iterator[Collected], texts: int, notes: list[str]) -> Iterator[Drawing]:
        """Yield the pages; `notes` is filled with the notes of the run that is drawn."""
        from attncli.studies.highlight.page import file_name, page_of_run

        for run in runs:
            notes[:] = run.info.notes
            inputs = {text.index: text for text in run.inputs}
            for highlight in self.highlights(run):
                page = page_of_run(highlight, run.info, texts)
                name = file_name(highlight, self._focus.resolved(inputs[highlight.text], highlight.kind), texts)
                yield Drawing(name, page.figure, partial(getattr, page, "html"), terminal=partial(coloured_text, page))
