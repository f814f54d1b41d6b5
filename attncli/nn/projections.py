"""Linear layers whose sizes the first input decides, and the initialisers of their weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from attncli.errors import UsageError, did_you_mean

Initializer = str | Callable[[torch.Tensor], object]
"""A name of Keras, such as "he_normal", or a function that fills a tensor, such as those of `torch.nn.init`."""

_BY_NAME: dict[str, Callable[[torch.Tensor], object]] = {
    "glorot_normal": nn.init.xavier_normal_,
    "glorot_uniform": nn.init.xavier_uniform_,
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "he_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "lecun_normal": partial(nn.init.kaiming_normal_, nonlinearity="linear"),
    "lecun_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="linear"),
    "ones": nn.init.ones_,
    "orthogonal": nn.init.orthogonal_,
    "zeros": nn.init.zeros_,
}

_OF_VECTORS = ("zeros", "ones")


def initializer_function(argument: str, initializer: Initializer) -> Callable[[torch.Tensor], object]:
    """Return the function of an initialiser; raise UsageError if there is none of that name."""
    if isinstance(initializer, str):
        if initializer not in _BY_NAME:
            raise UsageError(f"unknown {argument} '{initializer}': {did_you_mean(initializer, _BY_NAME)}")
        if argument == "bias_initializer" and initializer not in _OF_VECTORS:
            raise UsageError(f"{argument} '{initializer}' fills matrices only: expected {' or '.join(_OF_VECTORS)}")
        return _BY_NAME[initializer]
    if not callable(initializer):
        got = type(initializer).__name__
        raise UsageError(f"expected {argument} as a name or a function that fills a tensor in place, got {got}")
    return initializer


def projection(
    width: int | None, size: int | None, bias: bool, device: torch.device | str | None, dtype: torch.dtype | None
) -> nn.Linear:
    """Return a linear layer from `width` to `size` features; None is decided by `build_projection`."""
    if width is not None and size is not None:
        return nn.Linear(width, size, bias, device, dtype)
    return LazyProjection(width, size, bias, device, dtype)


class LazyProjection(LazyModuleMixin, nn.Linear):
    """A linear layer without sizes; `build_projection` makes it a plain one."""

    def __init__(
        self,
        width: int | None,
        size: int | None,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__(0, 0, False)
        self._initialize_hook.remove()  # the layer around it decides
        self.in_features, self.out_features = width or 0, size or 0
        self.weight = nn.UninitializedParameter(device=device, dtype=dtype)  # type: ignore[call-arg]
        if bias:
            self.bias = nn.UninitializedParameter(device=device, dtype=dtype)  # type: ignore[call-arg, assignment]

    def reset_parameters(self) -> None:
        """Fill nothing: there are no weights yet."""


def build_projection(layer: nn.Linear, width: int, size: int) -> bool:
    """Give a linear layer its sizes; return whether its weights are new and have to be filled."""
    if not isinstance(layer, LazyProjection):
        return False
    new = bool(layer.has_uninitialized_params())
    if new:
        with torch.no_grad():
            cast(nn.UninitializedParameter, layer.weight).materialize((size, width))
            if layer.bias is not None:
                cast(nn.UninitializedParameter, layer.bias).materialize((size,))
    layer.out_features, layer.in_features = layer.weight.shape  # those of a loaded state, if it is not new
    layer._load_hook.remove()
    del layer._load_hook, layer._initialize_hook
    layer.__class__ = nn.Linear  # type: ignore[assignment]
    return new
