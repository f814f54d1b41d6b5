"""The study `view`: every head on one page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.report import Drawing, Formats, Report
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import SelectionOptions
from attncli.studies.view.options import ViewOptions
from attncli.vocabulary import ALL_METRICS, PAGE_FORMATS

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request, RunOptions
    from attncli.studies.view.result import Page


@dataclass(frozen=True)
class ViewStudy(Study["Page"]):
    """One HTML page with all layers and heads as lines, maps, text and numbers.

    measures  whether metrics are measured while the model runs; else kept maps are measured, if they can be
    """

    options: ViewOptions = field(default_factory=ViewOptions)
    measures: bool = True
    name = "view"
    any_axes = True
    group = ViewOptions
    formats = Formats(PAGE_FORMATS, PAGE_FORMATS)
    prints = "paths"

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        combined = (selection.aggregate, selection.aggregate_layers) != ("none", "none")
        return replace(self, measures=not (from_saved_run or combined))

    def run_options(self) -> RunOptions:
        rows, keys, neurons = self.options.rows, self.options.keys, self.options.neurons
        metrics = ALL_METRICS if self.measures else None
        # a page names each row by the token that it is computed from
        return {"rows": rows, "keys": keys, "rows_as": "input", "neurons": neurons, "metrics": metrics}

    def resolved(self) -> dict[str, Any]:
        return {"max_page": self._budget}

    def resolved_with_formats(self, formats: tuple[str, ...]) -> dict[str, Any]:
        """Return `resolved`: there is only one format."""
        return self.resolved()

    def check(self, request: Request) -> None:
        if request.by == "norm":
            raise UsageError("the page shows attention weights: leave out by='norm'")
        _ = self._budget

    @property
    def _budget(self) -> int:
        from attncli.studies.view.compute import page_budget

        return page_budget(self.options.max_page, "--max-page")

    def run(self, execution: Execution) -> tuple[Collected, Page]:
        return self._of_kept_maps(execution) if execution.keeps_all_maps else self._of_pass(execution)

    def _of_kept_maps(self, execution: Execution) -> tuple[Collected, Page]:
        from attncli.engine.windows import zoomed_text
        from attncli.studies.view.compute import make_page, neurons_command

        saved = None if execution.has_model else execution.existing
        if saved is not None and execution.request.neurons and not saved.vectors:
            command = neurons_command(saved.info, saved.inputs[0].text.text)
            raise UsageError(f"only the model gives query and key vectors, this run has none: {command}")
        run = execution.gather()
        shown = replace(run, maps=tuple(zoomed_text(attention, execution.request.zoom) for attention in run.maps))
        return run, make_page(shown, self._budget, saved=None if saved is None else saved.info)

    def _of_pass(self, execution: Execution) -> tuple[Collected, Page]:
        """Keep no more than the page shows: maps that are too large are never in memory."""
        from attncli.studies.view.compute import fit_pass, make_page
        from attncli.studies.view.strongest import PageSinks

        request = replace(execution.request, keep_maps=True)
        prepared = replace(execution.prepared, request=request)
        fit = fit_pass(prepared, self._budget)
        if fit is None:
            prepared.check_memory(at_once=True)
            run = execution.run_pass(prepared)
            return run, make_page(run, self._budget)
        zoom = replace(request.zoom, resolution=fit.side)
        page = PageSinks(prepared, fit.edges, zoom)
        run = execution.run_pass(replace(prepared, request=replace(request, zoom=zoom)), page.sinks)
        return run, make_page(replace(run, maps=page.with_combined(run.maps)), self._budget, page.tables())

    def report(self, result: Page, run: Collected) -> Report:
        """Return the page, and the notes on what it leaves out."""
        return Report(run.info, drawings=[Drawing("view", html=lambda: result.html)], notes=result.notes)
