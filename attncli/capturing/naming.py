"""Who called: the layer number and the kind of an attention call, from the module tree and the call itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attncli.data import KINDS, Kind

_STACK = re.compile(r"(?:^|\.)(?:layers|layer|blocks|block|h)\.(\d+)(?=\.|$)")
_INTEGER = re.compile(r"(?:^|\.)(\d+)(?=\.|$)")
_CROSS = re.compile(r"cross|enc_?dec|encoder_attn|encoder_decoder", re.IGNORECASE)


def layer_number(stack: Sequence[str]) -> int | None:
    """The layer that a stack of running modules (outermost first, qualified names) is in.

    The outermost name decides: `block.0` of `encoder.block.0.layer.1.EncDecAttention`, and the calling layer where
    one shared module stands under several (Zamba).

    >>> layer_number(["", "model", "model.layers.11", "model.layers.5.shared.self_attn"])
    11
    >>> layer_number(["", "attentions.2"])
    2
    """
    for pattern in (_STACK, _INTEGER):
        for name in stack:
            if found := pattern.search(name):
                return int(found.group(1))
    return None


def tree_kind(name: str) -> Kind | None:
    """The kind that a qualified module name states, the outermost part first; None where it says nothing.

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
    """The kind of one call.

    lengths   source and target tokens of the run; with a target of another length, the shape of the call decides
    causal    no row of the call sees a later key
    decoder   the configuration declares the model a decoder
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
