"""Extra results of a pass: the strongest edges, the profile of whole texts, and query and key vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attncli.data import KINDS, Attention, Edges, EdgesConsumer, Input, Profile, Selection, Vectors
from attncli.data.selection import format_ranges, layers_of
from attncli.engine.request import Request
from attncli.stream import KeepVectors, MeasureProfile, Sink, StrongestEdges
from attncli.stream.replay import replay


@dataclass(frozen=True, eq=False)
class Extras:
    """The extra results; None or empty if not requested.

    edges  also None if a consumer received the edges chunk by chunk
    """

    edges: Edges | None = None
    profile: Profile | None = None
    vectors: tuple[Vectors, ...] = ()
    notes: tuple[str, ...] = ()


class ExtraSinks:
    """The sinks that measure the extra results of a request.

    inputs  all texts, with the tokens of the maps
    take    function that receives the edges chunk by chunk; None: they stay in memory
    """

    def __init__(
        self,
        request: Request,
        inputs: Sequence[Input],
        take: EdgesConsumer | None = None,
        heads: Selection | None = None,
    ) -> None:
        self._notes = _short_text_notes(request, inputs)
        self._edges = None
        if request.edges:
            top_k, min_weight = request.top_k, request.min_weight
            self._edges = StrongestEdges(inputs, take, top_k=top_k, min_weight=min_weight, heads=heads)
        self._profiles = MeasureProfile(inputs, ends=request.ends, heads=heads) if request.profile else None
        self._vectors = KeepVectors(heads) if request.neurons else None
        self._heads = heads or {}

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The sinks that need the attention."""
        return tuple(sink for sink in (self._edges, self._profiles, self._vectors) if sink is not None)

    def result(self) -> Extras:
        """Return the results of all sinks, once they have seen all attention."""
        edges = None if self._edges is None else self._edges.result()
        profile = None if self._profiles is None else self._profiles.result()
        if self._vectors is None:
            return Extras(edges, profile, notes=self._notes)
        vectors = self._vectors.result()
        return Extras(edges, profile, vectors, (*self._notes, *_no_vectors_notes(self._heads, vectors)))


def extras_of_maps(
    maps: Sequence[Attention], inputs: Sequence[Input], request: Request, take: EdgesConsumer | None = None
) -> Extras:
    """Return the extra results, measured on kept maps."""
    extras = ExtraSinks(request, inputs, take)
    if extras.sinks:
        for attention in maps:
            replay(attention, extras.sinks)
    return extras.result()


def _short_text_notes(request: Request, inputs: Sequence[Input]) -> tuple[str, ...]:
    """Return notes if a text has too few tokens for the options."""
    if not request.extras:
        return ()
    fewest = min(min(len(text.source), len(text.target or text.source)) for text in inputs)
    notes = []
    if request.top_k is not None and request.top_k > fewest:
        notes.append(f"--top-k {request.top_k} is more than the {fewest} tokens of a text: all visible keys are taken")
    if request.profile and request.ends >= fewest:
        notes.append(f"--ends {request.ends} is all of a text of {fewest} tokens, so ends have no value: give less")
    return tuple(notes)


def _no_vectors_notes(heads: Selection, vectors: Sequence[Vectors]) -> list[str]:
    """Return notes on layers without vectors: those whose weights the model computes itself."""
    missing = dict.fromkeys(heads.keys() - {(part.kind, part.layer) for part in vectors}, ())
    return [
        f"{kind} layers {format_ranges(layers_of(missing, kind))} have no query and key vectors: "
        "their weights are the model's own (attncli info says why)"
        for kind in KINDS
        if layers_of(missing, kind)
    ]
