"""What tells whether a model has changed: the state of its weights, and its structure."""

from collections.abc import Hashable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

State = tuple[Hashable, ...]
_ADAPTERS = ("_active_adapter", "_disable_adapters", "scaling")
"""Attributes of a layer with adapters (PEFT) that say which of them act, and how strongly."""
_PLAIN = (bool, int, float, str, type(None), torch.dtype)


def weights_state(model: nn.Module) -> State:
    """Return a value that differs after any step of an optimizer, any loading of weights and any switch of adapters.

    Every change in place through PyTorch counts, except changes of `parameter.data`, which PyTorch does not count.
    """
    state: list[Hashable] = []
    for name, module in model.named_modules():
        own = vars(module)
        stored = (tensor for key, tensor in own["_buffers"].items() if key not in own["_non_persistent_buffers_set"])
        tensors = (tensor for tensor in (*own["_parameters"].values(), *stored) if tensor is not None)
        state += [(name, *_stored_at(tensor), _changes(tensor)) for tensor in tensors]
        state += [(name, key, repr(own[key])) for key in _ADAPTERS if key in own]
    return tuple(state)


def has_finite_parameters(model: nn.Module) -> bool:
    """Return whether no parameter of a model is NaN or infinite."""
    # PyTorch cannot say it of numbers of 8 bits
    values = (part.float() if part.element_size() == 1 else part for part in model.parameters())
    return all(bool(part.isfinite().all()) for part in values)


def structure(model: nn.Module) -> State:
    """Return a value that differs when modules, their settings, or the shape, dtype or device of a parameter change."""
    parts: list[Hashable] = []
    configs: dict[int, Any] = {}
    for name, module in model.named_modules():
        own = vars(module)
        shapes = [
            (key, tensor.shape, tensor.dtype, tensor.device)
            for key, tensor in own["_parameters"].items()
            if tensor is not None
        ]
        settings = [(key, value) for key, value in own.items() if key != "training" and isinstance(value, _PLAIN)]
        adapters = [(key, repr(own[key])) for key in _ADAPTERS if key in own]
        forward = id(getattr(own["forward"], "__func__", own["forward"])) if "forward" in own else None
        parts.append((name, type(module), forward, *shapes, *settings, *adapters))
        if isinstance(config := own.get("config"), PreTrainedConfig):
            configs[id(config)] = config
    return (*parts, *(_settings_of(config) for config in configs.values()))


def _settings_of(config: PreTrainedConfig) -> str:
    """Return the settings of a configuration and of those inside it, as one text."""
    nested = {key: _settings_of(value) for key, value in vars(config).items() if isinstance(value, PreTrainedConfig)}
    return repr(sorted({**vars(config), **nested}.items(), key=lambda setting: setting[0]))


def _stored_at(tensor: torch.Tensor) -> tuple[int, int]:
    """Return what identifies a tensor and its memory; zeros for weights that are loaded only while they are used."""
    if tensor.device.type == "meta":
        return 0, 0
    try:
        return id(tensor), tensor.data_ptr()
    except RuntimeError:  # tensors that consist of others, such as quantized ones
        return id(tensor), 0


def _changes(tensor: torch.Tensor) -> int:
    """Return how often a tensor was changed in place; 0 for tensors of inference mode, which have no count."""
    return 0 if tensor.is_inference() else tensor._version
