"""Value-weighted norms in float64 from a model's own weights: by the names that its authors gave to V and W_O."""

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
    """[batch, key, head, dim] of what a projection to values alone puts out."""
    return values.unflatten(-1, (-1, dim))


def last_third(values: torch.Tensor, heads: int, dim: int) -> torch.Tensor:
    """Where queries, keys and values of all heads come one after the other."""
    return values.chunk(3, dim=-1)[2].unflatten(-1, (heads, dim))


def last_of_each_head(values: torch.Tensor, heads: int, dim: int) -> torch.Tensor:
    """Where what belongs to a head comes together, its values last."""
    return values.flatten(1, -2).unflatten(-1, (heads, -1))[..., -dim:]


def last_columns(values: torch.Tensor, heads: int, dim: int) -> torch.Tensor:
    """Where queries come first, then keys and values of two heads that others share."""
    return values[..., -2 * dim :].unflatten(-1, (2, dim))


@dataclass(frozen=True)
class Parts:
    """Where V and W_O are, seen from the module that calls attention, and how values are laid out."""

    value: str
    output: str
    split: Callable[[torch.Tensor, int, int], torch.Tensor] = plain
    turned: bool = False


LLAMA = Parts("v_proj", "o_proj")
BERT = Parts("value", "../output.dense")
PARTS: Mapping[str, Parts] = {
    "albert": Parts("value", "dense"),
    "bart": Parts("v_proj", "out_proj"),
    "bert": BERT,
    "deepseek_v3": Parts("kv_b_proj", "o_proj", last_of_each_head),
    "distilbert": Parts("v_lin", "out_lin"),
    "gpt2": Parts("c_attn", "c_proj", last_third, turned=True),
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


def place(name: str, path: str) -> str:
    """The name of a module, seen from another."""
    while path.startswith("../"):
        name, path = name.rpartition(".")[0], path.removeprefix("../")
    return f"{name}.{path}"


def length(value: torch.Tensor, weight: torch.Tensor, heads: int) -> Array:
    """[batch, head, key]: ‖v_j W_O‖ of values [batch, key, head, dim] and W_O [in, out], head by head."""
    batch, keys, shared, dim = value.shape
    found = np.zeros((batch, heads, keys))
    for head in range(heads):
        own = weight[head * dim : (head + 1) * dim]
        for key in range(keys):
            written = value[:, key, head * shared // heads] @ own
            found[:, head, key] = written.square().sum(-1).sqrt().numpy()
    return found


def norms(model: nn.Module, tensors: Mapping[str, Any], parts: Parts, name: str, heads: int) -> list[Array]:
    """‖f(x_j)‖ of every call of one attention module of a float64 model in one pass."""
    seen: list[torch.Tensor] = []
    source = model.get_submodule(place(name, parts.value))
    handle = source.register_forward_hook(lambda module, given, made: seen.append(made))
    with torch.no_grad():
        model(**tensors)
    handle.remove()
    weight: Any = model.get_submodule(place(name, parts.output)).weight.detach()
    weight = weight if parts.turned else weight.T
    return [length(parts.split(one, heads, len(weight) // heads), weight, heads) for one in seen]


def reference(name: str, kind: str, module: str, call: int) -> Array:
    """[head, key] of one call of a family's attention, on its own input."""
    family = families.FAMILIES[name]
    model = families.build(family, "eager").double()
    heads = family.heads[kind]  # type: ignore[index]
    return np.asarray(norms(model, families.inputs(family), PARTS[name], module, heads)[call][0])
