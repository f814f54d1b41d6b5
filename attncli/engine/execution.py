"""The execution of a study: it provides attention from a forward pass or from kept maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from attncli.data import Attention, By, EdgesConsumer, Input, Kind, Selection, Text, Zoom
from attncli.data.cached import cached_property
from attncli.data.part_states import PartState
from attncli.engine.collected import Collected
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request
from attncli.errors import AttnError, ModelError, UsageError
from attncli.store.partial import PartialResults

if TYPE_CHECKING:  # a study of a saved run needs no torch
    from attncli.engine.passes import Pass
    from attncli.engine.runner import Runner
    from attncli.stream import Sink
    from attncli.stream.keep import LayerShares

T = TypeVar("T")
SinkT = TypeVar("SinkT", bound="Sink")


@dataclass(frozen=True)
class Source:
    """The texts and heads that a sink will see, and how their attention is combined.

    name        the model, or "this run" for kept maps
    inputs      the texts with the tokens that the sink receives
    heads       head numbers by kind and layer; one that stands for all if `aggregate` is weighted, as the sink then
                receives combined heads
    of_layers   weights of the layers in a mean over them; None for equal ones
    max_memory  bytes that may be kept, None for half of what is free
    """

    name: str
    inputs: Sequence[Input]
    heads: Selection
    aggregate: str = "none"
    aggregate_layers: str = "none"
    words: bool = False
    dropped_special: bool = False
    by: By = "weight"
    max_memory: int | None = None
    of_layers: LayerShares | None = None

    @classmethod
    def of_maps(cls, maps: Sequence[Attention], inputs: Sequence[Input]) -> Source:
        """Return the source of kept maps; a mean over layers is layer 0."""
        heads: dict[tuple[Kind, int], tuple[int, ...]] = {}
        for attention in maps:
            for layer in attention.layers:
                heads[attention.kind, layer.layer if isinstance(layer.layer, int) else 0] = layer.heads
        return cls("this run", inputs, heads, **_map_options(maps[0]))

    @classmethod
    def of_pass(cls, prepared: Pass) -> Source:
        """Return the source of a forward pass."""
        options = {**_map_options(prepared.request), "max_memory": prepared.request.max_memory}
        heads = prepared.heads
        if prepared.weights is not None:
            # imported here: a saved run needs no torch
            from attncli.stream.keep import ALL

            heads, options["of_layers"] = dict.fromkeys(heads, (ALL,)), prepared.weights.layers
        return cls(prepared.loaded.name, prepared.inputs, heads, **options)


def _map_options(options: Attention | Request) -> dict[str, Any]:
    names = ("aggregate", "aggregate_layers", "words", "dropped_special", "by")
    return {name: getattr(options, name) for name in names}


def unchanged(value: T) -> T:
    """Return a run or maps as they are."""
    return value


@dataclass(eq=False)
class Execution:
    """One execution of a study.

    existing    kept maps that are used instead of a forward pass
    load        loads the model; None if there is only a saved run
    ready       a pass over encoded texts, which is then used instead of encoding `texts`
    arguments   arguments that the model is loaded with
    save_maps   whether all maps are kept
    finish      completes a run: adds the options of the command, saves maps
    draws       whether the result is drawn, so that example maps are worth a forward pass
    edges_file  opens the consumer of the strongest edges; without one they stay in the run
    first       number of the first text
    numbers     numbers of the texts, where those between are left out; else they count from `first`
    leave_out   receives the error of a text of a corpus that cannot be analysed, and its position: it raises an error,
                unless such texts are left out; None without a corpus
    places      where each text of a corpus stands: `corpus/a.jsonl, line 12`
    side        number of the corpus, if two are read
    partial     keeps results as they come, so that the same command continues after an interruption
    """

    request: Request
    texts: Sequence[Text] = ()
    existing: Collected | None = None
    load: Callable[[], Runner] | None = None
    ready: Pass | None = None
    track: Track = untracked
    arguments: Mapping[str, Any] = field(default_factory=dict)
    save_maps: bool = False
    draws: bool = False
    finish: Callable[[Collected], Collected] = unchanged
    edges_file: Callable[[], AbstractContextManager[EdgesConsumer | None]] = nullcontext
    first: int = 0
    numbers: Sequence[int] = ()
    leave_out: Callable[[AttnError, int], None] | None = None
    places: Sequence[str] = ()
    side: int = 0
    partial: PartialResults = field(default_factory=PartialResults)

    @cached_property
    def runner(self) -> Runner:
        """The loaded model; UsageError if there is only a saved run."""
        if self.load is None:
            raise UsageError("a saved run has no model: run the study on a model and a text")
        return self.load()

    @property
    def has_model(self) -> bool:
        return self.load is not None

    @property
    def given_texts(self) -> list[Text]:
        """The texts as the user gave them, or those of the saved run."""
        return [text.text for text in self.existing.inputs] if self.existing else list(self.texts)

    @property
    def text_numbers(self) -> Sequence[int]:
        """The number of each text."""
        return self.numbers or range(self.first, self.first + len(self.texts))

    @contextmanager
    def errors_named(self, position: int) -> Iterator[None]:
        """Name the text at a position in errors inside the `with` block, if there are several; see `leave_out`."""
        try:
            yield
        except (UsageError, ModelError) as error:
            if self.leave_out is not None:
                self.leave_out(error, position)
            elif len(self.texts) == 1:
                raise
            else:
                raise type(error)(f"text {position}: {error}") from error

    @property
    def keeps_all_maps(self) -> bool:
        return self.existing is not None or self.save_maps

    @cached_property
    def prepared(self) -> Pass:
        """The forward pass over the texts, before it runs."""
        return self._prepare(replace(self.request, keep_maps=self.save_maps), self.track)

    def _prepare(self, request: Request, track: Track, in_order: bool = False) -> Pass:
        """Return the pass over the texts with the options of a request."""
        if (ready := self.ready) is not None:
            return type(ready).prepare(ready.loaded, ready.plan, ready.batches, request)
        return self.runner.prepare(self.texts, request, track, in_order, first=self.first)

    def stream(
        self,
        make_sink: Callable[[Source], SinkT],
        adapt: Callable[[Sequence[Attention]], Sequence[Attention]] = unchanged,
        more: Sequence[Sink] = (),
    ) -> tuple[Collected, SinkT]:
        """Feed all attention to a sink once; return the run and the sink.

        adapt  changes kept maps before they are fed
        more   further sinks of a forward pass, if there is one
        """
        if self.existing is not None:
            # imported here: the help of the command line needs no torch
            from attncli.stream.replay import replay

            run = self.gather()
            maps = adapt(run.maps)
            sink = make_sink(replace(Source.of_maps(maps, run.inputs), max_memory=self.request.max_memory))
            for attention in maps:
                replay(attention, [sink])
            return run, sink
        sink = make_sink(Source.of_pass(self.prepared))
        if self.save_maps:
            self.prepared.check_memory(at_once=True)
        return self.run_pass(self.prepared, [self.prepared.combined(sink), *more]), sink

    def run_pass(self, prepared: Pass, sinks: Sequence[Sink] = ()) -> Collected:
        """Run a prepared pass over the texts and return its completed run; the sinks see the same attention."""
        return self.finish(prepared.gather(self.track, more=sinks, texts=self.texts))

    def reduce(self) -> tuple[Collected, PartState]:
        """Return the run without results, and the sums of its metrics over the texts (see `merged_statistics`)."""
        request = replace(self.request, zoom=Zoom(), focus=None, keep_maps=False, named_as=self.request.rows_named_as)
        return self._prepare(request, self.track).reduce(self.track, self.texts)

    def gather(self, check: Callable[[Collected], object] = unchanged) -> Collected:
        """Return everything that the request asks for as one run; its maps, if any, are full maps.

        check  raises an error if the run cannot be used, before anything of it is saved
        """
        keep_maps = self.request.keep_maps or self.save_maps
        named_as = self.request.rows_named_as
        request = replace(self.request, zoom=Zoom(), focus=None, keep_maps=keep_maps, named_as=named_as)
        with self.edges_file() if request.edges else nullcontext() as take:
            if self.existing is None:
                run = self._prepare(request, self.track).collect(self.texts, self.track, take)
            else:
                info = self.existing.info
                run = self.existing.reshaped(request, f"the {'maps' if info.cls == 'file' else 'run'} of {info.model}")
                if self.has_model and not request.neurons:
                    run = replace(run, vectors=())
                if request.metrics:
                    run = replace(run, statistics=run.measured(request))
                run = run.with_extras(request, take) if request.extras else run
        check(run)
        return self.finish(run)

    def batches(self, request: Request, track: Track = untracked) -> Iterator[Collected]:
        """Yield the maps that a request asks for as one run per batch, so that few are in memory."""
        yield from map(self.finish, self._prepare(request, track, in_order=True).runs(self.texts, track))

    def shuffled(self, seeds: int, make_sink: Callable[[Source], SinkT], more: Sequence[Sink] = ()) -> SinkT | None:
        """Return a sink that has seen the texts with shuffled tokens for seeds 0, 1, …; None without seeds or model.

        more  further sinks of these passes
        """
        if not seeds or not self.has_model:
            return None
        from attncli.engine.shuffled import shuffled_passes

        sink = make_sink(Source.of_pass(self.prepared))
        for shuffled_pass in shuffled_passes(self.prepared, seeds):
            shuffled_pass.gather(self.track, more=[shuffled_pass.combined(sink), *more])
        return sink

    def maps_of(self, text: int, heads: Selection, zoom: Zoom) -> list[Attention]:
        """Return the maps of some heads on one text, pooled to what a picture shows, by one more forward pass."""
        request = replace(self.request, zoom=zoom, keep_maps=True)
        prepared = replace(self.runner.prepare([self.texts[text]], request, first=self.first + text), heads=heads)
        prepared.check_memory(at_once=True)
        return list(prepared.gather().maps)
