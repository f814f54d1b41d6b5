"""The plan of a capture: the attention calls that a model makes, each with its kind, layer and route.

Kinds and layer numbers come from the names of modules and from the calls.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from transformers import PreTrainedConfig

from attncli.capturing.intercept import CallKey
from attncli.capturing.projection import Projection
from attncli.capturing.scales import Scale
from attncli.capturing.weights import Layout
from attncli.data import KINDS, Input, Kind, base_kind, kind_order
from attncli.data.grouped_heads import GroupedHeads

Route = Literal["stream", "eager"]
Function = Literal["dispatch", "sdpa", "softmax", "output"]
Part = Literal["all", "first", "rest", "main"]
LAYER_PATH = re.compile(r"^(.*?(?:^|\.)(?:layers|layer|blocks|block|h))\.(\d+)(?=\.|$)")
"""Matches the qualified name of a module in a layer: (name of the stack of layers, layer number)."""
_INTEGER = re.compile(r"^(|.*?\.)(\d+)(?=\.|$)")
_CROSS = re.compile(r"cross|enc_?dec|encoder_attn|encoder_decoder", re.IGNORECASE)


@dataclass(frozen=True)
class Site:
    """One attention call that a model makes in every forward pass.

    name        qualified name of the module that makes the call
    route       stream: attncli computes the call in blocks of rows; eager: the model computes it and attncli reads the
                weights
    function    where the call is captured: dispatch (the attention interface of Transformers), sdpa or softmax (torch
                functions that the model calls itself), output (only the outputs of the model hold the weights)
    part        which weights of the call belong to this kind: all; the first or the rest of the keys, where one softmax
                covers the tokens of two stacks; the main rows, where rows of other streams follow
    layout      how weights are stored that are not a matrix of query x key
    width       number of columns of the layout, without those of global tokens
    dim         size of a query vector; None if the call shows none
    projection  module that multiplies exactly the output of the heads by W_O; None if there is none
    """

    kind: Kind
    layer: int
    heads: int
    kv_heads: int | None
    name: str
    key: CallKey
    route: Route
    function: Function = "dispatch"
    part: Part = "all"
    layout: Layout | None = None
    width: int = 0
    dim: int | None = None
    projection: Projection | None = None

    @property
    def label(self) -> str:
        """How errors name the site."""
        return f"{self.kind} layer {self.layer}" + (f" ({self.name})" if self.name else "")

    @property
    def no_norms(self) -> str:
        """Why the site has no value-weighted norms; "" if it has them."""
        if self.route != "stream":
            return "the model computes its weights itself and shows no values with them"
        if self.projection is None:
            return "no output projection reads the plain output of its heads, which is gated or changed first"
        return ""

    @property
    def no_edits(self) -> str:
        """Why the weights of the site cannot be edited; "" if they can."""
        if self.function == "output":
            return "they are known only from the outputs of the model"
        if self.layout == "chunks":
            return "the model stores them in chunks of the text"
        if self.layout:
            return f"the model stores them in a {self.layout.removesuffix('s')} around each query"
        if self.part != "all":
            return "one softmax covers them and other attention"
        return ""

    @property
    def no_gates(self) -> str:
        """Why the outputs of the heads cannot be scaled or replaced; "" if they can (see `gates.py`)."""
        if self.part in ("first", "rest"):
            return "its heads read the tokens of two stacks in one softmax, so their output is that of two kinds"
        if self.projection is None:
            return "no output projection reads the plain output of its heads, which is gated or changed first"
        if not self.projection.plain or self.part != "all":
            return "its output projection reads the rows of other streams with those of the text"
        return ""


@dataclass(frozen=True)
class CapturePlan:
    """How the attention of a model is captured.

    reason   why this route was chosen
    caller   index into `Loaded.callers`, the ways to run the model on text
    refused  layers that cannot be captured: (name, reason)
    scales   the rows and keys of the kinds that have their own
    notes    messages for the user about every result of the plan
    """

    route: Route
    reason: str
    caller: int
    sites: tuple[Site, ...]
    refused: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    scales: tuple[Scale, ...] = ()

    def for_texts(self, inputs: Sequence[Input]) -> CapturePlan:
        """Return the plan with the kind of tokens for layers whose rows and keys are single tokens in all these texts.

        Compressed keys begin with the first full window of tokens.
        """
        shortened = {
            scale.kind for scale in self.scales if all(scale.has_only_tokens(len(text.source)) for text in inputs)
        }
        if not shortened or not inputs:
            return self
        sites = (replace(site, kind=base_kind(site.kind)) if site.kind in shortened else site for site in self.sites)
        scales = (scale for scale in self.scales if scale.kind not in shortened)
        return replace(self, sites=tuple(sites), scales=tuple(scales))

    @property
    def compiles(self) -> bool:
        """Whether compiled code can compute the blocks: all calls are streamed where Transformers dispatches them."""
        return all(site.function == "dispatch" and site.route == "stream" for site in self.sites)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(sorted({site.kind for site in self.sites}, key=kind_order))

    @property
    def grouped_heads(self) -> GroupedHeads:
        """The layers in which several heads share keys and values."""
        sizes = {(site.kind, site.layer): (site.heads, site.kv_heads) for site in self.sites if site.kv_heads}
        return GroupedHeads({layer: (heads, shared) for layer, (heads, shared) in sizes.items() if shared < heads})


def block_sparse_advice(config: PreTrainedConfig) -> str:
    """Return what to do about a BigBird or BigBird-Pegasus that reads long texts in blocks, after "; ".

    "" for other models.
    """
    if getattr(config, "attention_type", None) != "block_sparse":
        return ""
    limit = (5 + 2 * config.num_random_blocks) * config.block_size
    return (
        f"; use a text of at most {limit} tokens, or set attention_type to original_full in the model's config.json "
        "to replace its sparse attention by full attention"
    )


def layer_number(stack: Sequence[str]) -> int | None:
    """Return the number of the layer that is running; None if no module name has a number.

    stack  qualified names of the running modules, outermost first. The outermost number counts: 0 for
           `encoder.block.0.layer.1.EncDecAttention`, and the calling layer where layers share a module (Zamba).

    >>> layer_number(["", "model", "model.layers.11", "model.layers.5.shared.self_attn"])
    11
    >>> layer_number(["", "attentions.2"])
    2
    """
    for pattern in (LAYER_PATH, _INTEGER):
        for name in stack:
            if match := pattern.match(name):
                return int(match[2])
    return None


def tree_kind(name: str) -> Kind | None:
    """Return the kind that a qualified module name states, by its outermost part; None if it states none.

    >>> tree_kind("decoder.bert.encoder.layer.0.crossattention.self")
    'cross'
    >>> tree_kind("model.decoder.layers.0.self_attn"), tree_kind("h.0.attn")
    ('decoder', None)
    """
    if _CROSS.search(name):
        return "cross"
    for part in name.split("."):
        for kind in KINDS[:2]:
            if kind in part:
                return kind
    return None


def call_kind(name: str, query: int, key: int, lengths: tuple[int, int | None], causal: bool, decoder: bool) -> Kind:
    """Return the kind of one call.

    name        qualified name of the module that makes the call
    query, key  numbers of queries and keys of the call
    lengths     source and target tokens of the input; if they differ, the shape of the call decides
    causal      whether all later keys are masked for each query
    decoder     whether the configuration declares the model a decoder
    """
    source, target = lengths
    if target is not None and target != source:
        if query == source:
            return "encoder"
        return "cross" if key == source else "decoder"
    stated = tree_kind(name)
    if stated == "cross" or (stated and not decoder):
        return stated
    return "decoder" if causal or decoder else "encoder"
