"""What a run brought: maps, statistics and where they come from; draw, measure, save and open it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from attncli.data import Attention, Direction, Edges, Kind, Profile
from attncli.engine import collected
from attncli.engine.collected import Collected
from attncli.engine.execution import Execution
from attncli.engine.focus import FocusRequest, find_in_maps
from attncli.engine.kept_maps import check_weights
from attncli.engine.memory import parse_size
from attncli.engine.request import Request, ZoomOptions, zoom_of
from attncli.engine.study import ResultT, Study
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.spans_file import as_spans
from attncli.store import OutputFolder, digest, save_run
from attncli.stream.zoom import zoomed
from attncli.studies.flow.flow_result import FlowResult, results
from attncli.studies.flow.tracing import FlowOptions, Tracing
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadsResult
from attncli.studies.heads.study import HeadsStudy
from attncli.studies.heatmap.pictures import Show, fitted, pictures
from attncli.studies.highlight.compute import highlights
from attncli.studies.highlight.page import HighlightPage
from attncli.studies.patterns.options import PatternsOptions, Thresholds
from attncli.studies.patterns.result import Patterns
from attncli.studies.patterns.study import PatternsStudy
from attncli.studies.segments.options import SegmentsOptions
from attncli.studies.segments.result import Segments
from attncli.studies.segments.study import SegmentsStudy
from attncli.studies.view.page import HEIGHT, MAX_PAGE, Page, page_of, tables_of
from attncli.vocabulary import ENDS, RESOLUTION

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NamedSpans = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Run(Collected):
    """One run: its texts, the maps that were kept and the statistics that were measured; see `Collected`."""

    def attention(self, kind: Kind | None = None, text: int = 0) -> Attention:
        """The maps of one kind and text; `kind` may be left out where there is only one."""
        there = {attention.kind: attention for attention in self.maps if attention.text == text}
        if not there:
            texts = sorted({attention.text for attention in self.maps})
            known = f"there are: {', '.join(map(str, texts))}" if texts else "no maps were kept"
            raise UsageError(f"there are no maps of text {text}; {known}")
        if kind is None:
            if len(there) > 1:
                raise UsageError(f"this run has several kinds of attention: say which of {', '.join(there)}")
            return next(iter(there.values()))
        if kind not in there:
            raise UsageError(f"there are no maps of kind '{kind}': {did_you_mean(kind, there)}")
        return there[kind]

    def edges(self, top_k: int | None = None, min_weight: float | None = None) -> Edges:
        """Of each row the `top_k` largest weights, those from `min_weight` on, or what is both: of the kept maps.

        Without either, the edges of the pass: `model.run(text, top_k=5, keep_maps=False).edges()`.
        """
        if top_k is None and min_weight is None:
            if self.strongest is None:
                raise UsageError("say which edges: expected top_k or min_weight, got neither")
            return self.strongest
        found = self.with_extras(Request.of({"top_k": top_k, "min_weight": min_weight})).strongest
        return found or Edges.none(self.inputs)

    def profile(self, ends: int | None = None) -> Profile:
        """Where attention goes over the whole texts: that of the pass, else of the kept maps.

        ends  how many tokens the first and the last of a text are, 64 unless said otherwise
        """
        if ends is None and self.whole is not None:
            return self.whole
        found = self.with_extras(Request.of({"profile": True, "ends": ENDS if ends is None else ends})).whole
        assert found is not None  # it was asked for
        return found

    def patterns(self, thresholds: Thresholds | None = None) -> Patterns:
        """Return the classes of all heads and the numbers behind them, beside their baselines, from the kept maps.

        `model.patterns` has the baseline of shuffled tokens too.
        """
        options = PatternsOptions(**vars(thresholds or Thresholds()), shuffle_seeds=0)
        return self.study(PatternsStudy(options))[0]

    def study(self, study: Study[ResultT]) -> ResultT:
        """Return the result of a study of the kept maps: `run.study(HeadsStudy(HeadsOptions(clusters=4)))`."""
        if not self.maps:
            raise UsageError(
                f"this run kept no maps: run the model with keep_maps=True, or use model.{study.name}, which needs none"
            )
        request = Request(by=self.maps[0].by)
        study.check(request)
        return study.run(Execution(request, existing=self))[1]

    def heads(self, options: HeadsOptions | None = None) -> HeadsResult:
        """Return the distances between all heads, clusters, and how alike the rows of a layer are, from the kept maps.

        options  how many clusters, and which pairs are redundant
        Needs `pip install "attncli[analyses]"`. `model.heads` compares hidden states too, and keeps no maps.
        """
        return self.study(HeadsStudy(replace(options or HeadsOptions(), shuffle_seeds=0)))

    def heatmap(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        kind: Kind | None = None,
        text: int = 0,
        log: bool | None = None,
        **zoom: Unpack[ZoomOptions],
    ) -> Figure:
        """A picture of one head; of all heads of a layer; of all layers x heads where nothing is chosen.

        log   colours by the logarithm of the weight; by default where more than 256 tokens are shown
        zoom  rows, keys, resolution (1024 by default) and pool, as in `attncli.ZoomOptions`
        """
        shown = self.attention(kind, text)
        if layer is not None or head is not None:
            shown = shown.sel(layer=layer, head=head)
        single = layer is not None and head is not None
        show = Show(layer is not None, head is not None, "each" if single else "grid", log)
        wanted = zoom_of({"resolution": RESOLUTION, **zoom})
        shown = zoomed(shown, fitted(wanted, show, [[len(maps.weights) for maps in shown.layers]]))
        return pictures(shown, show)[0].draw(self.info.title, "", None)

    def view(self, *, max_page: int | str = MAX_PAGE, height: int = HEIGHT) -> Page:
        """One page on which every head is explored: shown in place by a notebook, or `.save("view.html")`.

        max_page  bytes, or "32MB": what is larger shows the strongest weights of each row and a pooled map
        height    of the page in a notebook, in pixels
        """
        if not self.maps:
            raise UsageError("this run kept no maps to look at: ask for it when running the model")
        check_weights(self.maps)
        budget = parse_size(max_page, "max_page") or MAX_PAGE
        tables = None if self.strongest is None else tables_of(self.maps, self.strongest)
        page = page_of(
            self.info, self.inputs, self.maps, self.statistics, vectors=self.vectors, budget=budget, tables=tables
        )
        return replace(page, height=height)

    def segments(self, by: str = "auto", spans: NamedSpans | Sequence[NamedSpans] | None = None) -> Segments:
        """Return how much attention goes between the segments of the texts, from the kept maps.

        by     segment (pair, chat roles, generated tokens), paragraph, line, or auto
        spans  instead, the segments of the text or of each text: name → list of passages, `(start, end)` in characters
               or `{"tokens": (start, end)}`
        """
        return self.study(SegmentsStudy(SegmentsOptions(by), None if spans is None else as_spans(spans)))[0]

    def highlight(
        self,
        focus: str | int,
        layer: int | None = None,
        head: int | None = None,
        *,
        direction: Direction = "from",
        kind: Kind | None = None,
        text: int = 0,
    ) -> HighlightPage:
        """Return attention on the text itself, from some words or to them: the mean over all heads if none is chosen.

        focus      a word (all its occurrences), `it#2`, the position of a token, `[CLS]`, or `all`
        direction  from: attention from the focus; to: attention to it
        A notebook shows it; `.save("it.html")` writes it, `.html` is the page, `.figure()` a picture.
        """
        shown = self.attention(kind, text)
        check_weights([shown])
        if layer is None and head is None:
            shown = shown if shown.aggregate != "none" else shown.mean("head")
            shown = shown if shown.aggregate_layers != "none" else shown.mean("layer")
        else:
            shown = shown.sel(layer=layer, head=head)
        request = FocusRequest(str(focus), direction)
        find_in_maps([shown], [each for each in self.inputs if each.index == text], request)
        return HighlightPage(next(highlights([shown], self.inputs, request)), self.info.title)

    def rollout(self, kind: Kind | None = None, text: int = 0, **options: Unpack[FlowOptions]) -> FlowResult:
        """How much of each input token is in each token at the top, combined layer by layer (attncli explain rollout).

        options  focus, residual, start_layer and aggregate, as in `attncli.FlowOptions`
        """
        return self._traced(Tracing.of("rollout", options), kind, text)

    def flow(self, kind: Kind | None = None, text: int = 0, **options: Unpack[FlowOptions]) -> FlowResult:
        """The maximum flow from each token at the top to each input token, with the options of `rollout`."""
        return self._traced(Tracing.of("flow", options), kind, text)

    def _traced(self, tracing: Tracing, kind: Kind | None, text: int) -> FlowResult:
        wanted = self.attention(kind, text).kind
        # here and not above: drawing maps needs no torch
        from attncli.studies.flow.compute import of_maps

        maps = [each for each in self.maps if each.text == text]
        flows, _ = of_maps(maps, [one for one in self.inputs if one.index == text], None, tracing)
        return next(one for one in results(flows, tracing.name, self.info.title) if one.flow.kind == wanted)

    def save(
        self,
        directory: str | Path,
        *,
        force: bool = False,
        layout: str = "layer,head,query,key",
        format: Literal["safetensors", "npz"] = "safetensors",
    ) -> Path:
        """Write maps, vectors and statistics to a folder that `attncli.open` reads; another run's only by `force`."""
        info = self.info
        name = digest(info.model, info.revision, info.input_sha256, {**info.resolved, "layout": layout})
        folder = OutputFolder(directory, "run", name, force)
        save_run(folder, self.inputs, self.maps, self.statistics, self.vectors, layout=layout, format=format)
        folder.finish(info)
        return folder.path


def open_saved(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    key_labels: str | Path | None = None,
    array: str | None = None,
    kind: Kind | None = None,
) -> Run:
    """Open a saved run, or read maps of other tools from an `.npz`, `.npy` or `.safetensors` file.

    labels, key_labels  files that name the tokens of such maps
    array, kind         which of several arrays, and what kind of attention it is
    """
    opened = collected.open_saved(path, labels=labels, key_labels=key_labels, array=array, kind=kind)
    return Run(**vars(opened))
