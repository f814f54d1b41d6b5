"""The results of a forward pass or of a saved run: texts, maps, statistics and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attncli.data import (
    Attention,
    Edges,
    EdgesConsumer,
    Input,
    Kind,
    Profile,
    RunInfo,
    Scores,
    Statistics,
    Vectors,
)
from attncli.engine.kept_maps import check_weights, reshape
from attncli.engine.request import Request, metric_names
from attncli.errors import UsageError
from attncli.store import open_run
from attncli.store.foreign import as_inputs, maps_info, read_maps
from attncli.vocabulary import ALL_METRICS


@dataclass(frozen=True, eq=False)
class Collected:
    """The results of one forward pass, or of a saved run.

    info        where the results come from
    inputs      the texts with their tokens
    maps        the kept maps by text, then kind; empty if only statistics were requested
    statistics  the statistics of the same forward pass, None if they were not requested
    strongest   the strongest edges of the same pass; not saved, can be computed from kept maps
    whole       the profile over whole texts; not saved, can be computed from kept maps
    vectors     query and key vectors by text, kind and layer, if they were requested
    """

    info: RunInfo
    inputs: tuple[Input, ...]
    maps: tuple[Attention, ...] = ()
    statistics: Statistics | None = None
    strongest: Edges | None = None
    whole: Profile | None = None
    vectors: tuple[Vectors, ...] = ()

    @property
    def mean_note(self) -> str:
        """The note for a picture of means over texts; empty for one text."""
        return f"mean over {len(self.inputs)} texts" if len(self.inputs) > 1 else ""

    def text_note(self, text: int) -> str:
        """Return the note for a picture of one of several texts; empty if there is only one text."""
        return f"text {text + 1} of {len(self.inputs)}" if len(self.inputs) > 1 else ""

    def text_prefix(self, text: int) -> str:
        """Return the prefix of file names of one of several texts: `T003-`; empty if there is only one text."""
        return f"T{text:03}-" if len(self.inputs) > 1 else ""

    def with_notes(self, *notes: str) -> Collected:
        """Return the same results with further notes."""
        return replace(self, info=replace(self.info, notes=(*self.info.notes, *notes)))

    def stats(self, metrics: Sequence[str] | str | None = None, per_query: bool = False) -> Statistics:
        """Return every metric (or the named ones) of every head, from the pass or else from the kept maps.

        Raise UsageError if there are neither maps nor these statistics.
        """
        names = metric_names(ALL_METRICS if metrics is None else metrics)
        measured = self.statistics
        if measured is not None and _covers(measured, names if metrics else (), per_query):
            return _select_metrics(measured, names)
        if not self.maps:
            raise UsageError(
                "this run kept neither maps nor these statistics: run the model with keep_maps=True or these metrics"
            )
        # imported here: drawing maps needs no torch
        from attncli.engine.measuring import measure_maps

        return measure_maps(self.maps, self.inputs, Request(metrics=names, per_query=per_query))

    def with_extras(self, request: Request, take: EdgesConsumer | None = None) -> Collected:
        """Return the same results with the edges and the profile of a request, computed from the kept maps.

        take  function that receives the edges chunk by chunk; None: they stay in memory
        """
        if not self.maps:
            raise UsageError(
                "this run kept no maps: run the model with keep_maps=True, or request this when running it"
            )
        check_weights(self.maps)
        # imported here: drawing maps needs no torch
        from attncli.engine.extras import extras_of_maps

        extras = extras_of_maps(self.maps, self.inputs, request, take)
        return replace(self.with_notes(*extras.notes), strongest=extras.edges, whole=extras.profile)

    def reshaped(self, request: Request, where: str) -> Collected:
        """Return the maps that a request selects, combined as it asks.

        where  what contains the maps, for error messages
        Raise UsageError if no maps were kept or the request asks for more than they contain.
        """
        if not self.maps:
            raise UsageError(f"{where} kept no maps: run again with --save-maps")
        maps = reshape(self.maps, request, where)
        return replace(self, inputs=_inputs_of(self.inputs, maps), maps=maps, statistics=None)


def open_saved(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    key_labels: str | Path | None = None,
    array: str | None = None,
    kind: Kind | None = None,
) -> Collected:
    """Open a saved run, or read maps of other tools from an `.npz`, `.npy` or `.safetensors` file.

    labels, key_labels  files that name the tokens of maps of other tools
    array, kind         name of the array if the file has several, and its kind of attention
    """
    if Path(path).is_dir() or not Path(path).suffix:
        if any(value is not None for value in (labels, key_labels, array)):
            raise UsageError(
                "--labels, --key-labels and --array go with a file of maps; a saved run has its own labels"
            )
        saved = open_run(path)
        return Collected(saved.info, saved.inputs, saved.attention, saved.statistics, vectors=saved.vectors)
    maps = read_maps(path, labels, key_labels, array=array, kind=kind)
    return Collected(maps_info(path), as_inputs(maps), maps)


def _inputs_of(inputs: Sequence[Input], maps: Sequence[Attention]) -> tuple[Input, ...]:
    """Return the texts with the tokens of their maps."""
    texts = []
    for text in inputs:
        for attention in (attention for attention in maps if attention.text == text.index):
            if text.target is None or attention.kind == "encoder":
                text = replace(text, source=attention.queries)
            elif attention.kind == "decoder":
                text = replace(text, target=attention.queries)
            else:
                text = replace(text, source=attention.keys, target=attention.queries)
        texts.append(text)
    return tuple(texts)


def _covers(statistics: Statistics, names: Sequence[str], per_query: bool) -> bool:
    measured = {*statistics.heads, *statistics.keys}
    return set(names) <= measured and (bool(statistics.tokens or statistics.keys) or not per_query)


def _select_metrics(statistics: Statistics, names: Sequence[str]) -> Statistics:
    def selected(scores: Mapping[str, Scores]) -> dict[str, Scores]:
        return {name: scores[name] for name in names if name in scores}

    fields = ("heads", "std", "tokens", "keys")
    tables: dict[str, Any] = {name: selected(getattr(statistics, name)) for name in fields}
    return replace(statistics, **tables)
