"""Layers of hybrid models that have no softmax attention: state-space, linear or convolutional ones."""

import re
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from attncli.capturing.sites import LAYER_PATH, Site

_NO_MIXER = re.compile(r"norm|mlp|moe|feed_?forward|ffn|dropout|router", re.IGNORECASE)


def attention_free_layers(model: nn.Module, sites: Sequence[Site], refused: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return the state-space, linear or convolutional layers of a hybrid model, as (layer names, reason).

    They made no attention call, in stacks where other layers made one. `refused` are names of modules whose attention
    is refused: their layers do have attention.
    """
    for stack in dict.fromkeys(match[1] for site in sites if (match := LAYER_PATH.match(site.name))):
        layers = model.get_submodule(stack)
        if not isinstance(layers, nn.ModuleList):
            continue
        in_stack = [site for site in sites if site.name.startswith(f"{stack}.")]
        with_attention = {site.layer for site in in_stack}
        for name in (*(site.name for site in in_stack), *refused):
            if (match := LAYER_PATH.match(name)) and match[1] == stack:
                with_attention.add(int(match[2]))
        numbers_by_class: dict[str, list[int]] = {}
        for number, layer in enumerate(layers):
            if number not in with_attention:
                numbers_by_class.setdefault(_mixer_class(layer), []).append(number)
        for mixer, numbers in numbers_by_class.items():
            yield f"{stack}.{','.join(map(str, numbers))}", f"{mixer} has no softmax attention"


def _mixer_class(layer: nn.Module) -> str:
    """Return the class name of the module that mixes tokens: the first one that is neither norm nor feed-forward."""
    parts = (part for name, part in layer.named_children() if not _NO_MIXER.search(f"{name} {type(part).__name__}"))
    return type(next(parts, layer)).__name__
