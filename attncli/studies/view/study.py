"""The study `view`: every head on one page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.costs import note_cost
from attncli.engine.report import Drawing, Formats, Report
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import SelectionOptions
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.attribute.study import AttributeStudy
from attncli.studies.view.options import ViewOptions
from attncli.vocabulary import ALL_METRICS, PAGE_FORMATS

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request, RunOptions
    from attncli.page import PageAttribution
    from attncli.studies.view.result import Page


POOLED_PASSES = 2, 5
"""About how many forward passes a page of pooled maps takes, of deep models and of those with few layers (measured)."""


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
        if from_saved_run and self.options.attribute is not None:
            raise UsageError(
                "--attribute needs a Transformers model that predicts, a saved run has none and --module is none: "
                "give --model and --text"
            )
        combined = (selection.aggregate, selection.aggregate_layers) != ("none", "none")
        return replace(self, measures=not (from_saved_run or combined))

    def run_options(self) -> RunOptions:
        rows, keys, neurons = self.options.rows, self.options.keys, self.options.neurons
        metrics = ALL_METRICS if self.measures else None
        # a page names each row by the token that it is computed from
        return {"rows": rows, "keys": keys, "rows_as": "input", "neurons": neurons, "metrics": metrics}

    def resolved(self) -> dict[str, Any]:
        explained = {name: getattr(self.options, name) for name in ("attribute", "explain")}
        return {"max_page": self._budget, **(explained if self.options.attribute is not None else {})}

    def resolved_with_formats(self, formats: tuple[str, ...]) -> dict[str, Any]:
        """Return `resolved`: there is only one format."""
        return self.resolved()

    def check(self, request: Request) -> None:
        if request.by == "norm":
            raise UsageError("the page shows attention weights: leave out by='norm'")
        _ = self._budget
        if self.options.attribute is not None:
            self._check_attribute(self.options.attribute, request)
        elif self.options.explain != "next":
            raise UsageError("--explain names what --attribute explains: give --attribute METHODS")

    def _check_attribute(self, methods: str, request: Request) -> None:
        """Check the methods of attribution and raise UsageError if they or the selection are wrong."""
        plain = replace(request, aggregate="none", aggregate_layers="none")
        AttributeStudy(AttributeOptions(explain=self.options.explain, method=methods)).check(plain)
        changed = (request.words, request.dropped_special, request.zoom.windowed)
        if any(changed):
            option = ("--words", "--special drop", "--rows and --keys")[changed.index(True)]
            raise UsageError(f"--attribute colours all tokens of the text: leave out {option}, the page has switches")

    @property
    def _budget(self) -> int:
        from attncli.studies.view.compute import page_budget

        return page_budget(self.options.max_page, "--max-page")

    def run(self, execution: Execution) -> tuple[Collected, Page]:
        if self.options.attribute is None:
            return self._page(execution, None)
        # imported here: the help of the command line needs no torch
        from attncli.studies.view.attributing import attributed

        shown, attribution, notes = attributed(execution, self.options.attribute, self.options.explain)
        run, page = self._page(shown, attribution)
        return run.with_notes(*(note for note in notes if note not in run.info.notes)), page

    def _page(self, execution: Execution, attribution: PageAttribution | None) -> tuple[Collected, Page]:
        of_run = self._of_kept_maps if execution.keeps_all_maps else self._of_pass
        return of_run(execution, attribution)

    def _of_kept_maps(self, execution: Execution, attribution: PageAttribution | None) -> tuple[Collected, Page]:
        from attncli.engine.windows import zoomed_text
        from attncli.studies.view.compute import make_page, neurons_command

        saved = None if execution.has_model else execution.existing
        if saved is not None and execution.request.neurons and not saved.vectors:
            command = neurons_command(saved.info, saved.inputs[0].text.text)
            raise UsageError(f"only the model gives query and key vectors, this run has none: {command}")
        run = execution.gather()
        shown = replace(run, maps=tuple(zoomed_text(attention, execution.request.zoom) for attention in run.maps))
        saved_info = None if saved is None else saved.info
        return run, make_page(shown, self._budget, saved=saved_info, attribution=attribution)

    def _of_pass(self, execution: Execution, attribution: PageAttribution | None) -> tuple[Collected, Page]:
        """Keep no more than the page shows: maps that are too large are never in memory."""
        from attncli.studies.view.compute import fit_pass, left_of, make_page
        from attncli.studies.view.strongest import PageSinks

        request = replace(execution.request, keep_maps=True)
        prepared = replace(execution.prepared, request=request)
        fit = fit_pass(prepared, left_of(self._budget, attribution))
        if fit is None:
            prepared.check_memory(at_once=True)
            run = execution.run_pass(prepared)
            return run, make_page(run, self._budget, attribution=attribution)
        note_cost("view", prepared, *POOLED_PASSES)
        zoom = replace(request.zoom, resolution=fit.side)
        page = PageSinks(prepared, fit.edges, zoom)
        run = execution.run_pass(replace(prepared, request=replace(request, zoom=zoom)), page.sinks)
        shown = replace(run, maps=page.with_combined(run.maps))
        return run, make_page(shown, self._budget, page.tables(), attribution=attribution)

    def report(self, result: Page, run: Collected) -> Report:
        """Return the page, and the notes on what it leaves out."""
        return Report(run.info, drawings=[Drawing("view", html=lambda: result.html)], notes=result.notes)
