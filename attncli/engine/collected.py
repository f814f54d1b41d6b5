"""The results of a forward pass or of a saved run: texts, maps, statistics and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from attncli.arguments import checks_arguments
from attncli.data import (
    Edges,
    EdgesConsumer,
    Kind,
    Profile,
    RowsAs,
    Statistics,
)
from attncli.data.corpus_counts import CorpusCounts
from attncli.data.labels import text_note, text_prefix
from attncli.data.measuring import Measuring, PoolTexts
from attncli.engine.kept_maps import check_weights, inputs_of, reshape, with_own_words
from attncli.engine.memory import check_file_fits, parse_size
from attncli.engine.request import Request, metric_names
from attncli.errors import UsageError
from attncli.inputs.rows_as import check_rows_as
from attncli.inputs.word_ids import word_notes
from attncli.paths import what_is_at
from attncli.store import RunParts, open_run
from attncli.store.foreign import open_maps
from attncli.vocabulary import ALL_METRICS


@checks_arguments
@dataclass(frozen=True, eq=False)
class Collected(RunParts):
    """The results of one forward pass, or of a saved run: the parts that are saved (see `RunParts`), and three more.

    strongest  the strongest edges of the same pass; not saved, can be computed from kept maps
    whole      the profile over whole texts; not saved, can be computed from kept maps
    corpus     the size of the corpus that was read, of which `inputs` lists no texts; None for texts
    """

    public_name: ClassVar = "Run"
    """The class that users know, for errors about arguments."""

    strongest: Edges | None = None
    whole: Profile | None = None
    corpus: CorpusCounts | None = None

    @classmethod
    def open_saved(
        cls,
        path: str | Path,
        *,
        labels: str | Path | None = None,
        key_labels: str | Path | None = None,
        array: str | None = None,
        kind: Kind | None = None,
        axes: str | None = None,
        max_memory: int | str | None = None,
    ) -> Self:
        """Open a saved run, or read maps of other tools from an `.npz`, `.npy`, `.safetensors` or `.pt` file.

        labels, key_labels  files that name the tokens of such maps
        array, kind         array to read if there are several, and its kind of attention
        axes                names of the axes of the array, such as "batch,head,query,key"
        max_memory          most memory of the maps, in bytes or such as "4GB"; half of what is free by default

        Raise UsageError if the maps are damaged, impossible as attention weights, or too large.
        """
        fits = partial(check_file_fits, path, limit=parse_size(max_memory))
        if what_is_at(path) == "folder" or not Path(path).suffix:
            if any(value is not None for value in (labels, key_labels, array, axes)):
                raise UsageError(
                    "--labels, --key-labels, --array and --axes go with a file of maps; a saved run has its own labels"
                )
            return cls(**vars(open_run(path, fits)))
        options: Any = {"array": array, "kind": kind, "axes": axes, "fits": fits}
        return cls(**vars(open_maps(path, labels, key_labels, **options)))

    @property
    def mean_note(self) -> str:
        """The note for a picture of means over texts; empty for one text."""
        if self.corpus is not None:
            return f"mean over {self.corpus.texts:,} texts"
        return f"mean over {len(self.inputs)} texts" if len(self.inputs) > 1 else ""

    def text_note(self, text: int) -> str:
        """Return the note for a picture of one of several texts; empty if there is only one text."""
        return text_note(text, len(self.inputs))

    def text_prefix(self, text: int) -> str:
        """Return the prefix of file names of one of several texts: `T003-`; empty if there is only one text."""
        return text_prefix(text, len(self.inputs))

    def with_notes(self, *notes: str) -> Self:
        """Return the same results with further notes."""
        return replace(self, info=replace(self.info, notes=(*self.info.notes, *notes)))

    @property
    def measuring(self) -> Measuring:
        """How the statistics of the run were measured, or the default without statistics."""
        return Measuring() if self.statistics is None else replace(self.statistics.how, per_query=False)

    def stats(
        self,
        metrics: Sequence[str] | str | None = None,
        per_query: bool = False,
        *,
        pool_texts: PoolTexts | None = None,
        special_tokens: bool | None = None,
        rows_as: RowsAs | None = None,
    ) -> Statistics:
        """Return every metric (or the named ones) of every head, from the pass or else from the kept maps.

        pool_texts, special_tokens, rows_as  as in `RunOptions`; None: as the statistics of the run, if it has any
        Raise UsageError if there are neither maps nor these statistics.
        """
        names = metric_names(ALL_METRICS if metrics is None else metrics)
        how = self.measuring.given(
            per_query=per_query, pool_texts=pool_texts, special_tokens=special_tokens, rows_as=rows_as
        )
        if self.statistics is not None and self.statistics.has(names if metrics else (), how):
            return self.statistics.select(names, how.special_tokens)
        options: Any = {"metrics": names, **vars(how)}
        return self.measured(Request.of(options))

    def measured(self, request: Request) -> Statistics:
        """Return the statistics that a request asks for, from the kept maps; raise UsageError without maps."""
        if not self.maps:
            raise UsageError(
                "this run kept neither maps nor these statistics: run the model with keep_maps=True or these metrics"
            )
        # imported here: drawing maps needs no torch
        from attncli.engine.measuring import measure_maps

        kinds = {attention.kind for attention in self.maps}
        check_rows_as(request.zoom.rows_as, kinds, words=any(attention.words for attention in self.maps))
        return measure_maps(self.maps, self.inputs, request)

    def with_extras(self, request: Request, take: EdgesConsumer | None = None) -> Self:
        """Return the same results with the edges (unless `take` receives them) and the profile of the kept maps."""
        if not self.maps:
            raise UsageError(
                "this run kept no maps: run the model with keep_maps=True, or request this when running it"
            )
        check_weights(self.maps)
        request = replace(request, neurons=False)  # kept maps have no vectors
        # imported here: drawing maps needs no torch
        from attncli.engine.measuring import as_single_heads, edges_sink, extra_notes, other_sinks
        from attncli.stream.replay import replay

        how = {name: getattr(self.maps[0], name) for name in ("aggregate", "aggregate_layers")}
        request = replace(request, **how).checked()
        sinks = other_sinks(request, self.inputs)
        if request.edges:
            sinks["strongest"] = edges_sink(request, self.inputs, take)
        for attention in as_single_heads(self.maps):
            replay(attention, [*sinks.values()])
        results = {name: sink.result() for name, sink in sinks.items()}
        return replace(self.with_notes(*extra_notes(request, self.inputs)), **results)

    def reshaped(self, request: Request, where: str) -> Self:
        """Return the maps that a request selects, combined as it asks; raise UsageError if `where` has none."""
        if not self.maps:
            raise UsageError(f"{where} kept no maps: run again with --save-maps")
        maps, notes = tuple(self.maps), tuple[str, ...]()
        if request.word_ids is not None:
            maps = with_own_words(maps, self.inputs, request.word_ids)
        elif request.words and not all(attention.words for attention in maps):
            notes = word_notes(self.inputs)
        model = self.info.model if self.info.cls != "file" else ""
        maps, left_out = reshape(maps, request, where, model)
        return replace(
            self.with_notes(*notes, *left_out), inputs=inputs_of(self.inputs, maps), maps=maps, statistics=None
        )
