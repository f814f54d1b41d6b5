"""Functions of torch that call softmax and products inside, where no function mode sees them unless they are opened."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any, Protocol

import torch

COMPOSED = frozenset({torch.nn.functional.multi_head_attention_forward})


@dataclass(frozen=True)
class Composed:
    """What the arguments of `multi_head_attention_forward` say about its attention.

    heads   number of heads
    own     whether queries and keys come from the same tensor
    extra   names of the keys that the module adds after those of its input
    """

    heads: int
    own: bool
    extra: tuple[str, ...]


class Opening(Protocol):
    """What knows the opened function that is running."""

    composed: Composed | None


def run_composed(opening: Opening, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the result of a function of torch, computed so that function modes see what it calls."""
    given = inspect.signature(function).bind(*args, **kwargs).arguments
    extra = ("bias",) if given["bias_k"] is not None else ()
    zero = ("zero",) if given["add_zero_attn"] else ()
    before, opening.composed = (
        opening.composed,
        Composed(given["num_heads"], given["query"] is given["key"], (*extra, *zero)),
    )
    try:
        return _opened(function)(*args, **kwargs)
    finally:
        opening.composed = before


@cache
def _opened(function: FunctionType) -> Callable[..., Any]:
    """Return a copy of a function of torch that does not hand itself as a whole to function modes."""
    names = {**function.__globals__, "has_torch_function": lambda tensors: False}
    opened = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    opened.__kwdefaults__ = function.__kwdefaults__
    return opened
