"""The results of a run: measure, draw, save and open them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from attncli.api.lazy_run import LazyRun
from attncli.arguments import check_fields, checks_arguments
from attncli.data import Attention, Direction, Edges, Kind, Profile, RowsAs
from attncli.data.pair_weights import TokenName
from attncli.engine.execution import Execution
from attncli.engine.focus import FocusRequest, check_tokens, find_in_maps
from attncli.engine.kept_maps import check_weights
from attncli.engine.request import Request, RunOptions, zoom_of
from attncli.engine.study import ResultT, Study
from attncli.engine.windows import zoomed_text
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.partitions import as_spans
from attncli.store import OutputFolder, digest, save_run
from attncli.studies.attribute.result import Attribution
from attncli.studies.find.options import FindOptions
from attncli.studies.find.result import RankedHeads
from attncli.studies.find.study import FindStudy
from attncli.studies.flow.options import FlowOptions
from attncli.studies.flow.report import FlowResult, flow_results
from attncli.studies.flow.request import FlowArguments, FlowRequest
from attncli.studies.flow.study import FlowStudy
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadsResult
from attncli.studies.heads.study import HeadsStudy
from attncli.studies.heatmap.report import HeatmapArguments, PictureChoice, maps_per_layer, pictures, split_arguments
from attncli.studies.highlight.compute import highlights
from attncli.studies.highlight.page import HighlightPage
from attncli.studies.patterns.options import PatternsOptions, Thresholds
from attncli.studies.patterns.result import Patterns
from attncli.studies.patterns.study import PatternsStudy
from attncli.studies.segments.options import SegmentsOptions
from attncli.studies.segments.result import Segments
from attncli.studies.segments.study import SegmentsStudy
from attncli.studies.view.attributed import page_attribution
from attncli.studies.view.compute import make_page, page_budget, tables_of_edges
from attncli.studies.view.result import HEIGHT, Page
from attncli.vocabulary import ENDS, MAX_PAGE, RESOLUTION

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NamedSpans = Mapping[str, Sequence[Any]]


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Run(LazyRun):
    """Texts that a model reads, or a saved run, and the answers to questions about their attention.

    A run of `model.run(text)` holds encoded texts and keeps nothing until it is asked. Each new question costs one
    forward pass: `stats`, `edges`, `profile`, `patterns`, `heads`, `segments` and `study` compute their result while
    the model runs and keep no map; `attention`, `heatmap`, `view`, `highlight`, `rollout`, `flow` and `save` keep all
    maps, which then serve all later questions. If they would not fit into memory, an error says so before the pass.
    The weights must not change between `model.run` and a question: that is an error, so that no run mixes two models
    (changes of `parameter.data`, of hooks, and of buffers that are not saved, are not noticed).

    info, inputs     where the results come from; the texts with their tokens
    maps             the maps of all heads by text, then kind; kept when they are first read
    statistics, strongest, whole, vectors   what `metrics`, `top_k` or `min_weight`, `profile` and `neurons` asked
                     `model.run` for
    """

    def attention(self, kind: Kind | None = None, text: int = 0) -> Attention:
        """Return the maps of one kind and text; `kind` may be None if there is only one.

        Raise UsageError if there are no such maps.
        """
        by_kind = {attention.kind: attention for attention in self.maps if attention.text == text}
        if not by_kind:
            texts = sorted({attention.text for attention in self.maps})
            known = f"there are: {', '.join(map(str, texts))}" if texts else "no maps were kept"
            raise UsageError(f"there are no maps of text {text}; {known}")
        if kind is None and len(by_kind) > 1:
            raise UsageError(f"this run has several kinds of attention: say which of {', '.join(by_kind)}")
        if kind is not None and kind not in list(by_kind):
            raise UsageError(f"there are no maps of kind '{str(kind)[:60]}': {did_you_mean(str(kind), by_kind)}")
        return by_kind[next(iter(by_kind)) if kind is None else kind]

    def edges(self, top_k: int | None = None, min_weight: float | None = None) -> Edges:
        """Return the `top_k` largest weights of each row, or the weights of at least `min_weight`.

        With both options, weights that fulfil both. With neither, the edges that `model.run(text, top_k=5)` asked for.
        """
        if top_k is None and min_weight is None:
            if self.strongest is None:
                raise UsageError("expected top_k or min_weight, got neither: give at least one")
            return self.strongest
        strongest = self.extras(Request.of({"top_k": top_k, "min_weight": min_weight})).strongest
        return strongest or Edges.empty(self.inputs)

    def profile(self, ends: int | None = None, min_rows: float | None = None) -> Profile:
        """Return where attention goes over the whole texts: measured in the forward pass, else on the kept maps.

        ends      number of tokens of the first and of the last part of a text, 64 by default
        min_rows  fewest tokens that must see a key for it to be a sink: a number from 1 up, or a share of all tokens
                  below 1; by default 5 % of them, at least 5
        """
        if ends is None and min_rows is None and self.whole is not None:
            return self.whole
        options: RunOptions = {"profile": True, "ends": ENDS if ends is None else ends, "min_rows": min_rows}
        profile = self.extras(Request.of(options)).whole
        assert profile is not None  # the request asks for it
        return profile

    def patterns(self, thresholds: Thresholds | None = None) -> Patterns:
        """Return the classes of all heads and the numbers behind them, with their baselines.

        `model.patterns` has the baseline of shuffled tokens too.
        """
        options = PatternsOptions(**vars(thresholds or Thresholds()), shuffles=0)
        return self.study(PatternsStudy(options))[0]

    def study(self, study: Study[ResultT]) -> ResultT:
        """Return the result of a study of these texts: `run.study(HeadsStudy(HeadsOptions(clusters=4)))`.

        Kept maps of whole texts are read; otherwise the attention of one pass streams through the study.
        """
        check_fields(study.options, study.group)
        if self.reading is not None and self.streams:
            return study.run(self.reading.execution(study))[1]
        if not self.maps:
            raise UsageError(
                f"this run kept no maps: run the model with keep_maps=True, or use model.{study.name}, which needs none"
            )
        request = replace(Request.of({**study.run_options(), "by": self.maps[0].by}), any_axes=study.any_axes)
        study.check(request)
        return study.run(Execution(request, existing=self))[1]

    def heads(self, options: HeadsOptions | None = None) -> HeadsResult:
        """Return the distances between all heads, clusters, and the similarity of rows in each layer.

        options  how many clusters, and which pairs are redundant
        Needs `pip install "attncli[analyses]"`. `model.heads` compares hidden states too.
        """
        return self.study(HeadsStudy(replace(options or HeadsOptions(), shuffles=0)))

    def heatmap(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        kind: Kind | None = None,
        text: int = 0,
        log: bool | None = None,
        **options: Unpack[HeatmapArguments],
    ) -> Figure:
        """Return a picture of one head, of all heads of a layer, or of all layers x heads if nothing is selected.

        log      whether colours are logarithmic; by default if more than 256 tokens are on a side
        options  rows, keys, rows_as, resolution (1024 by default) and pool, as in `attncli.ZoomOptions`; figsize, dpi,
                 cmap, title and font, as in `attncli.PictureArguments`
        """
        zoom, look = split_arguments(options)
        maps = self.attention(kind, text)
        if layer is not None or head is not None:
            maps = maps.sel(layer=layer, head=head)
        single = layer is not None and head is not None
        choice = PictureChoice(grid=not single, each=single)
        maps = zoomed_text(maps, choice.fit(zoom_of({"resolution": RESOLUTION, **zoom}), [maps_per_layer(maps)]))
        return pictures(maps, choice)[0].draw(**self.info.captions(), log=log, look=look)

    def view(
        self, *, max_page: int | str = MAX_PAGE, height: int = HEIGHT, attribution: Attribution | None = None
    ) -> Page:
        """Return one page on which every head is explored: a notebook shows it, `.save("view.html")` writes it.

        max_page  largest size in bytes, or such as "32MB"; a page of longer texts has the strongest weights of each
                  row and a pooled map
        height    height of the page in a notebook, in pixels
        attribution  result of `model.attribute` for the same text by token, shown beside the attention
        """
        if not self.maps:
            raise UsageError("this run kept no maps to show: run the model with keep_maps=True")
        check_weights(self.maps)
        budget = page_budget(max_page, "max_page")
        edges = self.strongest
        tables = None if edges is None or edges.aggregate_layers != "none" else tables_of_edges(self.maps, edges)
        shown = None if attribution is None else page_attribution(attribution, self.inputs[0])
        return replace(make_page(self, budget, tables, attribution=shown), height=height)

    def segments(
        self,
        divide: str = "auto",
        spans: NamedSpans | Sequence[NamedSpans] | None = None,
        *,
        query: str | None = None,
        key: str | None = None,
        rows_as: RowsAs | None = None,
    ) -> Segments:
        """Return how much attention goes between the segments of the texts.

        divide      segment (pair, chat roles, generated tokens), paragraph, line, sentence, or auto
        spans       instead, the segments of the text or of each text: name → list of passages, `(start, end)` in
                    characters or `{"tokens": (start, end)}`
        query, key  only attention from this segment, to this segment; the heads that give most come first
        rows_as     input, or predicted: the rows that predict the tokens; by default predicted for generated and
                    assistant, else input
        """
        options = SegmentsOptions(rows_as=rows_as, divide=divide, query=query, key=key)
        return self.study(SegmentsStudy(options, None if spans is None else as_spans(spans)))[0]

    def find(
        self,
        query: TokenName,
        key: TokenName,
        *,
        spans: NamedSpans | Sequence[NamedSpans] | None = None,
        rows_as: RowsAs | None = None,
    ) -> RankedHeads:
        """Return all heads of the kept maps, ranked by their attention from some tokens to others.

        query, key  "it" (all its occurrences), "it#2", 7, -1, "14-21", "[CLS]", or a segment such as "generated"
        spans       segments that they can name, as for `segments`
        rows_as     input: the rows of the query tokens; predicted: the rows that predict them; None: predicted for
                    generated and assistant
        """
        options = FindOptions(rows_as, str(query), str(key))
        return self.study(FindStudy(options, None if spans is None else as_spans(spans)))[0]

    def highlight(
        self,
        focus: str | int,
        layer: int | None = None,
        head: int | None = None,
        *,
        direction: Direction = "from",
        rows_as: RowsAs | None = None,
        kind: Kind | None = None,
        text: int = 0,
    ) -> HighlightPage:
        """Return attention on the text itself, from some words or to them: the mean over all heads if none is chosen.

        focus      a word (all its occurrences), `it#2`, a position, `14-21`, `[CLS]`, a segment (`generated`) or `all`
        direction  from: attention from the focus; to: attention to it
        rows_as    input, or predicted: the rows that predict the tokens, the default for generated and assistant
        A notebook shows it; `.save("it.html")` writes it, `.html` is the page, `.figure()` a picture.
        """
        shown = self.attention(kind, text)
        check_weights([shown])
        if layer is None and head is None:
            shown = shown if shown.aggregate != "none" else shown.mean("head")
            shown = shown if shown.aggregate_layers != "none" else shown.mean("layer")
        else:
            shown = shown.sel(layer=layer, head=head)
        request = FocusRequest(str(focus), direction, rows_as=rows_as)
        find_in_maps([shown], [encoded for encoded in self.inputs if encoded.index == text], request)
        return HighlightPage(next(highlights([shown], self.inputs, request)), **self.info.captions())

    def rollout(self, kind: Kind | None = None, text: int = 0, **options: Unpack[FlowArguments]) -> FlowResult:
        """Return the share of each input token in each token at the top, layer by layer (attncli explain rollout).

        options  focus, residual, start_layer, aggregate and rows_as
        """
        return self._flow(FlowRequest.of("rollout", options), kind, text)

    def flow(self, kind: Kind | None = None, text: int = 0, **options: Unpack[FlowArguments]) -> FlowResult:
        """Return the maximum flow from each token at the top to each input token, with the options of `rollout`."""
        return self._flow(FlowRequest.of("flow", options), kind, text)

    def _flow(self, request: FlowRequest, kind: Kind | None, text: int) -> FlowResult:
        shown = self.attention(kind, text).kind
        check_tokens(shown)
        names = ("method", "focus", "residual", "start_layer", "rows_as")
        options = FlowOptions(**{name: getattr(request, name) for name in names})
        maps = tuple(attention for attention in self.maps if attention.text == text)
        inputs = tuple(encoded for encoded in self.inputs if encoded.index == text)
        flows = replace(self, maps=maps, inputs=inputs, reading=None).study(FlowStudy(options, request.aggregate))
        results = flow_results(flows, request.name, self.info)
        return next(result for result in results if result.flow.kind == shown)

    def save(
        self,
        directory: str | Path,
        *,
        force: bool = False,
        layout: str = "layer,head,query,key",
        format: Literal["safetensors", "npz"] = "safetensors",
    ) -> Path:
        """Write maps, vectors and statistics to a folder for `attncli.open`; `force` overwrites another run."""
        self.keep()
        info = self.info
        name = digest(info.model, info.revision, info.input_sha256, {**info.resolved, "layout": layout})
        folder = OutputFolder(directory, "run", name, force)
        saved = replace(self, statistics=self._lasting_statistics())
        save_run(folder, saved, layout=layout, format=format)
        folder.finish(info)
        return folder.path


open_saved = Run.open_saved
