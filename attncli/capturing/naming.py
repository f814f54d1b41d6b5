"""The layer number and the kind of an attention call, from module names and from the call itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attncli.data import KINDS, Kind

LAYER_PATH = re.compile(r"^(.*?(?:^|\.)(?:layers|layer|blocks|block|h))\.(\d+)(?=\.|$)")
"""Matches the qualified name of a module in a layer: (name of the stack of layers, layer number)."""
_INTEGER = re.compile(r"^(|.*?\.)(\d+)(?=\.|$)")
_CROSS = re.compile(r"cross|enc_?dec|encoder_attn|encoder_decoder", re.IGNORECASE)


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
