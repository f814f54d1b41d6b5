"""One forward pass over encoded texts: choose heads, check memory, run, and collect the results of the sinks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from attncli.capturing import CapturePlan, Shadow, layer_bytes, shared_shadow, with_scales
from attncli.capturing import run as run_pass
from attncli.data import Attention, EdgesConsumer, Input, Kind, RunInfo, Selection, Text
from attncli.data.cached import cached_property
from attncli.data.head_weights import LayerWeights
from attncli.data.part_states import PartState
from attncli.data.selection import resolve
from attncli.engine.collected import Collected
from attncli.engine.compiling import EDITED, OWN_ATTENTION, with_compile
from attncli.engine.focus import FocusMatches, find_in_inputs
from attncli.engine.measuring import PassResults, extra_notes
from attncli.engine.memory import check_layer_fits, map_bytes, maps_per_kind, memory_excess
from attncli.engine.pass_notes import dropped_note, refused_notes, text_notes
from attncli.engine.progress import Advance, ProgressSink, Track, interleave_lengths, tokens_in, untracked
from attncli.engine.request import Request
from attncli.engine.token_axes import with_norms, with_token_axes
from attncli.engine.windows import located, name_rows
from attncli.errors import UsageError
from attncli.inputs.batches import Batch, with_words
from attncli.models import Loaded
from attncli.store import input_sha256
from attncli.stream import KeepChosen, KeepMaps, PoolMaps, Sink, SinkGroup
from attncli.stream.combine import PassCombined
from attncli.stream.keep import ALL
from attncli.stream.merging import MergedRows, merge_inputs
from attncli.stream.weights import NormRows


@dataclass(frozen=True, eq=False)
class Pass:
    """A forward pass that is ready to run: a model, encoded texts, the options and the heads that they select."""

    loaded: Loaded
    plan: CapturePlan
    batches: tuple[Batch, ...]
    request: Request
    heads: Selection
    layer_notes: tuple[str, ...] = ()

    @classmethod
    def prepare(cls, loaded: Loaded, plan: CapturePlan, batches: Iterable[Batch], request: Request) -> Pass:
        """Return a pass with the selected heads; raise UsageError if one does not exist or a layer does not fit."""
        batches = tuple(batches) if request.word_ids is None else with_words(batches, request.word_ids)
        inputs = [text for batch in batches for text in batch.inputs]
        plan = plan.for_texts(inputs)
        problem = EDITED if loaded.edits else "" if plan.compiles else OWN_ATTENTION
        request = with_compile(request, [text.text for text in inputs], str(loaded.device), problem)
        batches = tuple(with_scales(batch, plan.scales) for batch in batches)
        available = {(site.kind, site.layer): tuple(range(site.heads)) for site in plan.sites}
        heads: Selection
        heads, notes = with_token_axes(resolve(request.choice, available, loaded.name), request)
        if request.by == "norm":
            heads, left_out = with_norms(heads, plan, loaded.name)
            notes = (*notes, *left_out)
        prepared = cls(loaded, plan, batches, request, heads, notes)
        if request.head_weights is not None:
            request.head_weights.check_model(loaded.name, available)
            _ = prepared.weights  # all chosen heads have one
        sizes = ((layer_bytes(plan, batch), max(len(text.source) for text in batch.inputs)) for batch in batches)
        needed, longest = max(sizes, default=(0, 0))
        check_layer_fits(needed, plan.route, longest)
        return prepared

    @cached_property
    def weights(self) -> LayerWeights | None:
        """The weights by which heads are combined; None if they are not combined by weights."""
        return None if self.request.head_weights is None else self.request.head_weights.of(self.heads)

    def combined(self, sink: Sink) -> Sink:
        """Return a sink for single heads that passes combined heads on to `sink`, if they are combined by weights."""
        return sink if self.weights is None else PassCombined("weighted", self.heads, sink, self.weights)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user about weights, the part of the model that reads, left-out layers, and the texts."""
        focus_notes = self.matches.notes if self.matches else ()
        of_heads = self.weights.notes if self.weights else ()
        of_model = (*self.request.compile_notes, *self.loaded.notes, *self.plan.notes, *refused_notes(self.plan))
        of_texts = text_notes(self.batches, words=self.request.words and self.request.word_ids is None)
        return tuple(dict.fromkeys([*of_model, *self.layer_notes, *of_heads, *of_texts, *focus_notes]))

    @cached_property
    def matches(self) -> FocusMatches | None:
        """Occurrences of the focus if only its rows or columns are kept, else None; UsageError if there are none."""
        if self.request.focus is None:
            return None
        return find_in_inputs(self.inputs, maps_per_kind(self.heads, **self._combine), self.request.focus)

    @property
    def _combine(self) -> dict[str, bool]:
        return {"one_head": self.request.aggregate != "none", "one_layer": self.request.aggregate_layers != "none"}

    def check_memory(self, at_once: bool) -> None:
        """Raise UsageError with options that keep less, if the kept maps would exceed the allowed memory.

        at_once  whether the maps of all texts are in memory together, not those of one batch
        """
        self.check_window()
        if problem := self.excess(at_once):
            raise UsageError(f"{problem}; {self._advice(at_once)}")

    def check_window(self) -> None:
        """Raise UsageError if a text does not have the rows and keys that the request selects."""
        for text in self.inputs if self.matches is None else ():
            try:
                for kind in {kind for kind, _ in self.heads}:
                    located(self.request.zoom, text.sides(kind), kind).sides(*map(len, text.sides(kind)))
            except UsageError as error:
                several = len(self.inputs) > 1
                raise UsageError(f"text {text.index}: {error}" if several else str(error)) from error

    def excess(self, at_once: bool) -> str | None:
        """Return how much the kept maps exceed the allowed memory, in words; None if they fit (see `check_memory`)."""
        request = self.request
        if self.matches is not None:  # the rows of a focus are few
            return None
        groups = [self.inputs] if at_once else self.texts
        needed = max(
            map_bytes(texts, self.heads, **self._combine, zoom=request.zoom) + self._vector_bytes(texts)
            for texts in groups
        )
        return memory_excess(needed, request.max_memory, self._longest)

    @property
    def vector_values(self) -> dict[Kind, tuple[int, int, int]]:
        """For each kind: size of the query vectors of a token, size of its key vectors, and number of heads."""
        sizes: dict[Kind, tuple[int, int, int]] = {}
        for site in self.plan.sites:
            heads = self.heads.get((site.kind, site.layer), ())
            if site.route == "stream" and site.dim and site.kv_heads:
                key_heads = {head * site.kv_heads // site.heads for head in heads}
                query, key, count = sizes.get(site.kind, (0, 0, 0))
                sizes[site.kind] = query + len(heads) * site.dim, key + len(key_heads) * site.dim, count + len(heads)
        return sizes

    def _vector_bytes(self, inputs: Iterable[Input]) -> int:
        """Return the bytes of the float32 vectors of these texts; 0 if no vectors are kept."""
        if not self.request.neurons:
            return 0
        counts = [(text.sides(kind), *sizes) for text in inputs for kind, sizes in self.vector_values.items()]
        return 4 * sum(len(rows) * (query + heads) + len(keys) * key for (rows, keys), query, key, heads in counts)

    @cached_property
    def texts(self) -> list[tuple[Input, ...]]:
        """The texts of each batch as sinks see them: merged into words and without special tokens if requested."""
        return list(map(self._merged, self.batches))

    def _merged(self, batch: Batch) -> tuple[Input, ...]:
        return merge_inputs(batch.inputs, words=self.request.words, drop=self.request.dropped_special)

    @property
    def inputs(self) -> list[Input]:
        """The texts of all batches in the order of the user."""
        return sorted((text for batch in self.texts for text in batch), key=lambda text: text.index)

    @property
    def _longest(self) -> int:
        return max(len(text.source) for batch in self.batches for text in batch.inputs)

    def _advice(self, at_once: bool) -> str:
        request, flags = self.request, []
        if request.choice.layers is None:
            flags.append("--layer 0")
        if request.choice.heads is None and request.aggregate == "none":
            flags += ["--head 0", "--aggregate mean"]
        coarser = (request.zoom.resolution or 0) // 4
        flags.append(f"--resolution {coarser}" if 0 < coarser < self._longest else "--max-tokens 512")
        fewer_texts = " or fewer texts" if at_once and sum(len(batch.inputs) for batch in self.batches) > 1 else ""
        return f"keep less with {', '.join(flags)}{fewer_texts}, or allow more with --max-memory"

    def run(
        self, batch: Batch, sinks: Sequence[Sink], advance: Advance, shadow: Shadow | None
    ) -> tuple[tuple[Input, ...], float]:
        """Run one batch; return the texts that sinks saw, and the share of attention to dropped tokens (or NaN)."""
        counter, merged = ProgressSink(advance, batch, self.heads), None
        words, drop, norms = self.request.words, self.request.dropped_special, self.request.by == "norm"
        if words or drop:
            # vectors and states are those of all tokens: a sink of vectors drops special tokens by itself
            takes = ("takes_vectors", "takes_states")
            of_tokens = [sink for sink in sinks if any(getattr(sink, name, False) for name in takes)]
            others = [sink for sink in sinks if sink not in of_tokens]
            merged = MergedRows(SinkGroup(*others), batch.inputs, words=words, drop=drop, norms=norms)
            sinks = [merged, *of_tokens]
        if norms:
            sinks = [NormRows(SinkGroup(*sinks), scored=bool(self.request.metrics))]
        compiled = self.request.compile == "on"
        run_pass(self.loaded, self.plan, batch, [*sinks, counter], self.heads, shadow, compiled=compiled)
        return (batch.inputs, math.nan) if merged is None else (merged.inputs, merged.removed_mass)

    def info_of(self, texts: Sequence[Text]) -> RunInfo:
        """Return where the results of this pass over texts come from."""
        info = self.loaded.run_info(self.plan.route, self.plan.grouped_heads)
        resolved = self.request.resolved() | self.loaded.resolved_edits
        return replace(info, resolved=resolved, notes=self.notes, input_sha256=input_sha256(texts))

    def runs(self, texts: Sequence[Text], track: Track = untracked, more: Sequence[Sink] = ()) -> Iterator[Collected]:
        """Yield one run per batch, so that only the maps of one batch are in memory; `more` see the same attention."""
        self.check_memory(at_once=False)
        info, removed, shadow = self.info_of(texts), [], shared_shadow(self.loaded.model, len(self.batches))
        with track("reading", sum(map(tokens_in, self.batches)), "tokens") as advance:
            for batch in self.batches:
                keep = self._keep(batch)
                inputs, share = self.run(batch, [self.combined(keep), *more], advance, shadow)
                removed.append(share)
                run = Collected(info, inputs, tuple(self._with_options(keep.result(inputs), inputs)))
                yield run.with_notes(*self._dropped_note(removed))

    def collect(self, texts: Sequence[Text], track: Track = untracked, take: EdgesConsumer | None = None) -> Collected:
        """Return everything that the request asks for, as `gather` does; raise UsageError if its maps do not fit."""
        if self.request.keep_maps or self.request.measures_maps:
            self.check_memory(at_once=True)
        return self.gather(track, take, texts=texts)

    def gather(
        self,
        track: Track = untracked,
        take: EdgesConsumer | None = None,
        more: Sequence[Sink] = (),
        texts: Sequence[Text] = (),
    ) -> Collected:
        """Return everything that the request asks for as one run, from one pass over all texts.

        take   receives the strongest edges chunk by chunk; without it they are in the run
        more   further sinks that see the same attention; their results are not returned
        texts  the texts as they were given, for the description of the run
        """
        request, results = self.request, self._results(take)
        inputs: list[Input] = []
        maps: list[Attention] = []
        removed: list[float] = []
        for keep, batch_inputs, share in self._read([*results.sinks, *more], track):
            inputs += batch_inputs
            removed.append(share)
            if keep is not None:
                maps += self._with_options(keep.result(batch_inputs), batch_inputs)
        inputs.sort(key=lambda text: text.index)
        maps.sort(key=lambda attention: attention.text)
        parts = results.result(maps, inputs)
        notes = [*self._dropped_note(removed), *extra_notes(request, inputs, self.heads, parts.get("vectors", ()))]
        kept = tuple(maps) if request.keep_maps else ()
        return Collected(self.info_of(texts), tuple(inputs), kept, **parts).with_notes(*notes)

    def reduce(self, track: Track = untracked, texts: Sequence[Text] = ()) -> tuple[Collected, PartState]:
        """Return the run without results, and the sums of its metrics, to merge with those of other texts."""
        results = self._results()
        parts = [(inputs, share) for _, inputs, share in self._read(results.sinks, track)]
        inputs = sorted((text for batch_inputs, _ in parts for text in batch_inputs), key=lambda text: text.index)
        run = Collected(self.info_of(texts), tuple(inputs))
        return run.with_notes(*self._dropped_note([share for _, share in parts])), results.state()

    def _results(self, take: EdgesConsumer | None = None) -> PassResults:
        """Return the sinks of what the request asks for besides maps."""
        known = self.inputs if self.request.extras or self.request.special_tokens else ()
        return PassResults(self.request, known, self.heads, take, self.weights)

    def _read(self, sinks: Sequence[Sink], track: Track) -> Iterator[tuple[KeepMaps | None, tuple[Input, ...], float]]:
        """Run all batches; yield of each the sink of its maps, its texts, and the share of dropped tokens (or NaN)."""
        request, shadow = self.request, shared_shadow(self.loaded.model, len(self.batches))
        with track("reading", sum(map(tokens_in, self.batches)), "tokens") as advance:
            for batch in interleave_lengths(self.batches):
                keep = self._keep(batch) if request.keep_maps or request.measures_maps else None
                all_sinks = [*([] if keep is None else [self.combined(keep)]), *sinks]
                yield keep, *self.run(batch, all_sinks, advance, shadow)

    def _keep(self, batch: Batch) -> KeepMaps:
        """Return the sink that keeps the maps of a batch: rows of the focus, pooled maps or full maps."""
        request = self.request
        combine: dict[str, Any] = {"aggregate": request.aggregate, "aggregate_layers": request.aggregate_layers}
        heads = self.heads
        if self.weights is not None:  # the heads are combined before they are kept
            heads, combine = dict.fromkeys(heads, (ALL,)), {**combine, "of_layers": self.weights.layers}
        if request.focus is not None and self.matches is not None:
            side: Literal["query", "key"] = "query" if request.focus.direction == "from" else "key"
            return KeepChosen(side, self.matches.rows, heads, **combine)
        texts = [(text, kind) for text in self._merged(batch) for kind in {kind for kind, _ in self.heads}]
        parts = {(text.index, kind): located(self.request.zoom, text.sides(kind), kind) for text, kind in texts}
        if any(parts[text.index, kind].changes(*map(len, text.sides(kind))) for text, kind in texts):
            return PoolMaps(request.zoom, heads, **combine, parts=parts)
        return KeepMaps(heads, **combine)

    def _dropped_note(self, removed: Sequence[float]) -> tuple[str, ...]:
        """Return the note on dropped special tokens, if they are dropped; `removed`: for each batch."""
        return dropped_note(self.batches, removed) if self.request.dropped_special else ()

    def _with_options(self, maps: Iterable[Attention], inputs: Iterable[Input]) -> Iterator[Attention]:
        words, dropped, by = self.request.words, self.request.dropped_special, self.request.by
        texts = {text.index: text for text in inputs}
        for attention in maps:
            text, kind = texts[attention.text], attention.kind
            named = name_rows(attention, text.sides(kind)[0], located(self.request.zoom, text.sides(kind), kind))
            yield replace(named, words=words, dropped_special=dropped, by=by)
