"""The layers of a hybrid that have no softmax attention, named: state-space, linear or convolutional ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from attncli.capturing.plan import Site

_STACK = re.compile(r"^(.*?(?:^|\.)(?:layers|layer|blocks|block|h))\.(\d+)(?=\.|$)")
_NO_MIXER = re.compile(r"norm|mlp|moe|feed_?forward|ffn|dropout|router", re.IGNORECASE)


def layers_without(model: nn.Module, sites: Sequence[Site], refused: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Layers that stand beside attention layers and made no attention call, as (names, what they have instead)."""
    for stack in dict.fromkeys(found[1] for site in sites if (found := _STACK.match(site.name))):
        layers = model.get_submodule(stack)
        if not isinstance(layers, nn.ModuleList):
            continue
        inside = [site for site in sites if site.name.startswith(f"{stack}.")]
        known = {site.layer for site in inside}
        names = [*(site.name for site in inside), *refused]
        known |= {int(found[2]) for name in names if (found := _STACK.match(name)) and found[1] == stack}
        kinds: dict[str, list[int]] = {}
        for number, layer in enumerate(layers):
            if number not in known:
                kinds.setdefault(_mixer(layer), []).append(number)
        for kind, numbers in kinds.items():
            yield f"{stack}.{','.join(map(str, numbers))}", f"{kind} has no softmax attention"


def _mixer(layer: nn.Module) -> str:
    """The class of what mixes tokens in a layer: its first part that is neither norm nor feed-forward."""
    parts = (part for name, part in layer.named_children() if not _NO_MIXER.search(f"{name} {type(part).__name__}"))
    return type(next(parts, layer)).__name__
