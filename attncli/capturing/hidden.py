"""The hidden states of every layer, by one plain forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch

from attncli.capturing.plan import CapturePlan
from attncli.capturing.probe import call_model
from attncli.data import Input, Tokens
from attncli.inputs.batches import Batch, unpadded
from attncli.models import Loaded

Stack = Literal["encoder", "decoder"]
States = dict[Stack, tuple[torch.Tensor, ...]]


def hidden_states(loaded: Loaded, plan: CapturePlan, batch: Batch) -> Iterator[tuple[Input, States]]:
    """For each text and stack what goes into the first layer, then what comes out of each: [token, width].

    Many models normalise the last of these once more. A model that does not give them gives nothing here, nor one that
    pools its tokens on the way (Funnel).
    """
    _, caller = loaded.callers[plan.caller]
    for part in unpadded(batch):
        with torch.inference_mode():
            outputs = call_model(caller, part.tensors, output_hidden_states=True)
        found = _stacks(outputs, loaded.is_encoder_decoder, {site.kind for site in plan.sites})
        for at, one in enumerate(part.inputs):
            given = {stack: tuple(layer[at] for layer in states) for stack, states in found.items()}
            yield one, {stack: states for stack, states in given.items() if _all_tokens(states, one.sides(stack)[0])}


def _all_tokens(states: Sequence[torch.Tensor], tokens: Tokens) -> bool:
    return all(len(layer) == len(tokens) for layer in states)


def _stacks(outputs: Any, two: bool, kinds: set[str]) -> States:
    names: dict[Stack, str] = {"encoder": "encoder_hidden_states", "decoder": "decoder_hidden_states"}
    if not two:
        names = {"decoder" if "decoder" in kinds else "encoder": "hidden_states"}
    found = {stack: getattr(outputs, name, None) for stack, name in names.items()}
    return {stack: tuple(states) for stack, states in found.items() if states is not None}
