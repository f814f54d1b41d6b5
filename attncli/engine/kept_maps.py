"""Kept maps, selected and combined as a request says."""

from collections.abc import Sequence
from dataclasses import replace

from attncli.data import Attention, Input, LayerMaps, has_scale
from attncli.data.head_weights import LayerWeights
from attncli.data.selection import resolve
from attncli.data.transforms import drop_special, to_words
from attncli.data.zoom import combined_name
from attncli.engine.request import Request
from attncli.engine.token_axes import with_token_axes
from attncli.errors import UsageError
from attncli.inputs.word_ids import WordIds, with_word_ids


def with_own_words(maps: Sequence[Attention], inputs: Sequence[Input], word_ids: WordIds) -> tuple[Attention, ...]:
    """Return kept maps whose tokens have the words of the user."""
    if any(attention.words for attention in maps):
        raise UsageError("--word-ids needs maps of tokens, these are of words already: save the run without --words")
    texts = {text.index: text for text in with_word_ids(inputs, word_ids, len(inputs))}
    sides = (texts[attention.text].sides(attention.kind) for attention in maps)
    return tuple(
        replace(attention, queries=queries, keys=keys) if attention.whole else attention
        for attention, (queries, keys) in zip(maps, sides, strict=True)
    )


def inputs_of(inputs: Sequence[Input], maps: Sequence[Attention]) -> tuple[Input, ...]:
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


def reshape(
    maps: Sequence[Attention], request: Request, where: str, model: str = ""
) -> tuple[tuple[Attention, ...], tuple[str, ...]]:
    """Return kept maps selected and combined as a request says, and notes on layers that are left out.

    model  name of the model that computed them; "" if that is not known
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
    weights = _layer_weights(chosen, request, model)
    combined = tuple(_combine(_merge_tokens(attention, request), request, weights) for attention in chosen)
    return combined, notes if weights is None else (*notes, *weights.notes)


def _layer_weights(maps: Sequence[Attention], request: Request, model: str) -> LayerWeights | None:
    """Return the weights by which the heads of kept maps are combined; None if they are not combined by weights."""
    if request.head_weights is None:
        return None
    if model:
        request.head_weights.check_model(model, None)
    heads = {(attention.kind, _layer_number(layer)): layer.heads for attention in maps for layer in attention.layers}
    if not all(heads.values()) or any(attention.aggregate_layers != "none" for attention in maps):
        raise UsageError(
            "--aggregate weights:FILE combines single heads, in these maps heads or layers are combined already: run "
            "the model again with this option, or keep the maps of single heads"
        )
    return request.head_weights.of(heads)


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


def _combine(attention: Attention, request: Request, weights: LayerWeights | None) -> Attention:
    if request.aggregate != "none" and attention.aggregate == "none":
        attention = attention.combined_heads(request.aggregate, weights)
    elif request.aggregate not in ("none", attention.aggregate):
        names = map(combined_name, (attention.aggregate, request.aggregate))
        raise UsageError("these maps are already the {} over heads, not the {}".format(*names))
    if request.aggregate_layers == "mean" and attention.aggregate_layers == "none":
        if attention.aggregate == "weighted" and weights is None:
            raise UsageError(
                "the weights of the layers of these maps are not known, as their heads are combined already: run the "
                "model again with --aggregate weights:FILE and --aggregate-layers mean"
            )
        attention = attention.mean_of_layers(weights)
    return attention
