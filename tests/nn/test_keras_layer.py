"""`attncli.keras.InterpretableMultiHeadAttention` has the numbers of the torch layer and works as layers of Keras."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import attncli
from attncli.errors import UsageError
from attncli.keras import InterpretableMultiHeadAttention
from attncli.nn import InterpretableMultiHeadAttention as TorchLayer

# Keras still writes arrays in a way that NumPy will change
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE, HEADS, WIDTH = 4, 2, 6
FULL = np.random.default_rng(3).random((2, HEADS, 5, 3)) < 0.6
FULL[0, 0, 0] = False
MASKS = {"no mask": None, "keys": FULL[:, 0, 0], "queries": FULL[:, 0], "heads": FULL}


def inputs(tokens: int = 5, width: int = WIDTH) -> np.ndarray[Any, Any]:
    return np.random.default_rng(tokens).standard_normal((2, tokens, width))


def with_weights_of(layer: Any, **widths: int) -> TorchLayer:
    twin = TorchLayer(SIZE, HEADS, 0.0, WIDTH, use_bias=layer.use_bias, dtype=torch.float64, **widths)
    with torch.no_grad():
        for part in ("query", "key", "value", "output"):
            from_keras, to = getattr(layer, f"{part}_projection"), getattr(twin, f"{part}_projection")
            to.weight.copy_(from_keras.kernel.value.T)
            to.bias.copy_(from_keras.bias.value)
    return twin


@pytest.mark.parametrize("case", MASKS)
def test_it_has_the_numbers_of_the_torch_layer(case: str) -> None:
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, 0.3, bias_initializer="random_normal", dtype="float64")
    query, key, value, mask = inputs(), inputs(3, 7), inputs(3, 2), MASKS[case]
    output = layer(query, key, value, mask=mask)
    twin = with_weights_of(layer, kdim=7, vdim=2)
    arrays = (None if array is None else torch.from_numpy(array) for array in (query, key, value, mask))
    torch.testing.assert_close(output, twin(*arrays), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.attention_scores, twin.attention_scores, rtol=0, atol=1e-12)
    assert not layer.attention_scores.requires_grad
    if mask is not None:
        assert (np.array(layer.attention_scores.sum(-1)) == 0).any()  # a query that sees no key


def test_functional_use_saving_and_loading(tmp_path: Path) -> None:
    query = keras.Input((5, WIDTH))
    layer = InterpretableMultiHeadAttention(
        SIZE, HEADS, kernel_initializer="he_normal", kernel_regularizer="l2", value_dim=3, name="attention"
    )
    features = layer(query)
    assert features.shape == (None, 5, WIDTH)
    assert layer.attention_scores is None
    model = keras.Model(query, keras.layers.Dense(1)(keras.layers.Flatten()(features)))
    model.compile("adam", "mse")
    before = np.array(layer.query_projection.kernel)
    model.fit(inputs(), np.ones((2, 1)), verbose=0)
    assert not np.array_equal(before, np.array(layer.query_projection.kernel))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs()).detach(), model(inputs()).detach())
    loaded = again.get_layer("attention")
    assert loaded.get_config() == layer.get_config()
    assert type(loaded) is type(layer)
    assert loaded.attention_scores.shape == (2, HEADS, 5, 5)
    layer(keras.Input((5, WIDTH)))
    assert layer.attention_scores is None  # not those of the call before


def test_a_subclassed_model_that_is_called_symbolically_stores_nothing() -> None:
    class Model(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.attention = InterpretableMultiHeadAttention(SIZE, HEADS)

        def call(self, tokens: Any) -> Any:
            return self.attention(tokens)

    model = Model()
    assert model(keras.Input((5, WIDTH))).shape == (None, 5, WIDTH)
    assert model.attention.attention_scores is None
    model(inputs())
    assert model.attention.attention_scores.shape == (2, HEADS, 5, 5)


def test_masks_that_keras_attaches_hide_keys_and_stay_on_the_output() -> None:
    layer, query = InterpretableMultiHeadAttention(SIZE, HEADS, 0.0, use_bias=False), inputs()
    query[0, 3:] = 0
    seen = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    output = keras.Sequential([keras.layers.Masking(), layer])(query)
    assert (np.array(layer.attention_scores)[0, :, :, 3:] == 0).all()
    np.testing.assert_array_equal(output._keras_mask, seen)
    masked = keras.layers.Masking()(query)
    layer(inputs(4), masked, masked)
    assert (np.array(layer.attention_scores)[0, :, :, 3:] == 0).all()
    tokens = np.ones((2, 1, 5, 5), bool)
    tokens[1, 0, :, 0] = False
    np.testing.assert_array_equal(layer(masked, mask=tokens)._keras_mask, seen)
    scores = np.array(layer.attention_scores)
    assert (scores[0, :, :, 3:] == 0).all()
    assert (scores[1, :, :, 0] == 0).all()
    assert (scores[1, :, :, 1:] > 0).all()


def test_training_drops_weights_and_scores_are_those_before() -> None:
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, 0.5, seed=1)
    output, scores = layer(inputs()), layer.attention_scores
    trained = layer(inputs(), training=True)
    assert not torch.allclose(trained, output)
    torch.testing.assert_close(layer.attention_scores, scores)
    layer.store, layer.detach = None, False
    layer(inputs())
    assert layer.attention_scores is None
    layer.store = "scores"
    layer(inputs())
    assert layer.attention_scores.requires_grad


def test_an_initialiser_gives_each_projection_numbers_of_its_own() -> None:
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, kernel_initializer=keras.initializers.GlorotUniform())
    layer(inputs())
    assert not np.array_equal(np.array(layer.query_projection.kernel), np.array(layer.key_projection.kernel))


def test_half_precision_has_scores_in_float32() -> None:
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, dtype="mixed_bfloat16")
    assert layer(inputs()).dtype == torch.bfloat16
    assert layer.attention_scores.dtype == torch.float32


def test_one_key_gives_one_warning_also_when_a_model_is_built() -> None:
    layer = InterpretableMultiHeadAttention(SIZE, HEADS)
    with pytest.warns(UserWarning, match=r"one key only: every attention weight is 1.*each feature a token"):
        layer(keras.layers.Reshape((1, WIDTH))(keras.Input((WIDTH,))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(inputs(1))


WRONG_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "mask type": (
        {"mask": np.ones((2, 5), "float32")},
        "expected a bool mask, in which True means attend, got float32",
    ),
    "mask shape": ({"mask": np.ones((5, 5), bool)}, r"expected a mask of \[2, 5\]"),
    "no key": ({"value": inputs()}, "expected a key for the value"),
    "batch": ({"key": inputs()[:1]}, "the key has a batch of 1, the query one of 2"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_inputs_are_refused(case: str) -> None:
    arguments, message = WRONG_CALLS[case]
    with pytest.raises(UsageError, match=message):
        InterpretableMultiHeadAttention(SIZE, HEADS)(inputs(), **arguments)


def test_wrong_arguments_and_widths_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown store 'statistics'"):
        InterpretableMultiHeadAttention(SIZE, HEADS, store="statistics")
    with pytest.raises(UsageError, match=r"expected the query with 3 features \(embed_dim\), got 6"):
        InterpretableMultiHeadAttention(SIZE, HEADS, embed_dim=3)(inputs())
    with pytest.raises(UsageError, match="expected the query with a known number of features"):
        InterpretableMultiHeadAttention(SIZE, HEADS)(keras.Input((5, None)))
    with pytest.raises(UsageError, match="expected the query as a tensor, got list"):
        InterpretableMultiHeadAttention(SIZE, HEADS)([inputs(), inputs()])
    layer, query = InterpretableMultiHeadAttention(SIZE, HEADS), inputs()
    assert layer.compute_output_shape(layer(query).shape) == query.shape
    for wrong, message in (
        (query[..., :4], r"expected the query with 6 features \(as its weights have\), got 4"),
        (query.astype("int32"), "expected the query with floating-point numbers, got int32"),
        (None, "expected the query as a tensor, got NoneType"),
    ):
        with pytest.raises(UsageError, match=message):
            layer(wrong)
    query[0, 0, 0] = np.nan
    layer(query)
    with pytest.raises(UsageError, match="not finite"):
        _ = layer.attention_scores


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, r'attncli\.keras needs Keras 3 .*: pip install "attncli\[keras\]"'),
        ("__version__ = '2.15.0'", r'attncli\.keras needs Keras 3 .*: pip install "attncli\[keras\]"'),
        ("raise ValueError('no backend foo')", r"Keras cannot be imported \(no backend foo\): .* KERAS_BACKEND=torch"),
        ("import tensorflow", r"Keras would run on tensorflow, .* KERAS_BACKEND=torch .*, or pip install tensorflow"),
    ],
    ids=["not installed", "Keras 2", "unknown backend", "backend not installed"],
)
def test_a_missing_keras_says_what_to_do(
    code: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "keras"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "attncli.keras.layer")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    package = attncli.keras
    monkeypatch.delitem(vars(package), "InterpretableMultiHeadAttention")
    if code is None:
        monkeypatch.setitem(sys.modules, "keras", None)
    else:
        (tmp_path / "keras.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        _ = package.InterpretableMultiHeadAttention
    assert "\n" not in str(caught.value)
