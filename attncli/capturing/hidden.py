"""The hidden states of every layer, from one forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch

from attncli.capturing.probe import call_model
from attncli.capturing.sites import CapturePlan
from attncli.data import Input
from attncli.inputs.batches import Batch, unpadded
from attncli.models import Loaded

Stack = Literal["encoder", "decoder"]
States = dict[Stack, tuple[torch.Tensor, ...]]


def hidden_states(loaded: Loaded, plan: CapturePlan, batch: Batch) -> Iterator[tuple[Input, States]]:
    """Return for each text the hidden states of each stack: the input of the first layer, then each layer's output.

    Each is [token, width]. Many models normalise the last one once more. A stack is absent if the model does not
    return its states, or pools its tokens between layers (Funnel).
    """
    names: dict[Stack, str] = {"encoder": "encoder_hidden_states", "decoder": "decoder_hidden_states"}
    if not loaded.is_encoder_decoder:
        names = {"decoder" if "decoder" in plan.kinds else "encoder": "hidden_states"}
    _, caller = loaded.callers[plan.caller]
    for part in unpadded(batch):
        with torch.inference_mode():
            outputs = call_model(caller, part.tensors, output_hidden_states=True)
        returned = {stack: getattr(outputs, name, None) for stack, name in names.items()}
        for row, text in enumerate(part.inputs):
            states: States = {}
            for stack, layers in returned.items():
                length = len(text.sides(stack)[0])
                if layers is not None and all(layer.shape[1] == length for layer in layers):
                    states[stack] = tuple(layer[row] for layer in layers)
            yield text, states
