"""Plans that are kept for each model, so that a model that is captured again is not probed again."""

from collections.abc import Hashable
from typing import Literal
from weakref import WeakKeyDictionary

from torch import nn

from attncli.capturing.capture import plan
from attncli.capturing.sites import CapturePlan
from attncli.inputs.batches import Batch
from attncli.models import Loaded
from attncli.models.state import State, structure

FEW_TOKENS = 8
_plans: WeakKeyDictionary[nn.Module, tuple[State, dict[Hashable, CapturePlan]]] = WeakKeyDictionary()
"""For each model, its structure when it was probed, and its plans by route and form of the inputs."""


def kept_plan(
    loaded: Loaded, route: Literal["auto", "stream", "eager"], batch: Batch | None = None, *, anew: bool = False
) -> CapturePlan:
    """Return the plan of a model, from an earlier call if the model still has the structure that it had then.

    route, batch  as for `plan`; plans of batches of the same form are the same
    anew          whether the model is probed in any case
    """
    found, now = _plans.get(loaded.model), structure(loaded.model)
    if found is None or found[0] != now:
        found = _plans[loaded.model] = now, {}
    key = route, _form(loaded, batch)
    if anew or key not in found[1]:
        found[1][key] = plan(loaded, route, batch)
    return found[1][key]


def _form(loaded: Loaded, batch: Batch | None) -> Hashable:
    """Return what a plan depends on, besides the model: the form of the inputs, or the tokenizers that make them.

    Very short inputs count by their length: they hide whether a model is causal, and which stack has which tokens.
    """
    if batch is None:
        return id(loaded.tokenizer), id(loaded.target_tokenizer)
    source, target = batch.lengths
    lengths = min(source, FEW_TOKENS), None if target is None else min(target, FEW_TOKENS), source == target
    return lengths, tuple(sorted((name, tensor.dim()) for name, tensor in batch.tensors.items()))
