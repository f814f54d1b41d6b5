"""What a run brought: maps, statistics and where they come from; draw, measure, save and open it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from attncli.data import (
    Attention,
    Direction,
    Edges,
    Grouping,
    Input,
    Kind,
    Likeness,
    Patterns,
    Profile,
    RunInfo,
    Scores,
    Segments,
    Statistics,
    TakeEdges,
    Thresholds,
    Vectors,
)
from attncli.errors import UsageError, did_you_mean
from attncli.foreign import as_inputs, maps_info, read_maps
from attncli.pipeline.flow_result import FlowResult, results
from attncli.pipeline.highlights import HighlightPage, highlights
from attncli.pipeline.looking import Looking, kept_places
from attncli.pipeline.maps import check_weights, reshape
from attncli.pipeline.memory import parse_size
from attncli.pipeline.page import HEIGHT, MAX_PAGE, Page, page_of, tables_of
from attncli.pipeline.pictures import Show, fitted, pictures
from attncli.pipeline.request import ALL_METRICS, ENDS, RESOLUTION, Request, ZoomOptions, metric_names, zoom_of
from attncli.pipeline.tracing import FlowOptions, Tracing
from attncli.reading.spans import as_spans
from attncli.store import OutputFolder, digest, open_run, save_run
from attncli.transforms import zoomed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NamedSpans = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Run:
    """One run: texts as they were read, the maps that were kept, the statistics that were taken.

    maps        by text, then kind; empty where only statistics were asked for
    statistics  those of the same forward pass, None where they were not asked for
    strongest   in the same way the strongest edges, and
    whole       the profile of the texts; neither is saved, kept maps give both again
    vectors     query and key vectors by text, kind and layer, where they were asked for
    """

    info: RunInfo
    inputs: tuple[Input, ...]
    maps: tuple[Attention, ...] = ()
    statistics: Statistics | None = None
    strongest: Edges | None = None
    whole: Profile | None = None
    vectors: tuple[Vectors, ...] = ()

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

    def stats(self, metrics: Sequence[str] | str | None = None, per_query: bool = False) -> Statistics:
        """Every metric (or those named) for every head: those of the pass, else measured on the kept maps."""
        names = metric_names(ALL_METRICS if metrics is None else metrics)
        had = self.statistics
        if had is not None and _covers(had, names if metrics else (), per_query):
            return _only(had, names)
        if not self.maps:
            raise UsageError("this run kept neither maps nor these statistics: ask for them when running the model")
        # here and not above: drawing maps needs no torch
        from attncli.pipeline.measuring import measure_maps

        return measure_maps(self.maps, self.inputs, Request(metrics=names, per_query=per_query))

    def edges(self, top_k: int | None = None, min_weight: float | None = None) -> Edges:
        """Of each row the `top_k` largest weights, those from `min_weight` on, or what is both: of the kept maps.

        Without either, the edges of the pass: `model.run(text, top_k=5, keep_maps=False).edges()`.
        """
        if top_k is None and min_weight is None:
            if self.strongest is None:
                raise UsageError("say which edges: expected top_k or min_weight, got neither")
            return self.strongest
        found = self.with_beside(Request.of({"top_k": top_k, "min_weight": min_weight})).strongest
        return found or Edges.none(self.inputs)

    def profile(self, ends: int | None = None) -> Profile:
        """Where attention goes over the whole texts: that of the pass, else of the kept maps.

        ends  how many tokens the first and the last of a text are, 64 unless said otherwise
        """
        if ends is None and self.whole is not None:
            return self.whole
        found = self.with_beside(Request.of({"profile": True, "ends": ENDS if ends is None else ends})).whole
        assert found is not None  # it was asked for
        return found

    def with_beside(self, request: Request, take: TakeEdges | None = None) -> Run:
        """The same run with what a request wants beside metrics, found in the kept maps."""
        if not self.maps:
            raise UsageError("this run kept no maps to look at: ask for it when running the model")
        check_weights(self.maps)
        # here and not above: drawing maps needs no torch
        from attncli.pipeline.beside import found_in

        found = found_in(self.maps, self.inputs, request, take)
        info = replace(self.info, notes=(*self.info.notes, *found.notes))
        return replace(self, info=info, strongest=found.edges, whole=found.profile)

    def patterns(self, thresholds: Thresholds | None = None) -> Patterns:
        """What each head does, by the kept maps: its classes and the numbers behind them, beside their baselines.

        thresholds  from where on a head bears a class, as in `attncli.Thresholds`
        `model.patterns` has the baseline of shuffled tokens too.
        """
        if not self.maps:
            raise UsageError("this run kept no maps to look at: use model.patterns, which needs none")
        check_weights(self.maps)
        # here and not above: drawing maps needs no torch
        from attncli.pipeline.patterns import check_thresholds, patterns_in

        return patterns_in(self.maps, self.inputs, check_thresholds(thresholds or Thresholds()))

    def heads(self, grouping: Grouping | None = None) -> Likeness:
        """Which heads are alike, by the kept maps: distances, a map, clusters, and how alike the rows of a layer are.

        grouping  how many clusters, and which pairs are redundant, as in `attncli.Grouping`
        Needs `pip install "attncli[analyses]"`. `model.likeness` compares hidden states too, and keeps no maps.
        """
        if not self.maps:
            raise UsageError("this run kept no maps to look at: use model.likeness, which needs none")
        # here and not above: drawing maps needs no torch
        from attncli.pipeline.likeness import likeness_in

        return likeness_in(self.maps, self.inputs, grouping or Grouping())

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
        """How much attention goes between the segments of the texts, in the kept maps.

        by     segment (pair, chat roles, what the model wrote), paragraph, line, or auto
        spans  instead, of the text or of each: name → list of passages, `(start, end)` in characters or
               `{"tokens": (start, end)}`
        """
        if not self.maps:
            raise UsageError("this run kept no maps to look at: ask for them when running the model")
        check_weights(self.maps)
        # here and not above: drawing maps needs no torch
        from attncli.pipeline.segments import Dividing, segments_of

        return segments_of(self.maps, self.inputs, Dividing(by, None if spans is None else as_spans(spans)))[0]

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
        """Attention on the text itself, from some words or to them: the mean over all heads where none is chosen.

        focus      a word (all its places), `it#2`, the position of a token, `[CLS]`, or `all`
        direction  from: where the focus looks; to: what looks at it
        It shows itself in a notebook; `.save("it.html")` writes it, `.html` is the page, `.figure()` a picture.
        """
        shown = self.attention(kind, text)
        check_weights([shown])
        if layer is None and head is None:
            shown = shown if shown.aggregate != "none" else shown.mean("head")
            shown = shown if shown.aggregate_layers != "none" else shown.mean("layer")
        else:
            shown = shown.sel(layer=layer, head=head)
        looking = Looking(str(focus), direction)
        kept_places([shown], [one for one in self.inputs if one.index == text], looking)
        return HighlightPage(next(highlights([shown], self.inputs, looking)), self.info.title)

    def rollout(self, kind: Kind | None = None, text: int = 0, **options: Unpack[FlowOptions]) -> FlowResult:
        """How much of each input token is in each token at the top, folded layer by layer (attncli explain rollout).

        options  focus, residual, start_layer and aggregate, as in `attncli.FlowOptions`
        """
        return self._traced(Tracing.of("rollout", options), kind, text)

    def flow(self, kind: Kind | None = None, text: int = 0, **options: Unpack[FlowOptions]) -> FlowResult:
        """The maximum flow from each token at the top to each input token, with the options of `rollout`."""
        return self._traced(Tracing.of("flow", options), kind, text)

    def _traced(self, tracing: Tracing, kind: Kind | None, text: int) -> FlowResult:
        wanted = self.attention(kind, text).kind
        # here and not above: drawing maps needs no torch
        from attncli.pipeline.flows import of_maps

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
    """Open a saved run; or read maps made elsewhere from an `.npz`, `.npy` or `.safetensors` file.

    labels, key_labels  files that name the tokens of such maps; array: which of several; kind: what they are
    """
    if Path(path).is_dir() or not Path(path).suffix:
        _no_labels(labels, key_labels, array)
        saved = open_run(path)
        return Run(saved.info, saved.inputs, saved.attention, saved.statistics, vectors=saved.vectors)
    maps = read_maps(path, labels, key_labels, array=array, kind=kind)
    return Run(maps_info(path), as_inputs(maps), maps)


def reshaped(run: Run, request: Request, where: str) -> Run:
    """The same run with only the maps that were asked for, read and folded as asked for."""
    if not run.maps:
        raise UsageError(f"{where} kept no maps: run again with --save-maps")
    maps = reshape(run.maps, request, where)
    return replace(run, inputs=_inputs_of(run.inputs, maps), maps=maps, statistics=None)


def _inputs_of(inputs: Sequence[Input], maps: Sequence[Attention]) -> tuple[Input, ...]:
    """The texts with their tokens as the maps have them."""
    found = []
    for one in inputs:
        for attention in (attention for attention in maps if attention.text == one.index):
            if one.target is None or attention.kind == "encoder":
                one = replace(one, source=attention.queries)
            elif attention.kind == "decoder":
                one = replace(one, target=attention.queries)
            else:
                one = replace(one, source=attention.keys, target=attention.queries)
        found.append(one)
    return tuple(found)


def _covers(statistics: Statistics, names: Sequence[str], per_query: bool) -> bool:
    there = {*statistics.heads, *statistics.keys}
    return set(names) <= there and (bool(statistics.tokens or statistics.keys) or not per_query)


def _only(statistics: Statistics, names: Sequence[str]) -> Statistics:
    def picked(scores: Mapping[str, Scores]) -> dict[str, Scores]:
        return {name: scores[name] for name in names if name in scores}

    named = ("heads", "std", "tokens", "keys")
    tables: dict[str, Any] = {table: picked(getattr(statistics, table)) for table in named}
    return replace(statistics, **tables)


def _no_labels(*given: object) -> None:
    if any(value is not None for value in given):
        raise UsageError("--labels, --key-labels and --array go with a file of maps; a saved run has its own labels")
