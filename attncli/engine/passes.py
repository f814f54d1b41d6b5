"""One forward pass over encoded texts: choose heads, check memory, run, and collect the results of the sinks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from attncli.capturing import CapturePlan, layer_bytes
from attncli.capturing import run as run_pass
from attncli.data import Attention, Edges, EdgesConsumer, Input, Kind, Profile, Rows, Selection, Statistics, Vectors
from attncli.data.selection import format_ranges, resolve
from attncli.engine.extras import ExtraSinks
from attncli.engine.focus import FocusMatches, find_in_inputs
from attncli.engine.measuring import measure_for
from attncli.engine.memory import check_layer_fits, map_bytes, maps_per_kind, memory_excess
from attncli.engine.progress import Advance, ProgressSink, Track, interleave_lengths, tokens_in, untracked
from attncli.engine.request import Request
from attncli.errors import ModelError, UsageError
from attncli.inputs.batches import Batch
from attncli.models import Loaded
from attncli.stream import KeepChosen, KeepMaps, PoolMaps, Sink
from attncli.stream.merging import MergedRows, merge_inputs
from attncli.stream.weights import NormRows, NormShares


@dataclass(frozen=True, eq=False)
class Pass:
    """A forward pass that is ready to run: a model, encoded texts, the options and the heads that they select."""

    loaded: Loaded
    plan: CapturePlan
    batches: tuple[Batch, ...]
    request: Request
    heads: Selection

    @classmethod
    def prepare(cls, loaded: Loaded, plan: CapturePlan, batches: Iterable[Batch], request: Request) -> Pass:
        """Return a pass with the selected heads.

        Raise UsageError if a layer or head does not exist, or if the attention of one layer does not fit into memory.
        """
        available = {(site.kind, site.layer): tuple(range(site.heads)) for site in plan.sites}
        heads = resolve(request.choice, available, loaded.name)
        if request.by == "norm":
            heads = _with_norms(heads, plan, loaded.name)
        prepared = cls(loaded, plan, tuple(batches), request, heads)
        for batch in prepared.batches:
            check_layer_fits(layer_bytes(plan, batch), plan.route, max(len(text.source) for text in batch.inputs))
        return prepared

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user about the texts and about layers that are left out."""
        refused = [f"{name} is left out: {reason}" for name, reason in self.plan.refused]
        focus_notes = self.matches.notes if self.matches else ()
        text_notes = (note for batch in self.batches for note in batch.notes)
        return tuple(dict.fromkeys([*refused, *self._norm_notes, *text_notes, *focus_notes]))

    @property
    def _norm_notes(self) -> list[str]:
        """Notes about selected layers that have no norms, if the request asks for norms."""
        if self.request.by == "weight":
            return []
        available = {(site.kind, site.layer): tuple(range(site.heads)) for site in self.plan.sites}
        chosen = resolve(self.request.choice, available, self.loaded.name)
        left_out: dict[tuple[Kind, str], list[int]] = {}
        for site in self.plan.sites:
            if site.no_norms and (site.kind, site.layer) in chosen:
                left_out.setdefault((site.kind, site.no_norms), []).append(site.layer)
        return [
            f"{kind} layers {format_ranges(layers)} are left out, as they have no norms: {reason}"
            for (kind, reason), layers in left_out.items()
        ]

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
        if self.matches is None:
            self._check_window()
        if problem := self.excess(at_once):
            raise UsageError(f"{problem}; {self._advice(at_once)}")

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
        sizes = self.vector_values.items()
        counts = [(text.sides(kind), *kind_sizes) for text in inputs for kind, kind_sizes in sizes]
        return 4 * sum(len(rows) * (query + heads) + len(keys) * key for (rows, keys), query, key, heads in counts)

    @cached_property
    def texts(self) -> list[tuple[Input, ...]]:
        """The texts of each batch as sinks see them: merged into words and without special tokens if requested."""
        return list(map(self._merged, self.batches))

    def _merged(self, batch: Batch) -> tuple[Input, ...]:
        return merge_inputs(batch.inputs, words=self.request.words, drop=self.request.drop)

    @property
    def inputs(self) -> list[Input]:
        """The texts of all batches in the order of the user."""
        return sorted((text for batch in self.texts for text in batch), key=lambda text: text.index)

    def _check_window(self) -> None:
        for text in self.inputs:
            try:
                for kind in self._kinds:
                    self.request.zoom.sides(*map(len, text.sides(kind)))
            except UsageError as error:
                if len(self.inputs) == 1:
                    raise
                raise UsageError(f"text {text.index}: {error}") from error

    @property
    def _kinds(self) -> set[Kind]:
        return {kind for kind, _ in self.heads}

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

    def run(self, batch: Batch, sinks: Sequence[Sink], advance: Advance) -> tuple[tuple[Input, ...], float]:
        """Run one batch through the model and the sinks.

        Return the texts as the sinks saw them, and the share of attention to dropped special tokens (NaN if none).
        """
        request, counter = self.request, ProgressSink(advance, batch, self.heads)
        norms, merged = request.by == "norm", None
        if request.words or request.drop:
            merged = MergedRows(_SinkGroup(sinks), batch.inputs, words=request.words, drop=request.drop, norms=norms)
            sinks = [merged]
        if norms:
            sinks = [NormRows(_SinkGroup(sinks))]
        run_pass(self.loaded, self.plan, batch, [*sinks, counter], self.heads)
        return (batch.inputs, math.nan) if merged is None else (merged.inputs, merged.removed_mass)

    def maps(self, track: Track = untracked) -> Iterator[Gathered]:
        """Yield the maps of one batch after another, so that few are in memory; notes cover the batches so far."""
        removed: list[float] = []
        with self._tracked(track) as advance:
            for batch in self.batches:
                keep = self._keep(batch)
                inputs, share = self.run(batch, [keep], advance)
                removed.append(share)
                yield Gathered(inputs, self._with_options(keep.result(inputs)), None, _dropped_note(removed))

    def gather(
        self, track: Track = untracked, take: EdgesConsumer | None = None, more: Sequence[Sink] = ()
    ) -> Gathered:
        """Return everything that the request asks for, from one pass over all texts.

        take  receives the strongest edges chunk by chunk; without it they are in the result
        more  further sinks that see the same attention; their results are not returned
        """
        request = self.request
        extras = ExtraSinks(request, self.inputs if request.extras else (), take, self.heads)
        measure = measure_for(request, self.heads) if request.metrics and not request.combined else None
        inputs: list[Input] = []
        maps: list[Attention] = []
        removed: list[float] = []
        with self._tracked(track) as advance:
            for batch in interleave_lengths(self.batches):
                keep = self._keep(batch) if request.keep_maps or (request.metrics and measure is None) else None
                measured = NormShares(measure) if measure is not None and request.by == "norm" else measure
                sinks = [sink for sink in (keep, measured, *extras.sinks, *more) if sink is not None]
                texts, share = self.run(batch, sinks, advance)
                inputs += texts
                removed.append(share)
                if keep is not None:
                    maps += self._with_options(keep.result(texts))
        inputs.sort(key=lambda text: text.index)
        maps.sort(key=lambda attention: attention.text)
        statistics = None if measure is None else replace(measure.result(inputs), by=request.by)
        extra = extras.result()
        notes = (*_dropped_note(removed), *extra.notes)
        return Gathered(tuple(inputs), tuple(maps), statistics, notes, extra.edges, extra.profile, extra.vectors)

    def _tracked(self, track: Track) -> AbstractContextManager[Advance]:
        return track("reading", sum(map(tokens_in, self.batches)), "tokens")

    def _keep(self, batch: Batch) -> KeepMaps:
        """Return the sink that keeps the maps of a batch: rows of the focus, pooled maps or full maps."""
        request = self.request
        combine: dict[str, Any] = {"aggregate": request.aggregate, "aggregate_layers": request.aggregate_layers}
        if request.focus is not None and self.matches is not None:
            side: Literal["query", "key"] = "query" if request.focus.direction == "from" else "key"
            return KeepChosen(side, self.matches.positions, self.heads, **combine)
        if any(
            request.zoom.changes(*map(len, text.sides(kind))) for text in self._merged(batch) for kind in self._kinds
        ):
            return PoolMaps(request.zoom, self.heads, **combine)
        return KeepMaps(self.heads, **combine)

    def _with_options(self, maps: Iterable[Attention]) -> tuple[Attention, ...]:
        options: dict[str, Any] = {name: getattr(self.request, name) for name in ("words", "by")}
        return tuple(replace(attention, dropped_special=self.request.drop, **options) for attention in maps)


@dataclass(frozen=True, eq=False)
class Gathered:
    """The results of one pass; texts and maps are in the order of the texts."""

    inputs: tuple[Input, ...]
    maps: tuple[Attention, ...]
    statistics: Statistics | None
    notes: tuple[str, ...]
    edges: Edges | None = None
    profile: Profile | None = None
    vectors: tuple[Vectors, ...] = ()


class _SinkGroup:
    """A sink that passes each block to several sinks."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def add(self, rows: Rows) -> None:
        for sink in self._sinks:
            sink.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        for sink in self._sinks:
            sink.end_layer(kind, layer)


def _with_norms(heads: Selection, plan: CapturePlan, model: str) -> Selection:
    """Return the heads of layers that have value-weighted norms; raise ModelError if no layer has."""
    no_norms = {(site.kind, site.layer): site.no_norms for site in plan.sites if site.no_norms}
    kept = {layer: numbers for layer, numbers in heads.items() if layer not in no_norms}
    if not kept:
        kind, layer = next(iter(heads))
        raise ModelError(
            f"{model} has no value-weighted norms here ({kind} layer {layer}: {no_norms[kind, layer]}): "
            "use --by weight (attncli explain value-weighted-norms)"
        )
    return kept


def _dropped_note(removed: Sequence[float]) -> tuple[str, ...]:
    shares = [share for share in removed if not math.isnan(share)]
    if not shares:
        return ()
    return (f"special tokens took {np.mean(shares):.0%} of the attention of the others; it is left out",)
