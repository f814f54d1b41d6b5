"""The matrices of single heads, W_Q, W_K, W_V and W_O, taken out of the modules of a model."""

import re
from typing import Any

import torch
from torch import nn

from attncli.capturing.sites import Site
from attncli.models import Loaded

Tensor = torch.Tensor
_ROLE = re.compile(
    r"(?:w|to|linear|lin)?_?(?P<role>[qkv])(?:uer(?:y|ies)|eys?|alues?)?(?:_?(?:proj|lin|linear|layer|head|projection))?",
    re.IGNORECASE,
)
"""Names of the modules that make queries, keys and values, beside each other in the module that calls attention."""
_JOINED = "c_attn"
"""Name of the module of GPT-2 that makes queries, keys and values, in this order."""


@torch.inference_mode()
def head_matrices(loaded: Loaded, site: Site) -> dict[str, Tensor]:
    """Return W_Q, W_K, W_V [head, dim, in] and W_O [head, dim, out] of an attention call, those that are found.

    Heads that share keys and values have the same W_K and W_V.
    """
    groups = site.kv_heads or site.heads
    found: dict[str, Tensor] = {}
    for name, child in loaded.model.get_submodule(site.name).named_children():
        matrix = _matrix(child)
        if matrix is None:
            continue
        if name == _JOINED and groups == site.heads and matrix.shape[0] == 3 * matrix.shape[1]:
            found |= dict(zip(("W_Q", "W_K", "W_V"), matrix.chunk(3), strict=True))
        elif role := _ROLE.fullmatch(name):
            found[f"W_{role['role'].upper()}"] = matrix
    by_head = {}
    for name, matrix in found.items():
        count = site.heads if name == "W_Q" else groups
        if matrix.shape[0] % count == 0 and site.heads % count == 0:
            by_head[name] = matrix.view(count, -1, matrix.shape[1]).repeat_interleave(site.heads // count, 0)
    if site.projection is not None:
        module: Any = loaded.model.get_submodule(site.projection.name)
        like = next(module.parameters())
        matrix = site.projection.matrix(module, like, _width(module, site))
        by_head["W_O"] = matrix.reshape(site.heads, -1, matrix.shape[1])
    return {name: matrix.detach() for name, matrix in by_head.items()}


def _width(module: Any, site: Site) -> int:
    """Return the number of inputs of an output projection."""
    return int(getattr(module, "in_features", 0) or site.heads * (site.dim or 0))


def _matrix(module: Any) -> Tensor | None:
    """Return the matrix [out, in] by which a module multiplies its input; None if it is no linear module."""
    if type(module) is nn.Linear:
        return module.weight
    if type(module).__name__ == "Conv1D":
        weight: Tensor = module.weight
        return weight.T
    if not isinstance(getattr(module, "in_features", None), int):
        return None
    like = next(module.parameters())  # an adapter: its matrix is that of the model and its own together
    units = torch.eye(module.in_features, dtype=like.dtype, device=like.device)
    outputs: Tensor = module(units) - module(torch.zeros_like(units[:1]))
    return outputs.T
