"""The results of a forward pass or of a saved run: texts, maps, statistics and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from attncli.arguments import checks_arguments
from attncli.data import Attention, Edges, EdgesConsumer, Input, Kind, LayerMaps, Profile, Statistics, has_scale
from attncli.data.labels import text_note, text_prefix
from attncli.data.selection import resolve
from attncli.data.transforms import drop_special, to_words
from attncli.engine.memory import check_file_fits, parse_size
from attncli.engine.request import Request, metric_names
from attncli.engine.token_axes import with_token_axes
from attncli.errors import UsageError
from attncli.inputs.word_ids import WordIds, with_word_ids, word_notes
from attncli.paths import what_is_at
from attncli.store import RunParts, open_run
from attncli.store.foreign import open_maps
from attncli.vocabulary import ALL_METRICS


@checks_arguments
@dataclass(frozen=True, eq=False)
class Collected(RunParts):
    """The results of one forward pass, or of a saved run: the parts that are saved (see `RunParts`), and two more.

    strongest  the strongest edges of the same pass; not saved, can be computed from kept maps
    whole      the profile over whole texts; not saved, can be computed from kept maps
    """

    public_name: ClassVar = "Run"
    """The class that users know, for errors about arguments."""

    strongest: Edges | None = None
    whole: Profile | None = None

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

    def stats(self, metrics: Sequence[str] | str | None = None, per_query: bool = False) -> Statistics:
        """Return every metric (or the named ones) of every head, from the pass or else from the kept maps.

        Raise UsageError if there are neither maps nor these statistics.
        """
        names = metric_names(ALL_METRICS if metrics is None else metrics)
        measured = self.statistics
        if measured is not None and measured.has(names if metrics else (), per_query):
            return measured.select(names)
        if not self.maps:
            raise UsageError(
                "this run kept neither maps nor these statistics: run the model with keep_maps=True or these metrics"
            )
        # imported here: drawing maps needs no torch
        from attncli.engine.measuring import measure_maps

        return measure_maps(self.maps, self.inputs, Request(metrics=names, per_query=per_query))

    def with_extras(self, request: Request, take: EdgesConsumer | None = None) -> Self:
        """Return the same results with the edges (unless `take` receives them) and the profile of the kept maps."""
        if not self.maps:
            raise UsageError(
                "this run kept no maps: run the model with keep_maps=True, or request this when running it"
            )
        check_weights(self.maps)
        request = replace(request, neurons=False)  # kept maps have no vectors
        # imported here: drawing maps needs no torch
        from attncli.engine.measuring import extra_notes, extra_sinks
        from attncli.stream.replay import replay

        sinks = extra_sinks(request, self.inputs, take)
        for attention in self.maps:
            replay(attention, [*sinks.values()])
        results = {name: sink.result() for name, sink in sinks.items()}
        return replace(self.with_notes(*extra_notes(request, self.inputs)), **results)

    def reshaped(self, request: Request, where: str) -> Self:
        """Return the maps that a request selects, combined as it asks; raise UsageError if `where` has none."""
        if not self.maps:
            raise UsageError(f"{where} kept no maps: run again with --save-maps")
        maps, notes = tuple(self.maps), tuple[str, ...]()
        if request.word_ids is not None:
            maps = _with_word_ids(maps, self.inputs, request.word_ids)
        elif request.words and not all(attention.words for attention in maps):
            notes = word_notes(self.inputs)
        maps, left_out = reshape(maps, request, where)
        return replace(
            self.with_notes(*notes, *left_out), inputs=_inputs_of(self.inputs, maps), maps=maps, statistics=None
        )


def _with_word_ids(maps: Sequence[Attention], inputs: Sequence[Input], word_ids: WordIds) -> tuple[Attention, ...]:
    """Return kept maps whose tokens have the words of the user."""
    if any(attention.words for attention in maps):
        raise UsageError("--word-ids needs maps of tokens, these are of words already: save the run without --words")
    texts = {text.index: text for text in with_word_ids(inputs, word_ids, len(inputs))}
    sides = (texts[attention.text].sides(attention.kind) for attention in maps)
    return tuple(
        replace(attention, queries=queries, keys=keys) if attention.whole else attention
        for attention, (queries, keys) in zip(maps, sides, strict=True)
    )


def _inputs_of(inputs: Sequence[Input], maps: Sequence[Attention]) -> tuple[Input, ...]:
    """Return the texts with the tokens of their maps."""
    texts = []
    for text in inputs:
        for attention in (attention for attention in maps if attention.text == text.index):
            if has_scale(attention.kind):
                sides = attention.queries, attention.keys
                text = replace(text, scaled={**text.scaled, attention.kind: sides})
            elif text.target is None or attention.kind == "encoder":
                text = replace(text, source=attention.queries)
            elif attention.kind == "decoder":
                text = replace(text, target=attention.queries)
            else:
                text = replace(text, source=attention.keys, target=attention.queries)
        texts.append(text)
    return tuple(texts)


# ------------------------------------------------------------------------------------------------ kept maps


def reshape(maps: Sequence[Attention], request: Request, where: str) -> tuple[tuple[Attention, ...], tuple[str, ...]]:
    """Return kept maps selected and combined as a request says, and notes on layers that are left out.

    Raise UsageError if `where` lacks what the request needs.
    """
    wrong = {attention.by for attention in maps} - {request.by}
    if "weight" in wrong:
        raise UsageError(
            f"{where} contains weights, from which no norms can be computed: "
            "run the model again with --by norm --save-maps"
        )
    if wrong:
        raise UsageError(
            f"{where} contains value-weighted norms, not weights: read them with heatmap, stats or flow and --by norm, "
            "or save the weights too, with --save-maps and without --by norm"
        )
    chosen, notes = _select_maps(maps, request, where)
    return tuple(_combine(_merge_tokens(attention, request), request) for attention in chosen), notes


def check_weights(maps: Sequence[Attention]) -> None:
    """Raise UsageError if maps are value-weighted norms instead of weights."""
    if any(attention.by == "norm" for attention in maps):
        raise UsageError(
            "this needs attention weights, these maps are value-weighted norms (heatmap, stats, rollout and flow "
            "accept them): run the model without by='norm'"
        )


def _select_maps(maps: Sequence[Attention], request: Request, where: str) -> tuple[list[Attention], tuple[str, ...]]:
    choice = request.choice
    layers = [layer for attention in maps for layer in attention.layers]
    if choice.layers is not None and any(isinstance(layer.layer, str) for layer in layers):
        raise UsageError(f"--layer cannot choose from {where}: it keeps only the mean over layers")
    if choice.heads is not None and not all(layer.heads for layer in layers):
        raise UsageError(f"--head cannot choose from {where}: it keeps only maps combined over heads")
    available = {
        (attention.kind, _layer_number(layer)): layer.heads for attention in maps for layer in attention.layers
    }
    heads, notes = with_token_axes(resolve(choice, available, where), request)
    selected = []
    for attention in maps:
        numbers = [heads.get((attention.kind, _layer_number(layer))) for layer in attention.layers]
        pairs = zip(attention.layers, numbers, strict=True)
        if kept := tuple(_only_heads(layer, chosen) for layer, chosen in pairs if chosen is not None):
            selected.append(replace(attention, layers=kept))
    return selected, notes


def _layer_number(layer: LayerMaps) -> int:
    return layer.layer if isinstance(layer.layer, int) else 0


def _only_heads(layer: LayerMaps, heads: Sequence[int]) -> LayerMaps:
    if tuple(heads) == layer.heads:
        return layer
    indices = [index for index, head in enumerate(layer.heads) if head in heads]
    visible = layer.visible
    if visible is not None and visible.shape[0] > 1:
        visible = visible[indices]
    return LayerMaps(layer.layer, tuple(heads), layer.weights[indices], visible)


def _merge_tokens(attention: Attention, request: Request) -> Attention:
    """Return a map without special tokens and with words instead of pieces, if requested and not yet done."""
    if not attention.whole and (
        (request.words and not attention.words) or (request.dropped_special and not attention.dropped_special)
    ):
        raise UsageError(
            "words and special tokens can only be found in full maps, these show "
            f"{'cells of several tokens' if attention.pool != 'none' else 'a part of the text'}: run the model again"
        )
    _check_order(attention, request)
    attention = to_words(attention) if request.words else attention
    return drop_special(attention) if request.dropped_special else attention


def _check_order(attention: Attention, request: Request) -> None:
    """Raise UsageError if kept maps had a later step than one that is requested, and both do not commute.

    The order is words, special tokens, heads, layers; only then are maps pooled.
    """
    merges = request.words and not attention.words
    drops = request.dropped_special and not attention.dropped_special and attention.by == "weight"
    combines = request.aggregate != "none" and attention.aggregate == "none"
    combined = (attention.aggregate, attention.aggregate_layers) != ("none", "none")
    if drops and combined:
        problem = "heads or layers are combined in these maps, and special tokens are dropped before that"
    elif merges and attention.aggregate == "max":
        problem = "these maps are the max over heads, and words are merged before that"
    elif merges and attention.dropped_special and attention.by == "weight":
        problem = "special tokens are dropped in these maps, and words are merged before that"
    elif combines and request.aggregate == "max" and attention.aggregate_layers != "none":
        problem = "these maps are the mean over layers, and heads are combined before that"
    else:
        return
    raise UsageError(f"{problem}, or other numbers come out: run the model again with all of these options")


def _combine(attention: Attention, request: Request) -> Attention:
    if request.aggregate != "none" and attention.aggregate == "none":
        attention = attention.combined_heads(request.aggregate)
    elif request.aggregate not in ("none", attention.aggregate):
        raise UsageError(f"these maps are already the {attention.aggregate} over heads, not the {request.aggregate}")
    if request.aggregate_layers == "mean" and attention.aggregate_layers == "none":
        attention = attention.mean("layer")
    return attention
