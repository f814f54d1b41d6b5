"""Attention weights of seven mechanisms by plain loops over heads, queries and keys, in float64.

Each function starts from the input of the attention modules of a model and follows the formula of the paper. It uses
the projections and norms of the model, but not the masks, rotary positions and attention code of Transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

Array = np.ndarray
Sees = Callable[[int, int], bool]


def causal(i: int, j: int) -> bool:
    return j <= i


def everything(_i: int, _j: int) -> bool:
    return True


def window(size: int) -> Sees:
    return lambda i, j: i - size < j <= i


def softmax_rows(
    query: Array,
    key: Array,
    scale: float,
    sees: Sees,
    *,
    bias: Callable[[int, int, int], float] | None = None,
    cap: float | None = None,
    sinks: Array | None = None,
) -> Array:
    """[head, query, key] from query [head, query, dim] and key [kv head, key, dim]."""
    heads, queries, keys = len(query), query.shape[1], key.shape[1]
    weights = np.zeros((heads, queries, keys))
    for h in range(heads):
        shared = key[h * len(key) // heads]
        for i in range(queries):
            visible = [j for j in range(keys) if sees(i, j)]
            scores = [float(query[h, i] @ shared[j]) * scale for j in visible]
            if cap is not None:
                scores = [cap * math.tanh(score / cap) for score in scores]
            if bias is not None:
                scores = [score + bias(h, i, j) for score, j in zip(scores, visible, strict=True)]
            total = sum(math.exp(score) for score in scores)
            if sinks is not None:
                total += math.exp(float(sinks[h]))
            for j, score in zip(visible, scores, strict=True):
                weights[h, i, j] = math.exp(score) / total
    return weights


def rotated(vectors: Array, theta: float, interleaved: bool = False) -> Array:
    """[head, position, dim] with each pair of dimensions turned by position / theta^(2 pair / dim)."""
    turned = vectors.copy()
    size = vectors.shape[-1]
    for pair in range(size // 2):
        a, b = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + size // 2)
        for position in range(vectors.shape[1]):
            angle = position * theta ** (-2 * pair / size)
            x, y = vectors[:, position, a], vectors[:, position, b]
            turned[:, position, a] = x * math.cos(angle) - y * math.sin(angle)
            turned[:, position, b] = x * math.sin(angle) + y * math.cos(angle)
    return turned


def attention_inputs(model: nn.Module, tensors: Mapping[str, torch.Tensor], ends: str) -> dict[str, dict[str, Any]]:
    """The arguments of each module whose name ends with `ends`: name → arguments, including `hidden_states`."""
    arguments: dict[str, dict[str, Any]] = {}

    def remember(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            arguments[name] = {**kwargs, "hidden_states": args[0] if args else kwargs["hidden_states"]}

        return hook

    modules = {name: module for name, module in model.named_modules() if name.endswith(ends)}
    handles = [module.register_forward_pre_hook(remember(name), with_kwargs=True) for name, module in modules.items()]
    with torch.no_grad():
        model(**tensors)
    for handle in handles:
        handle.remove()
    return arguments


def _split(projected: torch.Tensor, size: int) -> Array:
    """[1, position, head * size] → [head, position, size]"""
    heads: Array = projected[0].detach().view(projected.shape[1], -1, size).transpose(0, 1).numpy()
    return heads


def _layer_inputs(
    model: nn.Module, tensors: Mapping[str, torch.Tensor], ends: str
) -> Iterator[tuple[int, Any, torch.Tensor]]:
    """The layer number, the module and the input of each attention module."""
    for layer, (name, call) in enumerate(attention_inputs(model, tensors, ends).items()):
        yield layer, model.get_submodule(name), call["hidden_states"]


def rotary(model: Any, tensors: Mapping[str, torch.Tensor]) -> dict[tuple[str, int], Array]:
    """Llama, Mistral, Gemma 2, GPT-OSS: grouped queries, rotary positions, window, soft cap, learned sink."""
    config = model.config
    theta = config.rope_parameters["rope_theta"]
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    maps: dict[tuple[str, int], Array] = {}
    for layer, module, x in _layer_inputs(model, tensors, "self_attn"):
        size = module.q_proj.out_features // config.num_attention_heads
        sliding = getattr(config, "sliding_window", None) and kinds[layer] == "sliding_attention"
        maps["decoder", layer] = softmax_rows(
            rotated(_split(module.q_proj(x), size), theta),
            rotated(_split(module.k_proj(x), size), theta),
            getattr(config, "query_pre_attn_scalar", size) ** -0.5,
            window(config.sliding_window) if sliding else causal,
            cap=getattr(config, "attn_logit_softcapping", None),
            sinks=module.sinks.detach().numpy() if hasattr(module, "sinks") else None,
        )
    return maps


def alibi(model: Any, tensors: Mapping[str, torch.Tensor]) -> dict[tuple[str, int], Array]:
    """BLOOM: query, key, value side by side per head; a penalty of 2^(-8 (h+1) / heads) per token."""
    heads = model.config.n_head
    maps: dict[tuple[str, int], Array] = {}
    for layer, module, x in _layer_inputs(model, tensors, "self_attention"):
        size = model.config.hidden_size // heads
        fused = _split(module.query_key_value(x), 3 * size)
        maps["decoder", layer] = softmax_rows(
            fused[..., :size],
            fused[..., size : 2 * size],
            size**-0.5,
            causal,
            bias=lambda h, i, j: -(2.0 ** (-8 * (h + 1) / heads)) * (i - j),
        )
    return maps


def latent(model: Any, tensors: Mapping[str, torch.Tensor]) -> dict[tuple[str, int], Array]:
    """DeepSeek V3: query and key from low-rank latents, and a rotary part of the key that all heads share."""
    config = model.config
    plain, turning = config.qk_nope_head_dim, config.qk_rope_head_dim
    theta = config.rope_parameters["rope_theta"]
    maps: dict[tuple[str, int], Array] = {}
    for layer, module, x in _layer_inputs(model, tensors, "self_attn"):
        query = _split(module.q_b_proj(module.q_a_layernorm(module.q_a_proj(x))), plain + turning)
        compressed = module.kv_a_proj_with_mqa(x)
        rank = config.kv_lora_rank
        up = _split(module.kv_b_proj(module.kv_a_layernorm(compressed[..., :rank])), plain + config.v_head_dim)
        shared = rotated(_split(compressed[..., rank:], turning), theta, interleaved=True)
        turned = rotated(query[..., plain:], theta, interleaved=True)
        maps["decoder", layer] = softmax_rows(
            np.concatenate([query[..., :plain], turned], -1),
            np.concatenate([up[..., :plain], np.repeat(shared, len(query), 0)], -1),
            (plain + turning) ** -0.5,
            causal,
        )
    return maps


def bucketed(model: Any, tensors: Mapping[str, torch.Tensor]) -> dict[tuple[str, int], Array]:
    """T5: no scale; a learned bias per head and bucket of distance, stored in the first layer of a stack."""
    config = model.config
    maps: dict[tuple[str, int], Array] = {}
    tables: dict[str, Array] = {}
    for name, call in attention_inputs(model, tensors, "Attention").items():
        module = model.get_submodule(name)
        stack, layer = name.split(".")[0], int(name.split(".")[2])
        source = call.get("key_value_states")
        crossing = source is not None
        if not crossing and module.has_relative_attention_bias:
            tables[stack] = module.relative_attention_bias.weight.detach().numpy()
        decoding = stack == "decoder"
        maps["cross" if crossing else stack, layer] = softmax_rows(
            _split(module.q(call["hidden_states"]), config.d_kv),
            _split(module.k(source if crossing else call["hidden_states"]), config.d_kv),
            1.0,
            causal if decoding and not crossing else everything,
            bias=None if crossing else _distance_bias(tables[stack], config, not decoding),
        )
    return maps


def _distance_bias(table: Array, config: Any, bidirectional: bool) -> Callable[[int, int, int], float]:
    """bias(head, i, j): half of the buckets for each distance, the others for logarithmic ranges of it."""
    count, furthest = config.relative_attention_num_buckets, config.relative_attention_max_distance
    if bidirectional:
        count //= 2

    def bias(head: int, i: int, j: int) -> float:
        distance = abs(i - j)
        bucket = distance
        if distance >= count // 2:
            share = math.log(distance / (count // 2)) / math.log(furthest / (count // 2))
            bucket = min(count - 1, count // 2 + int(share * (count - count // 2)))
        return float(table[bucket + (count if bidirectional and j > i else 0), head])

    return bias
