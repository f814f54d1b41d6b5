"""The output projection of attention: found by what it is given, not by its name; and the norms that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import nn

from attncli.capturing.gate import TOLERANCE
from attncli.capturing.intercept import Key

Tensor = torch.Tensor
Form = Literal["out_in", "in_out", "called"]
READ: tuple[Form, ...] = ("out_in", "in_out")
CELLS = 1 << 22
"""Numbers of f(x) that are there at once."""


@dataclass(frozen=True)
class Projection:
    """The module that writes what the heads gathered: all heads side by side times W_O, plus a bias.

    name  in the model
    form  how W_O is read: its weight is [out, in] or [in, out], or it is asked for the answer to each unit vector,
          as a module with adapters or packed weights must be
    """

    name: str
    form: Form

    def matrix(self, module: nn.Module, like: Tensor, width: int) -> Tensor:
        """W_O as [in, out], at least float32, beside `like`, a tensor in the dtype that the model computes in."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        if self.form != "called":
            weight = cast(Tensor, module.weight)
            return (weight.T if self.form == "out_in" else weight).to(dtype)
        units = torch.eye(width, dtype=like.dtype, device=like.device)[None]
        answers: Tensor = module(units) - module(torch.zeros_like(units[:, :1]))
        return answers[0].to(dtype)


def value_norms(value: Tensor, matrix: Tensor, heads: int) -> Tensor:
    """‖f(x_j)‖, f(x) = (V x + b_v) W_O: how long the vector is that each head would write, were the weight 1.

    value   [batch, kv head, key, dim] as attention weighs them, which is V x + b_v
    matrix  [heads · dim, out]
    Returns [batch, head, key].
    """
    batch, shared, keys, dim = value.shape
    own = matrix.view(heads, dim, -1)
    norms = matrix.new_empty(batch, heads, keys)
    step = max(1, CELLS // (batch * own.shape[2]))
    for head in range(heads):
        of_head = value[:, head * shared // heads]
        for first in range(0, keys, step):
            part = slice(first, first + step)
            norms[:, head, part] = (of_head[:, part].to(own.dtype) @ own[head]).norm(dim=-1)
    return norms


@dataclass(eq=False)
class ProjectionFinder:
    """Looks during a pass for the module that is given exactly what an attention call put out, and is affine in it.

    The outermost such module is taken: an adapter rather than the matrix inside.
    """

    found: dict[Key, Projection] = field(default_factory=dict)
    _latest: tuple[Key, Tensor] | None = None
    _paused: bool = False

    def came(self, key: Key, output: Tensor) -> None:
        """A call put out [batch, query, head, dim]."""
        if output.dim() == 4:
            self._latest = key, output.flatten(2).clone()

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Hooks on every module for the length of the block."""
        with ExitStack() as hooks:
            for name, module in model.named_modules():
                handle = module.register_forward_hook(self._looker(name), with_kwargs=True)
                hooks.callback(handle.remove)
            yield

    def _looker(self, name: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if self._latest is None or self._paused or len(args) != 1 or kwargs:
                return
            key, given = self._latest
            known = self.found.get(key)
            inner = known is None or known.name.startswith(f"{name}.")
            if inner and isinstance(output, Tensor) and _same(args[0], given):
                self._paused = True
                form = _form(module, args[0], output)
                self._paused = False
                if form is not None:
                    self.found[key] = Projection(name, form)

        return look


def _same(one: Any, given: Tensor) -> bool:
    """Whether a module's input is what attention put out, all heads of a token side by side."""
    if not isinstance(one, Tensor) or one.dim() < 2 or one.shape[-1] != given.shape[-1] or one.numel() != given.numel():
        return False
    return torch.equal(one.reshape(given.shape).to(given.dtype), given)


def _form(module: nn.Module, given: Tensor, output: Tensor) -> Form | None:
    """How W_O of a module can be read, None where its output is not what W_O would make of its input."""
    try:
        bias = module(torch.zeros_like(given))[..., :1, :]
        for form in READ:
            weight = _weight(module, form, given)
            if weight is not None and weight.shape[1] == output.shape[-1] and _near(given @ weight + bias, output):
                return form
        both = output + (output.flip(-2) - bias) / 2
        return "called" if _near(module(given + given.flip(-2) / 2), both) else None
    except Exception:  # a module of any kind, called otherwise than its author thought
        return None


def _near(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= TOLERANCE[other.dtype] * float(other.abs().max())


def _weight(module: nn.Module, form: Form, like: Tensor) -> Tensor | None:
    """The weight of a module as [in, out], None where it has none that could be read so."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or weight.dtype != like.dtype:
        return None
    matrix = weight.T if form == "out_in" else weight
    return matrix if weight.device == like.device and matrix.shape[0] == like.shape[-1] else None
