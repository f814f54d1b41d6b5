"""The study `heatmap`: attention maps as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Self, cast

from attncli.engine.checks import check_choice
from attncli.engine.report import Formats, Report
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import SelectionOptions
from attncli.studies.heatmap.options import HeatmapOptions
from attncli.vocabulary import MODEL_HEADS, PICTURE_FORMATS, SCALES

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from attncli.data import Attention, Kind, Selection
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request, RunOptions
    from attncli.studies.heatmap.report import PictureChoice

    RunsAndCount = tuple[Iterator[Collected], int, bool]


@dataclass(frozen=True)
class HeatmapStudy(Study["RunsAndCount"]):
    """Pictures of all heads, of the heads of layers, or of single heads."""

    options: HeatmapOptions = field(default_factory=HeatmapOptions)
    layers_selected: bool = False
    heads_selected: bool = False
    name = "heatmap"
    any_axes = True
    group = HeatmapOptions
    formats = Formats(PICTURE_FORMATS, PICTURE_FORMATS[:1], replaced=True)
    prints = "paths"

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        if self.options.grid and self.options.each:
            raise UsageError("--grid and --each exclude each other: give one of them")
        heads = any(value not in MODEL_HEADS for value in selection.head or ())
        return replace(self, layers_selected=selection.layer is not None, heads_selected=heads)

    def run_options(self) -> RunOptions:
        names = ("rows", "keys", "rows_as", "resolution", "pool", "by")
        return cast("RunOptions", {name: getattr(self.options, name) for name in names})

    def resolved(self) -> dict[str, Any]:
        return {name: getattr(self.options, name) for name in ("grid", "each", "log", "scale")}

    def check(self, request: Request) -> None:
        check_choice({"scale": self.options.scale}, "scale", SCALES)

    @property
    def _choice(self) -> PictureChoice:
        from attncli.studies.heatmap.report import PictureChoice

        return PictureChoice(self.options.grid, self.options.each, self.layers_selected, self.heads_selected)

    def run(self, execution: Execution) -> tuple[Collected, RunsAndCount]:
        """Return the first run without its maps; then all runs, the number of texts, and whether runs are streamed."""
        runs = self._kept_maps(execution) if execution.keeps_all_maps else self._streamed_maps(execution)
        first = next(runs)
        texts = max(len(execution.texts), len({attention.text for attention in first.maps}))
        streamed = len(execution.texts) > 1 and not execution.keeps_all_maps
        return replace(first, maps=()), (chain([first], runs), texts, streamed)

    def _kept_maps(self, execution: Execution) -> Iterator[Collected]:
        from attncli.engine.windows import zoomed_text
        from attncli.studies.heatmap.report import maps_per_layer

        maps: list[Attention] = []

        def zoom_maps(run: Collected) -> None:
            zoom = execution.request.zoom
            maps.extend(
                zoomed_text(attention, self._choice.fit(zoom, [maps_per_layer(attention)])) for attention in run.maps
            )

        run = execution.gather(check=zoom_maps)
        yield replace(run, maps=tuple(maps))

    def _streamed_maps(self, execution: Execution) -> Iterator[Collected]:
        request = execution.request
        pages = _pages(execution.runner.selected_heads(request), request)
        zoom = self._choice.fit(request.zoom, pages)
        return execution.batches(replace(request, zoom=zoom), execution.track)

    def report(self, result: RunsAndCount, run: Collected) -> Report:
        """Return the pictures, and the notes of the runs that they are drawn from."""
        from attncli.studies.heatmap.report import drawings

        runs, texts, streamed = result
        notes: list[str] = []
        stream = drawings(runs, texts, self._choice, self.options, notes)
        return Report(replace(run.info, notes=()), drawings=stream if streamed else [*stream], late_notes=notes)


def _pages(heads: Selection, request: Request) -> list[list[int]]:
    """Return for each kind the number of maps of each layer."""
    kinds: dict[Kind, list[int]] = {}
    for (kind, _), numbers in heads.items():
        kinds.setdefault(kind, []).append(len(numbers) if request.aggregate == "none" else 1)
    return [counts if request.aggregate_layers == "none" else counts[:1] for counts in kinds.values()]
