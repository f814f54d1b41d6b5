"""Value-weighted norms in float64 from the weights of a model, which are found by the names of V and W_O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import families
import numpy as np
import torch
from torch import nn

Array = np.ndarray


def plain(values: torch.Tensor, heads: int, dim: int) -> torch.Tensor:
    """[batch, key, head, dim] from the output of a projection to values only."""
    return values.reshape(*values.shape[:-1], -1, dim)


def last_third(values: torch.Tensor, heads: int, dim: int) -> torch.Tensor:
    """[batch, key, head, dim] from queries of all heads, then keys of all heads, then values of all heads."""
    return values.chunk(3, dim=-1)[2].reshape(*values.shape[:-1], heads, dim)


def last_of_each_head(values: torch.Tensor, heads: int, dim: int) -> torch.Tensor:
    """[batch, key, head, dim] from the vectors of one head after another, the values of each head last."""
    return values.reshape(len(values), -1, heads, values.shape[-1] // heads)[..., -dim:]


def last_columns(values: torch.Tensor, heads: int, dim: int) -> torch.Tensor:
    """[batch, key, head, dim] from queries, then keys, then values, with two key heads that query heads share."""
    return values[..., -2 * dim :].reshape(*values.shape[:-1], 2, dim)


@dataclass(frozen=True)
class Parts:
    """The paths of V and W_O from the module that calls attention, and the layout of the values."""

    value: str
    output: str
    split: Callable[[torch.Tensor, int, int], torch.Tensor] = plain
    transposed: bool = False


LLAMA = Parts("v_proj", "o_proj")
BERT = Parts("value", "../output.dense")
PARTS: Mapping[str, Parts] = {
    "albert": Parts("value", "dense"),
    "bart": Parts("v_proj", "out_proj"),
    "bert": BERT,
    "deepseek_v3": Parts("kv_b_proj", "o_proj", last_of_each_head),
    "distilbert": Parts("v_lin", "out_lin"),
    "gpt2": Parts("c_attn", "c_proj", last_third, transposed=True),
    "gpt_neox": Parts("query_key_value", "dense", last_of_each_head),
    "gpt_oss": LLAMA,
    "llama": LLAMA,
    "mistral": LLAMA,
    "modernbert": Parts("Wqkv", "Wo", last_third),
    "opt": Parts("v_proj", "out_proj"),
    "phi3": Parts("qkv_proj", "o_proj", last_columns),
    "qwen2": LLAMA,
    "t5": Parts("v", "o"),
}


def resolve_path(name: str, path: str) -> str:
    """The qualified name of a module from a path relative to another module."""
    while path.startswith("../"):
        name, path = name.rpartition(".")[0], path.removeprefix("../")
    return f"{name}.{path}"


def projected_norms(value: torch.Tensor, weight: torch.Tensor, heads: int) -> Array:
    """[batch, head, key]: ‖v_j W_O‖ of values [batch, key, head, dim] and W_O [in, out], head by head."""
    batch, keys, shared, dim = value.shape
    result = np.zeros((batch, heads, keys))
    for head in range(heads):
        head_weight = weight[head * dim : (head + 1) * dim]
        for key in range(keys):
            written = value[:, key, head * shared // heads] @ head_weight
            result[:, head, key] = written.square().sum(-1).sqrt().numpy()
    return result


def norms(model: nn.Module, tensors: Mapping[str, Any], parts: Parts, name: str, heads: int) -> list[Array]:
    """‖f(x_j)‖ of every call of one attention module in one pass of a float64 model, each [batch, head, key]."""
    values: list[torch.Tensor] = []
    source = model.get_submodule(resolve_path(name, parts.value))
    handle = source.register_forward_hook(lambda module, args, output: values.append(output))
    with torch.no_grad():
        model(**tensors)
    handle.remove()
    output: Any = model.get_submodule(resolve_path(name, parts.output))
    weight = output.weight.detach()
    weight = weight if parts.transposed else weight.T
    return [projected_norms(parts.split(value, heads, len(weight) // heads), weight, heads) for value in values]


def reference(name: str, kind: str, module: str, call: int) -> Array:
    """‖f(x_j)‖, [head, key], of one attention call of a family on its own input."""
    family = families.FAMILIES[name]
    model = families.build(family, "eager").double()
    heads = family.heads[kind]
    return np.asarray(norms(model, families.inputs(family), PARTS[name], module, heads)[call][0])
