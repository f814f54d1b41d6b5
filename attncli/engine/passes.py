"""One pass over texts: encode, choose, make sure that it fits, run, and hand on what the sinks hold."""

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
from attncli.stream.norms import NormRows, NormShares


@dataclass(frozen=True, eq=False)
class Pass:
    """A model, the encoded texts and what is wanted of them, held against what there is."""

    loaded: Loaded
    plan: CapturePlan
    batches: tuple[Batch, ...]
    request: Request
    heads: Selection

    @classmethod
    def prepare(cls, loaded: Loaded, plan: CapturePlan, batches: Iterable[Batch], request: Request) -> Pass:
        """Choose the heads; what does not exist, or what a layer has no room for, is a `UsageError`."""
        available = {(site.kind, site.layer): tuple(range(site.heads)) for site in plan.sites}
        heads = resolve(request.choice, available, loaded.name)
        if request.by == "norm":
            heads = _with_norms(heads, plan, loaded.name)
        made = cls(loaded, plan, tuple(batches), request, heads)
        for batch in made.batches:
            check_layer_fits(layer_bytes(plan, batch), plan.route, max(len(one.source) for one in batch.inputs))
        return made

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the texts and the layers that are left out."""
        refused = [f"{name} is left out: {reason}" for name, reason in self.plan.refused]
        looked = self.matches.notes if self.matches else ()
        of_texts = (note for batch in self.batches for note in batch.notes)
        return tuple(dict.fromkeys([*refused, *self._without_norms, *of_texts, *looked]))

    @property
    def _without_norms(self) -> list[str]:
        """Which chosen layers have no norms, where these are wanted."""
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
        """Where the focus is, where only its rows or columns are wanted; one that is nowhere is a `UsageError`."""
        if self.request.focus is None:
            return None
        return find_in_inputs(self.inputs, maps_per_kind(self.heads, **self._combine), self.request.focus)

    @property
    def _combine(self) -> dict[str, bool]:
        return {"one_head": self.request.aggregate != "none", "one_layer": self.request.aggregate_layers != "none"}

    def check_memory(self, at_once: bool) -> None:
        """Refuse what would not fit, as `memory_excess` tells it, with the flags that would make it fit."""
        if self.matches is None:
            self._check_window()
        if told := self.excess(at_once):
            raise UsageError(f"{told}; {self._advice(at_once)}")

    def excess(self, at_once: bool) -> str | None:
        """What would not fit; `at_once`: the maps of all texts are kept, not those of one batch at a time."""
        request = self.request
        if self.matches is not None:  # they are few
            return None
        parts = [self.inputs] if at_once else self.texts
        needed = max(
            map_bytes(part, self.heads, **self._combine, zoom=request.zoom) + self._vector_bytes(part) for part in parts
        )
        return memory_excess(needed, request.max_memory, self._longest)

    @property
    def vector_values(self) -> dict[Kind, tuple[int, int, int]]:
        """For each kind: numbers in the query vectors of a token, in its key vectors, and how many heads that is."""
        found: dict[Kind, tuple[int, int, int]] = {}
        for site in self.plan.sites:
            heads = self.heads.get((site.kind, site.layer), ())
            if site.route == "stream" and site.dim and site.kv_heads:
                shared = {head * site.kv_heads // site.heads for head in heads}
                query, key, count = found.get(site.kind, (0, 0, 0))
                found[site.kind] = query + len(heads) * site.dim, key + len(shared) * site.dim, count + len(heads)
        return found

    def _vector_bytes(self, inputs: Iterable[Input]) -> int:
        """What the vectors of these texts take in float32, where they are wanted."""
        if not self.request.neurons:
            return 0
        values = self.vector_values.items()
        counts = [(one.sides(kind), *each) for one in inputs for kind, each in values]
        return 4 * sum(len(rows) * (query + heads) + len(keys) * key for (rows, keys), query, key, heads in counts)

    @cached_property
    def texts(self) -> list[tuple[Input, ...]]:
        """The texts of each batch as sinks see them: by words, without special tokens, where that is asked for."""
        return list(map(self._read, self.batches))

    def _read(self, batch: Batch) -> tuple[Input, ...]:
        return merge_inputs(batch.inputs, words=self.request.words, drop=self.request.drop)

    @property
    def inputs(self) -> list[Input]:
        """All of them, in the order in which they were given."""
        return sorted((one for part in self.texts for one in part), key=lambda one: one.index)

    def _check_window(self) -> None:
        texts = self.inputs
        for one in texts:
            try:
                for kind in self._kinds:
                    self.request.zoom.sides(*map(len, one.sides(kind)))
            except UsageError as error:
                if len(texts) == 1:
                    raise
                raise UsageError(f"text {one.index}: {error}") from error

    @property
    def _kinds(self) -> set[Kind]:
        return {kind for kind, _ in self.heads}

    @property
    def _longest(self) -> int:
        return max(len(one.source) for batch in self.batches for one in batch.inputs)

    def _advice(self, at_once: bool) -> str:
        request, flags = self.request, []
        if request.choice.layers is None:
            flags.append("--layer 0")
        if request.choice.heads is None and request.aggregate == "none":
            flags += ["--head 0", "--aggregate mean"]
        fewer = (request.zoom.resolution or 0) // 4
        flags.append(f"--resolution {fewer}" if 0 < fewer < self._longest else "--max-tokens 512")
        tail = " or fewer texts" if at_once and sum(len(batch.inputs) for batch in self.batches) > 1 else ""
        return f"keep less with {', '.join(flags)}{tail}, or allow more with --max-memory"

    def run(self, batch: Batch, sinks: Sequence[Sink], advance: Advance) -> tuple[tuple[Input, ...], float]:
        """One forward pass; returns the texts as the sinks saw them, and the share of attention that was dropped."""
        request, counter = self.request, ProgressSink(advance, batch, self.heads)
        norms, inputs, reader = request.by == "norm", batch.inputs, None
        if request.words or request.drop:
            reader = MergedRows(_Several(sinks), inputs, words=request.words, drop=request.drop, norms=norms)
            sinks = [reader]
        if norms:
            sinks = [NormRows(_Several(sinks))]
        run_pass(self.loaded, self.plan, batch, [*sinks, counter], self.heads)
        return (inputs, math.nan) if reader is None else (reader.inputs, reader.removed_mass)

    def maps(self, track: Track = untracked) -> Iterator[Gathered]:
        """The maps batch by batch, none of them held here; notes are on the batches so far."""
        removed: list[float] = []
        with self._tracked(track) as advance:
            for batch in self.batches:
                keep = self._keep(batch)
                inputs, share = self.run(batch, [keep], advance)
                removed.append(share)
                yield Gathered(inputs, self._marked(keep.result(inputs)), None, _dropped_note(removed))

    def gather(
        self, track: Track = untracked, take: EdgesConsumer | None = None, more: Sequence[Sink] = ()
    ) -> Gathered:
        """Everything that is wanted of all texts in one pass; `take` gets the edges chunk by chunk.

        more  sinks that see the same stream, and whose results are their owner's
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
                read, share = self.run(batch, sinks, advance)
                inputs += read
                removed.append(share)
                if keep is not None:
                    maps += self._marked(keep.result(read))
        inputs.sort(key=lambda one: one.index)
        maps.sort(key=lambda attention: attention.text)
        statistics = None if measure is None else replace(measure.result(inputs), by=request.by)
        found = extras.result()
        notes = (*_dropped_note(removed), *found.notes)
        return Gathered(tuple(inputs), tuple(maps), statistics, notes, found.edges, found.profile, found.vectors)

    def _tracked(self, track: Track) -> AbstractContextManager[Advance]:
        return track("reading", sum(map(tokens_in, self.batches)), "tokens")

    def _keep(self, batch: Batch) -> KeepMaps:
        """The sink for the maps of a batch: whole ones, where all of them are shown token by token."""
        request = self.request
        combine: dict[str, Any] = {"aggregate": request.aggregate, "aggregate_layers": request.aggregate_layers}
        if request.focus is not None and self.matches is not None:
            side: Literal["query", "key"] = "query" if request.focus.direction == "from" else "key"
            return KeepChosen(side, self.matches.positions, self.heads, **combine)
        if any(request.zoom.changes(*map(len, one.sides(kind))) for one in self._read(batch) for kind in self._kinds):
            return PoolMaps(request.zoom, self.heads, **combine)
        return KeepMaps(self.heads, **combine)

    def _marked(self, maps: Iterable[Attention]) -> tuple[Attention, ...]:
        marks: dict[str, Any] = {name: getattr(self.request, name) for name in ("words", "by")}
        return tuple(replace(attention, dropped_special=self.request.drop, **marks) for attention in maps)


@dataclass(frozen=True, eq=False)
class Gathered:
    """What one pass brought: texts and maps in the order of the texts."""

    inputs: tuple[Input, ...]
    maps: tuple[Attention, ...]
    statistics: Statistics | None
    notes: tuple[str, ...]
    edges: Edges | None = None
    profile: Profile | None = None
    vectors: tuple[Vectors, ...] = ()


class _Several:
    """Hands each block to several sinks."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def add(self, rows: Rows) -> None:
        for sink in self._sinks:
            sink.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        for sink in self._sinks:
            sink.end_layer(kind, layer)


def _with_norms(heads: Selection, plan: CapturePlan, model: str) -> Selection:
    """The heads whose norms of weighted values are to be had; where there are none, a `ModelError`."""
    lacking = {(site.kind, site.layer): site.no_norms for site in plan.sites if site.no_norms}
    left = {place: numbers for place, numbers in heads.items() if place not in lacking}
    if not left:
        kind, layer = next(iter(heads))
        raise ModelError(
            f"{model} has no value-weighted norms here ({kind} layer {layer}: {lacking[kind, layer]}): "
            "use --by weight (attncli explain value-weighted-norms)"
        )
    return left


def _dropped_note(removed: Sequence[float]) -> tuple[str, ...]:
    shares = [share for share in removed if not math.isnan(share)]
    if not shares:
        return ()
    return (f"special tokens took {np.mean(shares):.0%} of the attention of the others; it is left out",)
