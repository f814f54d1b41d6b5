"""Multi-head attention with readable weights."""

from __future__ import annotations

import warnings
from typing import Any, overload

import torch
from torch import nn
from torch.nn import functional

from attncli.errors import UsageError
from attncli.layer_arguments import (
    NOT_FINITE,
    SINGLE_KEY_WARNING,
    check_inputs,
    check_optional_size,
    check_rate,
    check_size,
    check_store,
    check_width,
    mask_axes,
    mask_type_message,
)
from attncli.nn.projections import Initializer, build_projection, initializer_function, projection
from attncli.nn.statistics import AttentionStatistics, attention_statistics
from attncli.nn.weights import attention_weights, fused_attention


class InterpretableMultiHeadAttention(nn.Module):
    """Multi-head attention whose weights can be read after every call.

        layer = InterpretableMultiHeadAttention(d_model=16, n_head=4, embed_dim=64)
        output = layer(tokens)  # self-attention; or layer(query, key, value, mask)
        layer.attention_scores  # [batch, head, query, key]

    d_model             size of each head, as in the Keras layer of this name in KMR: all heads together have d_model *
                        n_head features, the input has embed_dim
    n_head              number of heads; each has keys and values of its own
    dropout_rate        share of the weights that training sets to 0; `attention_scores` are those before dropout
    embed_dim           features of the query and of the output; None: the first call decides, and the layer has no
                        parameters before (call it once before you make an optimizer, compile or export it)
    kdim, vdim          features of the key, embed_dim by default, and of the value, kdim by default
    value_dim           size of each head for values; d_model by default
    use_bias            whether the four projections have a bias
    kernel_initializer  name of Keras (glorot_uniform, he_normal, …) or a function such as `torch.nn.init.orthogonal_`
    bias_initializer    the same for biases
    store               what can be read after a call: "scores" is `attention_scores`; "statistics" is
                        `attention_statistics`, computed in blocks of queries, so that memory does not grow with query x
                        key; None is nothing. The last two use the fused attention of torch, which on a CPU keeps the
                        weights while it trains with dropout.
    detach              whether `attention_scores` are cut off from the graph of gradients

    In Temporal Fusion Transformers (Lim et al. 2021) the heads of the layer of this name share their values: the mean
    over heads is the attention of the layer. Here, as in KMR, each head has its own: read them one by one.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        dropout_rate: float = 0.1,
        embed_dim: int | None = None,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        value_dim: int | None = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        store: str | None = "scores",
        detach: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.d_model, self.n_head = check_size("d_model", d_model), check_size("n_head", n_head)
        self.dropout_rate, self.store = check_rate(dropout_rate), check_store(store, ("scores", "statistics"))
        self.embed_dim = check_optional_size("embed_dim", embed_dim)
        self.value_dim = check_optional_size("value_dim", value_dim) or self.d_model
        self.detach, self.use_bias = detach, use_bias
        self._fill_kernel = initializer_function("kernel_initializer", kernel_initializer)
        self._fill_bias = initializer_function("bias_initializer", bias_initializer)
        key_width = check_optional_size("kdim", kdim) or self.embed_dim
        value_width = check_optional_size("vdim", vdim) or key_width
        made = (use_bias, device, dtype)
        self.query_projection = projection(self.embed_dim, self.n_head * self.d_model, *made)
        self.key_projection = projection(key_width, self.n_head * self.d_model, *made)
        self.value_projection = projection(value_width, self.n_head * self.value_dim, *made)
        self.output_projection = projection(self.n_head * self.value_dim, self.embed_dim, *made)
        self._built = None not in (self.embed_dim, key_width, value_width)
        self._scores: torch.Tensor | None = None
        self._statistics: AttentionStatistics | None = None
        self._warned = False
        if self._built:
            self.reset_parameters()

    @property
    def attention_scores(self) -> torch.Tensor | None:
        """The weights of the last call, before dropout: [batch, head, query, key]; rows without a visible key are 0.

        None before the first call, after a call that failed, and if `store` is not "scores". Raise UsageError if they
        are not numbers.
        """
        if self._scores is None:
            return None
        if not bool(torch.isfinite(self._scores).all()):
            raise UsageError(NOT_FINITE)
        self._warn_of_single_key(self._scores.shape[-1], 3)
        return self._scores

    @property
    def attention_statistics(self) -> AttentionStatistics | None:
        """The statistics of the last call if `store` is "statistics", else None."""
        return self._statistics

    def reset_parameters(self) -> None:
        """Fill the weights again by the initialisers."""
        for layer in self._projections():
            self._fill(layer)

    @overload
    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        value: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor: ...

    @overload
    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        value: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        *,
        return_scores: bool,
    ) -> Any: ...

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        value: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        *,
        return_scores: bool = False,
    ) -> Any:
        """Return what the queries read, in the shape of `query`.

        query, key, value  [batch, token, feature]; the key is the query by default, the value is the key
        mask               bool, True means attend: [batch, key], [batch, query, key] or [batch, head, query, key]
        return_scores      return the weights too, as `torch.export` needs, which drops what a layer stores
        Raise UsageError for inputs that do not fit the layer or each other.
        """
        self._forget()
        if value is not None and key is None:
            raise UsageError("expected a key for the value: the order is query, key, value")
        key = query if key is None else key
        value = key if value is None else value
        self._check(query, key, value)
        if not self._built:
            self._build(query.shape[-1], key.shape[-1], value.shape[-1])
        self._check_layer(query, key, value)
        visible = self._visible(mask, query, key)
        queries, keys, values = (
            layer(tokens).unflatten(-1, (self.n_head, -1)).transpose(1, 2)
            for layer, tokens in zip(self._projections()[:3], (query, key, value), strict=True)
        )
        dropout = self.dropout_rate if self.training else 0.0
        weights = None
        if return_scores or self.store == "scores":
            weights = attention_weights(queries, keys, visible)
            read = functional.dropout(weights, dropout).to(values.dtype) @ values
        else:
            read = fused_attention(queries, keys, values, visible, dropout)
        output = self.output_projection(read.transpose(1, 2).flatten(2))
        self._remember(queries, keys, visible, weights)
        return (output, weights) if return_scores else output

    def _forget(self) -> None:
        if not torch.compiler.is_exporting():
            self._scores = self._statistics = None

    def _remember(
        self, queries: torch.Tensor, keys: torch.Tensor, visible: torch.Tensor | None, weights: torch.Tensor | None
    ) -> None:
        """Store the weights, or their statistics; an exported program has no attributes."""
        if torch.compiler.is_exporting():
            return
        if self.store == "scores" and weights is not None:
            self._scores = weights.detach() if self.detach else weights
        if self.store == "statistics":
            self._statistics = attention_statistics(queries.detach(), keys.detach(), visible)
        if not torch.compiler.is_compiling():  # else when the weights are read
            self._warn_of_single_key(keys.shape[2], 6)

    def _warn_of_single_key(self, keys: int, stacklevel: int) -> None:
        if keys == 1 and not self._warned:
            self._warned = True
            warnings.warn(SINGLE_KEY_WARNING.format(layer=type(self).__name__), UserWarning, stacklevel)

    def _projections(self) -> tuple[nn.Linear, nn.Linear, nn.Linear, nn.Linear]:
        return self.query_projection, self.key_projection, self.value_projection, self.output_projection

    def _fill(self, layer: nn.Linear) -> None:
        with torch.no_grad():
            self._fill_kernel(layer.weight)
            if layer.bias is not None:
                self._fill_bias(layer.bias)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _build(self, query_width: int, key_width: int, value_width: int) -> None:
        """Make the weights that no argument gave a size."""
        heads, value_heads = self.n_head * self.d_model, self.n_head * self.value_dim
        sizes = ((query_width, heads), (key_width, heads), (value_width, value_heads), (value_heads, query_width))
        for layer, (width, size) in zip(self._projections(), sizes, strict=True):
            if build_projection(layer, width, size):
                self._fill(layer)
        self._check_sizes(heads, value_heads)
        self.embed_dim, self._built = self.query_projection.in_features, True

    def _check_sizes(self, heads: int, value_heads: int) -> None:
        """Raise UsageError if weights that were loaded before the first call belong to heads of another size."""
        given = [layer.out_features for layer in self._projections()[:3]] + [self.output_projection.in_features]
        if given != [heads, heads, value_heads, value_heads]:
            raise UsageError(
                f"the loaded weights have {given[0]} features for queries, {given[1]} for keys and {given[2]} for "
                f"values: expected d_model * n_head = {heads}, and value_dim * n_head = {value_heads} for values"
            )

    def _check(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        """Raise UsageError if the inputs are not tensors of one type and device that fit together."""
        for name, tensor in (("query", query), ("key", key), ("value", value)):
            if not isinstance(tensor, torch.Tensor):
                raise UsageError(f"expected the {name} as a torch.Tensor, got {type(tensor).__name__}")
            if not tensor.is_floating_point():
                raise UsageError(f"expected the {name} with floating-point numbers, got {_named(tensor.dtype)}")
            if tensor.device != query.device:
                raise UsageError(f"the {name} is on {tensor.device}, the query on {query.device}")
        check_inputs(tuple(query.shape), tuple(key.shape), tuple(value.shape))

    def _check_layer(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        """Raise UsageError if the inputs do not fit the weights of the layer."""
        names = (("query", "embed_dim"), ("key", "kdim"), ("value", "vdim"))
        for layer, tokens, (name, argument) in zip(self._projections(), (query, key, value), names, strict=False):
            check_width(name, tokens.shape[-1], layer.in_features, argument)
            weight = layer.weight
            if tokens.device != weight.device:
                raise UsageError(f"the {name} is on {tokens.device}, the layer on {weight.device}: move one with .to()")
            if tokens.dtype != weight.dtype and not torch.is_autocast_enabled(tokens.device.type):
                types = _named(tokens.dtype), _named(weight.dtype)
                raise UsageError(f"the {name} is {types[0]}, the layer {types[1]}: convert one with .to(dtype)")

    def _visible(self, mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
        """Return the mask with four axes; raise UsageError if it does not fit."""
        if mask is None:
            return None
        if not isinstance(mask, torch.Tensor):
            got = type(mask).__name__
            raise UsageError(f"expected a bool mask, in which True means attend, got {got}: give a torch.Tensor")
        if mask.dtype != torch.bool:
            raise UsageError(mask_type_message(_named(mask.dtype)))
        if mask.device != query.device:
            raise UsageError(f"the mask is on {mask.device}, the query on {query.device}")
        for axis in mask_axes(tuple(mask.shape), query.shape[0], self.n_head, query.shape[1], key.shape[1]):
            mask = mask.unsqueeze(axis)
        return mask

    def extra_repr(self) -> str:
        """Return the arguments that make the layer."""
        return (
            f"d_model={self.d_model}, n_head={self.n_head}, dropout_rate={self.dropout_rate}, "
            f"embed_dim={self.embed_dim}, store={self.store!r}"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the weights of the last call, which may belong to a graph of gradients."""
        return {**self.__dict__, "_scores": None, "_statistics": None}


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
