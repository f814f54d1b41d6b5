"""Multi-head attention with readable weights, for Keras 3 on every backend."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import keras
from keras import ops

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

Shape = tuple[int | None, ...]
_NO_TENSOR = "expected the {name} as a tensor, got {got}: call layer(query, key, value)"
_LOWEST = -1e30
"""A score that softmax turns into 0."""
_KINDS = {
    "kernel_initializer": keras.initializers,
    "bias_initializer": keras.initializers,
    "kernel_regularizer": keras.regularizers,
    "bias_regularizer": keras.regularizers,
    "kernel_constraint": keras.constraints,
    "bias_constraint": keras.constraints,
}
"""Arguments of the projections, and where Keras looks up their names."""


@keras.saving.register_keras_serializable(package="attncli")
class InterpretableMultiHeadAttention(keras.layers.Layer):  # type: ignore[misc]
    """Multi-head attention whose weights can be read after every call, with the numbers of `attncli.nn`.

        layer = InterpretableMultiHeadAttention(d_model=16, n_head=4)
        output = layer(tokens)  # self-attention; or layer(query, key, value, mask)
        layer.attention_scores  # [batch, head, query, key]

    d_model        size of each head; the width of the output is that of the query
    n_head         number of heads; each has keys and values of its own
    dropout_rate   share of the weights that training sets to 0; `attention_scores` are those before dropout
    embed_dim      features that the query must have; None: any
    value_dim      size of each head for values; d_model by default
    use_bias       whether the four projections have a bias
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint
                   those of the projections, as in `keras.layers.EinsumDense`
    seed           seed of the dropout
    store          "scores" or None: whether `attention_scores` can be read
    detach         whether they are cut off from the graph of gradients

    Calls with symbolic tensors, and those that TensorFlow and JAX compile in `fit` and `predict`, store nothing: call
    the model itself, `model(batch)`, to read scores. Import this class before `keras.saving.load_model`.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        dropout_rate: float = 0.1,
        embed_dim: int | None = None,
        *,
        value_dim: int | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        seed: int | None = None,
        store: str | None = "scores",
        detach: bool = True,
        **layer_options: Any,
    ) -> None:
        super().__init__(**layer_options)
        self.d_model, self.n_head = check_size("d_model", d_model), check_size("n_head", n_head)
        self.dropout_rate, self.store = check_rate(dropout_rate), check_store(store, ("scores",))
        self.embed_dim = check_optional_size("embed_dim", embed_dim)
        self.value_dim = check_optional_size("value_dim", value_dim) or self.d_model
        self.use_bias, self.seed, self.detach = use_bias, seed, detach
        given = (
            *(kernel_initializer, bias_initializer, kernel_regularizer),
            *(bias_regularizer, kernel_constraint, bias_constraint),
        )
        self._of_projections = {
            name: kind.get(value) for (name, kind), value in zip(_KINDS.items(), given, strict=True)
        }
        self._dropout = keras.layers.Dropout(self.dropout_rate, seed=seed, dtype=self.dtype_policy)
        self._scores: Any = None
        self._warned = False
        self.supports_masking = True

    def build(self, query_shape: Shape, key_shape: Shape | None = None, value_shape: Shape | None = None) -> None:
        """Make the projections for inputs of these shapes; raise UsageError if these do not fit together."""
        if query_shape and isinstance(query_shape[0], list | tuple):
            raise UsageError(_NO_TENSOR.format(name="query", got="list"))
        key_shape = key_shape or query_shape
        value_shape = value_shape or key_shape
        check_inputs(query_shape, key_shape, value_shape)
        if self.embed_dim is not None:
            check_width("query", query_shape[-1], self.embed_dim, "embed_dim")
        width = query_shape[-1]
        if width is None:
            raise UsageError("expected the query with a known number of features, got none: give keras.Input a shape")
        sizes = {"query": self.n_head * self.d_model, "key": self.n_head * self.d_model}
        sizes |= {"value": self.n_head * self.value_dim, "output": width}
        shapes = (query_shape, key_shape, value_shape, (*query_shape[:-1], self.n_head * self.value_dim))
        for (name, size), shape in zip(sizes.items(), shapes, strict=True):
            # not Dense: the matmul of Keras computes float64 in float32
            layer = keras.layers.EinsumDense("btf,fs->bts", (None, size), name=name, **self._projection_options())
            layer.supports_masking = True  # else it warns of masks, which `call` reads itself
            layer.build(shape)
            setattr(self, f"{name}_projection", layer)

    def _projection_options(self) -> dict[str, Any]:
        # an initialiser without a seed gives the same numbers again: each projection gets one of its own
        initializers = {
            name: type(value).from_config(value.get_config())
            for name, value in self._of_projections.items()
            if isinstance(value, keras.initializers.Initializer)
        }
        bias_axes = "s" if self.use_bias else None
        return {**self._of_projections, **initializers, "bias_axes": bias_axes, "dtype": self.dtype_policy}

    @property
    def attention_scores(self) -> Any:
        """The weights of the last call, before dropout: [batch, head, query, key]; rows without a visible key are 0.

        None before the first call, after a symbolic or failed call, and if `store` is None. Raise UsageError if they
        are not numbers.
        """
        if self._scores is not None and not bool(ops.all(ops.isfinite(self._scores))):
            raise UsageError(NOT_FINITE)
        return self._scores

    def call(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        mask: Any = None,
        key_mask: Any = None,
        value_mask: Any = None,
        training: bool | None = None,
    ) -> Any:
        """Return what the queries read, in the shape of `query`.

        query, key, value     [batch, token, feature]; the key is the query by default, the value is the key
        mask                  bool, True means attend: [batch, key], [batch, query, key] or [batch, head, query, key]
        key_mask, value_mask  masks that Keras attaches to these inputs; they hold as well
        Raise UsageError for inputs that do not fit the layer or each other.
        """
        self._scores = None
        attached = getattr(query, "_keras_mask", None) if key is None else None
        key, value = _filled(query, key, value)
        self._check(query, key, value)
        visible = self._visible((mask, key_mask, value_mask, attached), query, key)
        queries, keys = self._heads(self.query_projection(query)), self._heads(self.key_projection(key))
        values = self._heads(self.value_projection(value))
        weights = _weights(queries, keys, visible)
        dropped = ops.cast(self._dropout(weights, training=training), values.dtype)
        read, shape = ops.einsum("bhqk,bkhs->bqhs", dropped, values), ops.shape(query)
        merged = ops.reshape(read, (shape[0], shape[1], self.n_head * self.value_dim))
        output = self.output_projection(merged)
        if self.store == "scores" and _is_computed(weights):
            self._scores = ops.stop_gradient(weights) if self.detach else weights
        return output

    def compute_output_spec(self, query: Any, key: Any = None, value: Any = None, mask: Any = None, **_: Any) -> Any:
        """Return the shape and type of the output; nothing is computed and no scores are stored."""
        self._scores = None
        key, value = _filled(query, key, value)
        self._check(query, key, value)
        self._visible((mask,), query, key)
        return keras.KerasTensor(query.shape, dtype=self.compute_dtype)

    def compute_output_shape(self, query_shape: Shape, *_: Any, **__: Any) -> Shape:
        """Return the shape of the output, which is that of the query."""
        return query_shape

    def compute_mask(self, query: Any, previous_mask: Any = None) -> Any:
        """Return the mask that Keras attached to the query: it holds for the output."""
        return getattr(query, "_keras_mask", None)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make the layer."""
        own = (
            *("d_model", "n_head", "dropout_rate", "embed_dim", "value_dim"),
            *("use_bias", "seed", "store", "detach"),
        )
        serialized = {name: kind.serialize(self._of_projections[name]) for name, kind in _KINDS.items()}
        return {**super().get_config(), **{name: getattr(self, name) for name in own}, **serialized}

    def _check(self, query: Any, key: Any, value: Any) -> None:
        """Raise UsageError if the inputs do not fit; warn once if there is one key only."""
        named = {"query": query, "key": key, "value": value}
        for name, tokens in named.items():
            if not hasattr(tokens, "shape"):
                raise UsageError(_NO_TENSOR.format(name=name, got=type(tokens).__name__))
            dtype = keras.backend.standardize_dtype(tokens.dtype)
            if "float" not in dtype:
                raise UsageError(f"expected the {name} with floating-point numbers, got {dtype}")
        check_inputs(tuple(query.shape), tuple(key.shape), tuple(value.shape))
        for name, tokens in named.items() if self.built else ():
            width = getattr(self, f"{name}_projection").kernel.shape[0]
            check_width(name, tokens.shape[-1], width, "as its weights have")
        if key.shape[1] == 1 and not self._warned:
            self._warned = True
            warnings.warn(SINGLE_KEY_WARNING.format(layer=type(self).__name__), UserWarning, stacklevel=2)

    def _visible(self, masks: tuple[Any, ...], query: Any, key: Any) -> Any:
        """Return which keys all masks leave visible, with four axes; None if there is no mask."""
        visible = None
        for mask in masks:
            if mask is None:
                continue
            dtype = keras.backend.standardize_dtype(mask.dtype) if hasattr(mask, "dtype") else type(mask).__name__
            if dtype != "bool":
                raise UsageError(mask_type_message(dtype))
            for axis in mask_axes(tuple(mask.shape), query.shape[0], self.n_head, query.shape[1], key.shape[1]):
                mask = ops.expand_dims(mask, axis)
            visible = mask if visible is None else ops.logical_and(visible, mask)
        return visible

    def _heads(self, tokens: Any) -> Any:
        """Return features split into heads: [batch, token, head * size] → [batch, token, head, size]."""
        shape = ops.shape(tokens)
        return ops.reshape(tokens, (shape[0], shape[1], self.n_head, tokens.shape[-1] // self.n_head))


def _filled(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    """Return key and value, which are the query and the key by default."""
    if value is not None and key is None:
        raise UsageError("expected a key for the value: the order is query, key, value")
    key = query if key is None else key
    return key, key if value is None else value


def _weights(queries: Any, keys: Any, visible: Any) -> Any:
    """Return softmax(query key^T / √size) over the visible keys: [batch, head, query, key], at least float32."""
    scores = ops.einsum("bqhs,bkhs->bhqk", queries * queries.shape[-1] ** -0.5, keys)
    if keras.backend.standardize_dtype(scores.dtype) != "float64":
        scores = ops.cast(scores, "float32")
    if visible is not None:
        scores = ops.where(visible, scores, ops.cast(_LOWEST, scores.dtype))
    # the softmax of Keras warns of one key at every call
    weights = ops.ones_like(scores) if scores.shape[-1] == 1 else ops.softmax(scores, axis=-1)
    return weights if visible is None else ops.where(visible, weights, ops.zeros_like(weights))


def _is_computed(tensor: Any) -> bool:
    """Return whether a tensor has numbers, unlike those with which Keras or a backend traces a call."""
    if keras.backend.backend() == "tensorflow":
        return hasattr(tensor, "numpy")
    if keras.backend.backend() == "jax":
        return not isinstance(tensor, sys.modules["jax"].core.Tracer)
    return getattr(getattr(tensor, "device", None), "type", None) != "meta"
