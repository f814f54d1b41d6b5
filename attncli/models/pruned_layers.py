"""Attention modules without some of their heads: which rows and columns of the projections stay, and how to cut them.

Modules are cut whose query, key and value projections are modules of their own (BERT, Llama, T5, BART, OPT, …) or one
Conv1D (GPT-2), and which read the number of heads from the projections or from an attribute.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from attncli.errors import ModelError

Tensor = torch.Tensor
_QUERIES, _KEYS, _VALUES = (
    [f"{letter}_proj", word, f"{letter}_lin", letter] for letter, word in (("q", "query"), ("k", "key"), ("v", "value"))
)
_FUSED = "c_attn"
_HEAD_COUNTS = ("num_heads", "n_heads", "num_attention_heads")
_WIDTHS = ("split_size", "inner_dim", "all_head_size")


@dataclass(frozen=True)
class PrunedLayer:
    """An attention module and the heads that it loses.

    module      qualified name of the attention module
    projection  qualified name of the module that multiplies the outputs of the heads by W_O
    heads       number of heads before
    kv_heads    number of key heads before, which `heads` share evenly
    removed     numbers of the heads that write nothing any more
    """

    module: str
    projection: str
    heads: int
    kv_heads: int
    removed: tuple[int, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> PrunedLayer:
        """Return the layer that `values` describes."""
        counts = int(values["heads"]), int(values["kv_heads"])
        return cls(str(values["module"]), str(values["projection"]), *counts, tuple(map(int, values["removed"])))

    def values(self) -> dict[str, Any]:
        """Return the layer as plain values."""
        return {**asdict(self), "removed": list(self.removed)}

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """The heads that stay, for each key head that stays.

        Key heads have equally many heads: where they differ, removed heads stay too, and so does one group of a layer
        that loses all heads. In W_O these heads have zeros (`padding`).
        """
        sharing = self.heads // self.kv_heads
        all_groups = [tuple(range(first, first + sharing)) for first in range(0, self.heads, sharing)]
        staying = [[head for head in group if head not in self.removed] for group in all_groups]
        most = max(1, *map(len, staying)) if len(staying) > 1 else max(1, len(staying[0]))
        chosen = [(group, kept) for group, kept in zip(all_groups, staying, strict=True) if kept]
        chosen = chosen or [(all_groups[0], [])]
        padded = [(kept, [head for head in group if head not in kept][: most - len(kept)]) for group, kept in chosen]
        return [tuple(sorted([*kept, *padding])) for kept, padding in padded]

    @property
    def kept(self) -> list[int]:
        """The heads that the cut module has, in order."""
        return [head for group in self.groups for head in group]

    @property
    def kept_kv(self) -> list[int]:
        """The key heads that the cut module has."""
        sharing = self.heads // self.kv_heads
        return [group[0] // sharing for group in self.groups]

    @property
    def padding(self) -> list[int]:
        """The removed heads that the cut module has all the same, with zeros in W_O."""
        return [head for head in self.kept if head in self.removed]


def without_columns(weight: Tensor, layer: PrunedLayer, transposed: bool) -> Tensor:
    """Return a copy of W_O with zeros for the removed heads.

    weight      [out, heads · dim], or [heads · dim, out] if `transposed`
    """
    copied = weight.detach().clone()
    by_head: Any = (copied.T if transposed else copied).unflatten(1, (layer.heads, -1))  # type: ignore[no-untyped-call]
    by_head[:, list(layer.removed)] = 0
    return copied


def is_transposed(module: nn.Module) -> bool:
    """Return whether a projection stores its weight as [in, out]."""
    return isinstance(module, Conv1D)


@torch.no_grad()
def cut(model: nn.Module, layer: PrunedLayer) -> list[str]:
    """Cut the heads of a layer out of the modules of a model; return the names of the parameters that changed.

    Raise ModelError if the projections of the module are not known.
    """
    module: Any = model.get_submodule(layer.module)
    output: Any = model.get_submodule(layer.projection)
    queries, keys, values = (_child(module, names) for names in (_QUERIES, _KEYS, _VALUES))
    fused = getattr(module, _FUSED, None)
    width = output.weight.shape[0 if is_transposed(output) else 1]
    if width % layer.heads:
        raise ModelError(f"heads of {layer.module} cannot be cut out: their outputs have different sizes")
    dim = width // layer.heads
    rows, kv_rows = _rows(layer.kept, dim), _rows(layer.kept_kv, dim)
    output.weight.data = without_columns(output.weight, layer, is_transposed(output))
    if queries and keys and values:
        for name, kept, count in (
            (queries, rows, layer.heads),
            (keys, kv_rows, layer.kv_heads),
            (values, kv_rows, layer.kv_heads),
        ):
            _cut_outputs(layer, getattr(module, name), kept, count * dim)
        changed = [f"{layer.module}.{name}" for name in (queries, keys, values)]
    elif isinstance(fused, Conv1D) and fused.weight.shape[1] == 3 * width and layer.heads == layer.kv_heads:
        _cut_outputs(layer, fused, torch.cat([rows + part * width for part in range(3)]), 3 * width)
        changed = [f"{layer.module}.{_FUSED}"]
    else:
        raise ModelError(
            f"heads of {layer.module} ({type(module).__name__}) cannot be cut out: its query, key and value "
            "projections are not known; save with --form zeroed"
        )
    output.weight.data = output.weight.data[rows] if is_transposed(output) else output.weight.data[:, rows]
    _set_sizes(output, len(rows), None)
    _set_attributes(module, layer, dim)
    parameters = [f"{name}.{part}" for name in changed for part in ("weight", "bias")]
    return [*parameters, f"{layer.projection}.weight"]


def _child(module: nn.Module, names: list[str]) -> str | None:
    """Return the name of the linear projection of a module that has one of these names."""
    return next((name for name in names if type(getattr(module, name, None)) is nn.Linear), None)


def _rows(heads: list[int], dim: int) -> Tensor:
    """Return the rows of a projection that belong to heads."""
    return (torch.tensor(heads)[:, None] * dim + torch.arange(dim)).flatten()


def _cut_outputs(layer: PrunedLayer, linear: Any, rows: Tensor, expected: int) -> None:
    """Keep some outputs of a linear module."""
    columns = is_transposed(linear)
    weight = linear.weight.data
    if weight.shape[1 if columns else 0] != expected:
        raise ModelError(f"heads of {layer.module} cannot be cut out: a projection has another size than its heads")
    rows = rows.to(weight.device)
    linear.weight.data = (weight[:, rows] if columns else weight[rows]).clone()
    if linear.bias is not None:
        linear.bias.data = linear.bias.data[rows].clone()
    _set_sizes(linear, None, len(rows))


def _set_sizes(linear: Any, inputs: int | None, outputs: int | None) -> None:
    """State the sizes of a linear module that was cut."""
    names = ("nx", "nf") if is_transposed(linear) else ("in_features", "out_features")
    for name, size in zip(names, (inputs, outputs), strict=True):
        if size is not None and hasattr(linear, name):
            setattr(linear, name, size)


def _set_attributes(module: Any, layer: PrunedLayer, dim: int) -> None:
    """Tell an attention module how many heads it has."""
    kept, kept_kv = layer.kept, layer.kept_kv
    numbers: dict[str, Any] = dict.fromkeys(_HEAD_COUNTS, len(kept))
    numbers |= dict.fromkeys(_WIDTHS, len(kept) * dim)
    numbers |= {"num_key_value_heads": len(kept_kv), "num_key_value_groups": len(kept) // len(kept_kv)}
    for name, number in numbers.items():
        if name in vars(module):
            setattr(module, name, number)
    if hasattr(type(module), "compute_bias"):
        module.__class__ = _with_own_bias(type(module), kept)


def _with_own_bias(cls: type[nn.Module], kept: list[int]) -> type[nn.Module]:
    """Return a T5 attention class that reads the position bias of the heads that stay.

    The first layer computes the bias of all heads, and hands it to the layers above, which have lost other heads. That
    of cross-attention is 0: it is handed on for one head, which stands for any number of them.
    """
    if "position_bias" not in inspect.signature(cls.forward).parameters:  # each layer has a bias of its own (UMT5)

        def own_bias(self: Any, *given: Any, **options: Any) -> Tensor:
            return cls.compute_bias(self, *given, **options)[:, kept]  # type: ignore[attr-defined, no-any-return]

        return type(cls.__name__, (cls,), {"compute_bias": own_bias, "__module__": cls.__module__})

    def forward(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        names = ("mask", "key_value_states", "position_bias")
        kwargs |= dict(zip(names, args, strict=False))
        is_cross = kwargs.get("key_value_states") is not None
        bias = None if is_cross else kwargs.get("position_bias")
        whole: list[Any] = [bias]

        def compute_bias(*given: Any, **options: Any) -> Tensor:
            whole[0] = type(self).compute_bias(self, *given, **options)
            return whole[0][:, kept]  # type: ignore[no-any-return]

        kwargs["position_bias"] = None if bias is None else bias[:, kept]
        vars(self)["compute_bias"] = compute_bias
        try:
            output, own, *rest = cls.forward(self, hidden_states, **kwargs)
        finally:
            vars(self).pop("compute_bias", None)
        if is_cross:
            return (output, own[:, :1], *rest)
        return (output, own if whole[0] is None else whole[0], *rest)

    return type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})
