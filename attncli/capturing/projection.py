"""The output projection of attention, found by its input and not by its name, and the norms of what it writes."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from attncli.capturing.evidence import Evidence
from attncli.capturing.intercept import CallKey, KwArgs
from attncli.capturing.weights import TOLERANCE
from attncli.stream.protocol import WITHOUT_FLOAT64

Tensor = torch.Tensor
Form = Literal["out_in", "in_out", "called"]
WEIGHT_FORMS: tuple[Form, ...] = ("out_in", "in_out")
_PRODUCTS = frozenset({torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm})
_PRODUCTS |= {torch.einsum, torch.functional.einsum, torch.baddbmm, torch.Tensor.baddbmm}
CELLS = 1 << 22
"""Numbers of f(x) that are in memory at once."""


@dataclass(frozen=True)
class Projection:
    """The module that multiplies the outputs of all heads, side by side, by W_O and adds a bias.

    form   how W_O is read: from a weight [out, in] or [in, out]; or by calling the module with unit vectors, which
           adapters and packed weights need
    call   which call of the module in a pass reads the output, for modules that several layers share
    calls  number of calls of the module in a pass
    plain  whether its input is [batch, query, heads · dim]
    """

    name: str
    form: Form
    call: int = 0
    calls: int = 1
    plain: bool = True

    def matrix(self, module: nn.Module, like: Tensor, width: int) -> Tensor:
        """Return W_O as [in, out] in float32 at least; inputs have `width` heads · dim, dtype and device of `like`."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        if self.form != "called":
            weight = cast(Tensor, module.weight)
            return (weight.T if self.form == "out_in" else weight).to(dtype)
        units = torch.eye(width, dtype=like.dtype, device=like.device)[None]
        products: Tensor = module(units) - module(torch.zeros_like(units[:, :1]))
        return products[0].to(dtype)


def value_norms(value: Tensor, matrix: Tensor, heads: int) -> Tensor:
    """Return ‖f(x_j)‖ with f(x) = (V x + b_v) W_O, [batch, head, key]: the length of what a weight of 1 would write.

    value   [batch, kv head, key, dim]: V x + b_v
    matrix  [heads · dim, out]: W_O
    """
    batch, kv_heads, keys, dim = value.shape
    by_head = _smaller(matrix.view(heads, dim, -1), keys)
    norms = matrix.new_empty(batch, heads, keys)
    step = max(1, CELLS // (batch * by_head.shape[2]))
    for head in range(heads):
        head_value = value[:, head * kv_heads // heads]
        for first in range(0, keys, step):
            part = slice(first, first + step)
            norms[:, head, part] = (head_value[:, part].to(by_head.dtype) @ by_head[head]).norm(dim=-1)
    return norms


def _smaller(by_head: Tensor, keys: int) -> Tensor:
    """Return matrices [head, dim, n] that give vectors of the same norms as W_O, with n = dim if that saves time.

    Wᵀ = Q R with orthonormal columns in Q, so that ‖v W‖ = ‖R vᵀ‖. In float64 R costs little, and the norms are as
    exact as those of the whole products.
    """
    _, dim, out = by_head.shape
    if out <= dim or keys <= 4 * dim:  # the decomposition costs about as much as the norms of 2 · dim keys
        return by_head
    exact = by_head if by_head.device.type in WITHOUT_FLOAT64 else by_head.double()
    factor: Tensor = torch.linalg.qr(exact.transpose(1, 2), mode="r").R
    return factor.transpose(1, 2).to(by_head.dtype)


@dataclass(eq=False)
class ProjectionFinder:
    """Finds, during a pass, the module whose input is exactly the output of an attention call and which is affine.

    Of several such modules the outermost counts: an adapter, not the matrix inside it.

    batch  number of texts of the pass
    """

    batch: int = 1
    _found: dict[CallKey, Projection] = field(default_factory=dict)
    _calls: Counter[str] = field(default_factory=Counter)
    _latest: tuple[CallKey, Tensor] | None = None
    _weights: tuple[CallKey, Tensor] | None = None
    _paused: bool = False
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def projections(self) -> dict[CallKey, Projection]:
        """The projection of each call that has one, after the pass."""
        return {key: replace(found, calls=self._calls[found.name]) for key, found in self._found.items()}

    def note_output(self, key: CallKey, output: Tensor) -> None:
        """Store the output of a call, [batch, query, head, dim]."""
        if output.dim() == 4:
            self._latest = key, output.flatten(2).clone()

    def note_weights(self, key: CallKey, weights: Tensor) -> None:
        """Store the weights of a softmax: their product with the values is the output of the call."""
        self._weights = key, weights.clone()
        self.evidence.note_softmax(key, weights)

    def note_product(self, operands: Sequence[object], product: object) -> None:
        """Store a product as the output of the latest softmax if it is one of its weights and other numbers."""
        if self._paused or not isinstance(product, Tensor):
            return
        key, weights = self._weights or (None, product)
        same = [key is not None and _same_numbers(operand, weights) for operand in operands]
        self.evidence.note_product(key, operands, same, product)
        if key is not None and any(same):
            output = _by_token(product, (self.batch, weights.shape[:-2].numel() // self.batch, weights.shape[-2]))
            if output is not None:
                self.note_output(key, output)

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        with ExitStack() as hooks:
            for name, module in model.named_modules():
                handle = module.register_forward_hook(partial(self._compare, name), with_kwargs=True)
                hooks.callback(handle.remove)
            yield

    def products(self) -> TorchFunctionMode:
        """Return a mode that shows products of tensors to the finder; modes that open functions go around it."""
        return _Products(self)

    def _compare(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: KwArgs, output: object) -> None:
        """Store the module `name` if it is affine and read the latest output of attention."""
        if self._paused:
            return
        self._calls[name] += 1
        if self._latest is None or len(args) != 1 or kwargs:
            return
        key, attended = self._latest
        known = self._found.get(key)
        if known is not None and not known.name.startswith(f"{name}."):  # this module is not around the known one
            return
        if isinstance(output, Tensor) and _same_values(args[0], attended):
            self._paused = True
            form = _find_form(module, args[0], output)
            self._paused = False
            if form is not None:
                call, plain = self._calls[name] - 1, args[0].shape == attended.shape
                self._found[key] = Projection(name, form, call, plain=plain)


class _Products(TorchFunctionMode):
    """A mode that shows products of tensors to a finder."""

    def __init__(self, finder: ProjectionFinder) -> None:
        super().__init__()
        self._finder = finder

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _PRODUCTS:
            self._finder.note_product(args, result)
        return result


def _same_numbers(operand: object, weights: Tensor) -> bool:
    """Return whether an operand holds weights, perhaps with heads and texts on one axis or in another precision."""
    if not isinstance(operand, Tensor) or operand.dim() < 2 or operand.numel() != weights.numel():
        return False
    same_sizes = operand.shape[-2:] == weights.shape[-2:]
    return same_sizes and torch.equal(operand.reshape(weights.shape), weights.to(operand.dtype))


def _by_token(product: Tensor, shape: Sequence[int]) -> Tensor | None:
    """Return the product of weights and values as [batch, query, head, dim]; None if its axes are others.

    shape  numbers of (batch entries, heads, queries) of the weights
    """
    batch, heads, queries = shape
    if product.dim() == 3 and product.shape[:2] == (batch * heads, queries):
        product = product.view(batch, heads, *product.shape[1:])
    if product.dim() == 4 and product.shape[:3] == (batch, heads, queries):
        return product.transpose(1, 2)
    return product if product.dim() == 4 and product.shape[:3] == (batch, queries, heads) else None


def _same_values(given: object, attended: Tensor) -> bool:
    """Return whether the input of a module is the output of attention, all heads of a token side by side."""
    if not isinstance(given, Tensor) or given.dim() < 2 or given.shape[-1] != attended.shape[-1]:
        return False
    return given.numel() == attended.numel() and torch.equal(given.reshape(attended.shape).to(attended.dtype), attended)


def _find_form(module: nn.Module, given: Tensor, output: Tensor) -> Form | None:
    """Return how W_O of a module can be read; None if the output is not the input times a matrix plus a bias."""
    try:
        bias = module(torch.zeros_like(given))[..., :1, :]
        for form in WEIGHT_FORMS:
            weight = _weight(module, form, given)
            if weight is not None and weight.shape[1] == output.shape[-1] and _close(given @ weight + bias, output):
                return form
        expected = output + (output.flip(-2) - bias) / 2
        return "called" if _close(module(given + given.flip(-2) / 2), expected) else None
    except Exception:  # a module of any kind, called with inputs that its author did not expect
        return None


def _close(tensor: Tensor, expected: Tensor) -> bool:
    return float((tensor - expected).abs().max()) <= TOLERANCE[expected.dtype] * float(expected.abs().max())


def _weight(module: nn.Module, form: Form, like: Tensor) -> Tensor | None:
    """Return the weight of a module as [in, out]; None if it has none that fits the input `like`."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or weight.dtype != like.dtype:
        return None
    matrix = weight.T if form == "out_in" else weight
    return matrix if weight.device == like.device and matrix.shape[0] == like.shape[-1] else None
