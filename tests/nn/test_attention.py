"""`attncli.nn.InterpretableMultiHeadAttention` computes what torch does, and its weights can be read."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import attncli
from attncli.errors import UsageError
from attncli.nn import InterpretableMultiHeadAttention

BATCH, QUERIES, KEYS, HEADS, SIZE = 2, 5, 7, 3, 4
WIDTH = HEADS * SIZE


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def made(**arguments: object) -> InterpretableMultiHeadAttention:
    options: dict[str, object] = {"dropout_rate": 0.0, "embed_dim": WIDTH, "dtype": torch.float64, **arguments}
    return InterpretableMultiHeadAttention(SIZE, HEADS, **options)  # type: ignore[arg-type]


def tokens(count: int = QUERIES, width: int = WIDTH, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(BATCH, count, width, dtype=dtype)


def masks() -> dict[str, torch.Tensor | None]:
    """One of each shape; in the last, a query sees no key."""
    full = torch.rand(BATCH, HEADS, QUERIES, KEYS) < 0.6
    full[..., 0] = True
    none = full.clone()
    none[0, 0, 1] = False
    padding = torch.arange(KEYS) < torch.tensor([[3], [KEYS]])
    return {
        "no mask": None,
        "keys": padding,
        "queries": full[:, 0],
        "one for all": full[:1, 0],
        "heads": full,
        "none": none,
    }


def of_torch(layer: InterpretableMultiHeadAttention) -> nn.MultiheadAttention:
    """Return torch's layer with the same weights."""
    reference = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    parts = (layer.query_projection, layer.key_projection, layer.value_projection)
    with torch.no_grad():
        for part in (*parts, layer.output_projection):
            nn.init.normal_(part.bias)
        reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        reference.out_proj.load_state_dict(layer.output_projection.state_dict())
    return reference


@pytest.mark.parametrize("store", ["scores", "statistics", None])
@pytest.mark.parametrize("case", ["no mask", "keys", "queries", "one for all", "heads"])
def test_it_computes_what_torch_does(case: str, store: str | None) -> None:
    layer, mask = made(store=store), masks()[case]
    query, key, value = tokens(), tokens(KEYS), tokens(KEYS)
    blocked = None
    if mask is not None:
        full = mask[:, None, None] if mask.dim() == 2 else mask[:, None] if mask.dim() == 3 else mask
        blocked = ~full.expand(BATCH, HEADS, QUERIES, KEYS).flatten(0, 1)
    output, weights = of_torch(layer)(query, key, value, attn_mask=blocked, average_attn_weights=False)
    returned, scores = layer(query, key, value, mask, return_scores=True)
    torch.testing.assert_close(layer(query, key, value, mask), output, rtol=0, atol=1e-12)
    torch.testing.assert_close(returned, output, rtol=0, atol=1e-12)
    torch.testing.assert_close(scores, weights, rtol=0, atol=1e-12)
    assert (layer.attention_scores is not None) == (store == "scores")
    if layer.attention_scores is not None:
        assert torch.equal(layer.attention_scores, scores)


@pytest.mark.parametrize("store", ["scores", None])
def test_a_query_that_sees_no_key_reads_nothing(store: str | None) -> None:
    layer, query, key = made(store=store), tokens().requires_grad_(), tokens(KEYS)
    output, scores = layer(query, key, mask=masks()["none"], return_scores=True)
    assert scores[0, 0, 1].eq(0).all()
    assert scores[0, 1, 1].sum().item() == pytest.approx(1)
    mask = torch.zeros(BATCH, KEYS, dtype=torch.bool)
    nothing = layer(query, key, mask=mask)
    assert torch.equal(nothing, layer.output_projection.bias.expand_as(nothing))
    (output.sum() + nothing.sum()).backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("block", [1, 1 << 20], ids=["a row at a time", "one block"])
def test_statistics_are_those_of_the_weights(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncli.nn.statistics.BLOCK_WEIGHTS", block)
    layer, query, key, mask = made(store="statistics"), tokens(), tokens(KEYS), masks()["none"]
    mask[1, :, 2, 1:] = False  # type: ignore[index]
    _, weights = layer(query, key, mask=mask, return_scores=True)
    found = layer.attention_statistics
    assert found is not None
    for entry, head, row in np.ndindex(BATCH, HEADS, QUERIES):
        seen = mask[entry, head, row]  # type: ignore[index]
        share = weights[entry, head, row][seen].detach().numpy()
        values = [getattr(found, name)[entry, head, row].item() for name in ("entropy", "entropy_normalized")]
        largest = found.strongest_key[entry, head, row].item(), found.strongest_weight[entry, head, row].item()
        if not len(share):
            assert np.isnan(values).all()
            assert largest[0] == -1
            assert np.isnan(largest[1])
            continue
        entropy = -(share * np.log(share)).sum()
        normalized = entropy / np.log(len(share)) if len(share) > 1 else np.nan
        assert values == pytest.approx([entropy, normalized], abs=1e-12, nan_ok=True)
        assert largest == (weights[entry, head, row].argmax().item(), pytest.approx(share.max()))
    received = weights.sum(2) / mask.sum(2)  # type: ignore[union-attr]
    torch.testing.assert_close(found.received, received, rtol=0, atol=1e-12, equal_nan=True)


def test_received_attention_counts_the_queries_that_a_mask_of_keys_leaves() -> None:
    layer, mask = made(store="statistics"), masks()["keys"]
    assert mask is not None
    _, weights = layer(tokens(), tokens(KEYS), mask=mask, return_scores=True)
    expected = weights.mean(2).masked_fill(~mask[:, None], torch.nan)
    torch.testing.assert_close(layer.attention_statistics.received, expected, rtol=0, atol=1e-12, equal_nan=True)


def test_statistics_keep_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    softmax = torch.softmax
    monkeypatch.setattr(
        torch, "softmax", lambda scores, *a, **k: sizes.append(scores.numel()) or softmax(scores, *a, **k)
    )
    monkeypatch.setattr("attncli.nn.statistics.BLOCK_WEIGHTS", 1000)
    made(store="statistics")(tokens(64)).sum().backward()
    assert len(sizes) > 1
    assert max(sizes) <= 1000


def test_the_weights_are_those_of_the_last_call_only() -> None:
    layer = made()
    assert layer.attention_scores is None
    layer(tokens())
    assert layer.attention_scores is not None
    assert not layer.attention_scores.requires_grad
    with pytest.raises(UsageError):
        layer(tokens(width=3))
    assert layer.attention_scores is None
    layer.detach = False
    layer(tokens())
    assert layer.attention_scores.requires_grad
    assert copy.deepcopy(layer).attention_scores is None  # a tensor of a graph could not be copied
    assert pickle.loads(pickle.dumps(layer)).attention_scores is None
    layer.store = None
    layer(tokens())
    assert layer.attention_scores is None


def test_dropout_changes_the_output_and_not_the_weights() -> None:
    layer, query = made(dropout_rate=0.5), tokens()
    first, weights = layer(query), layer.attention_scores
    assert not torch.allclose(first, layer(query))
    assert torch.equal(weights, layer.attention_scores)
    assert torch.equal(layer.eval()(query), layer(query))


def test_without_embed_dim_the_first_call_decides() -> None:
    layer = made(embed_dim=None, dtype=None)
    empty = copy.deepcopy(layer)
    query, key, value = (tokens(4, width, torch.float32) for width in (6, 5, 3))
    output = layer(query, key, value)
    assert output.shape == query.shape
    assert layer.embed_dim == 6
    assert [part.in_features for part in layer._projections()] == [6, 5, 3, WIDTH]
    assert {type(part) for part in layer._projections()} == {nn.Linear}
    stored = io.BytesIO()
    torch.save(layer.state_dict(), stored)
    stored.seek(0)
    empty.load_state_dict(torch.load(stored))
    with pytest.raises(UsageError, match=r"expected the query with 6 features \(embed_dim\), got 5"):
        empty(key, key, value)
    assert torch.equal(empty(query, key, value), output)
    assert repr(empty) == repr(layer)
    given = InterpretableMultiHeadAttention(SIZE, HEADS, 0.0, 6, kdim=5, vdim=3)
    given.load_state_dict(layer.state_dict())
    assert torch.equal(given(query, key, value), output)
    assert repr(given) == repr(layer)


def test_initialisers_and_bias() -> None:
    plain = made(use_bias=False, kernel_initializer="ones", value_dim=np.int64(2))
    assert {name: tuple(weight.shape) for name, weight in plain.state_dict().items()} == {
        "query_projection.weight": (WIDTH, WIDTH),
        "key_projection.weight": (WIDTH, WIDTH),
        "value_projection.weight": (HEADS * 2, WIDTH),
        "output_projection.weight": (WIDTH, HEADS * 2),
    }
    assert all(weight.eq(1).all() for weight in plain.state_dict().values())
    assert plain(tokens()).shape == (BATCH, QUERIES, WIDTH)
    own = made(kernel_initializer=nn.init.orthogonal_, bias_initializer="ones").query_projection
    torch.testing.assert_close(own.weight @ own.weight.T, torch.eye(WIDTH, dtype=torch.float64))
    assert own.bias.eq(1).all()
    wide = InterpretableMultiHeadAttention(64, 4, embed_dim=200, kernel_initializer="he_normal").query_projection
    assert wide.weight.std().item() == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert pickle.loads(pickle.dumps(wide)).in_features == 200


def test_one_input_in_a_sequential_is_self_attention() -> None:
    layer, query = made(), tokens()
    torch.testing.assert_close(nn.Sequential(layer)(query), layer(query, query, query))


@pytest.mark.parametrize("store", ["scores", "statistics"])
def test_it_can_be_compiled_and_exported(store: str) -> None:
    layer, query = made(store=store), tokens()
    output = layer(query)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    for factor in (2.0, 1.0):
        again = compiled(query * factor)
        stored = layer.attention_scores if store == "scores" else layer.attention_statistics.received
        assert stored is not None
    assert torch.equal(again, output)
    _, scores = layer(query, return_scores=True)
    assert torch.equal(stored, scores if store == "scores" else scores.double().mean(2))
    if store == "statistics":
        return
    program = torch.export.export(layer, (query,), {"return_scores": True}).module()
    for got, expected in zip(program(query, return_scores=True), (output, scores), strict=True):
        torch.testing.assert_close(got, expected)


def test_a_compiled_layer_without_embed_dim_is_made_by_its_first_call() -> None:
    layer, query = made(embed_dim=None), tokens()
    output = torch.compile(layer, backend="eager")(query)
    assert torch.equal(layer(query), output)


def test_autocast_gives_weights_in_float32() -> None:
    layer, query = made(dtype=None), tokens(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(query)
    assert output.dtype == torch.bfloat16
    scores = layer.attention_scores
    assert scores is not None
    assert scores.dtype == torch.float32
    layer(query)
    torch.testing.assert_close(scores, layer.attention_scores, rtol=0, atol=0.01)


def test_one_key_gives_one_warning() -> None:
    layer, compiled = made(), torch.compile(made(), backend="eager", fullgraph=True)
    with pytest.warns(UserWarning, match=r"one key only: every attention weight is 1.*each feature a token") as caught:
        layer(tokens(1))
    assert caught[0].filename == __file__
    compiled(tokens(1))
    with pytest.warns(UserWarning, match="one key only"):
        assert compiled.attention_scores.eq(1).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(tokens(1))
        assert layer.attention_scores.eq(1).all()  # type: ignore[union-attr]


def test_nan_is_refused_when_the_weights_are_read() -> None:
    layer, query = made(), tokens()
    query[0, 0, 0] = torch.nan
    layer(query)
    with pytest.raises(UsageError, match="not finite: its inputs, or the layer, have NaN or inf"):
        _ = layer.attention_scores


WRONG = {
    "d_model": ({"d_model": 0}, "expected d_model to be an integer of at least 1, got 0"),
    "n_head": ({"n_head": 2.0}, "expected n_head to be an integer of at least 1, got 2.0"),
    "dropout": ({"dropout_rate": 1.0}, "expected dropout_rate to be a number from 0 to below 1, got 1.0"),
    "store": ({"store": "score"}, "unknown store 'score': did you mean 'scores'"),
    "initializer": (
        {"kernel_initializer": "he_norma"},
        "unknown kernel_initializer 'he_norma': did you mean 'he_normal'",
    ),
    "initializer of biases": ({"bias_initializer": "he_normal"}, "bias_initializer 'he_normal' fills matrices only"),
    "initializer type": ({"bias_initializer": 3}, "expected bias_initializer as a name or a function"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused(case: str) -> None:
    arguments, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        InterpretableMultiHeadAttention(**{"d_model": 4, "n_head": 2, **arguments})  # type: ignore[arg-type]


def test_loaded_weights_of_other_heads_are_refused_before_they_are_used() -> None:
    layer = InterpretableMultiHeadAttention(SIZE + 1, HEADS)
    layer.load_state_dict(made().state_dict())
    features = SIZE * HEADS, (SIZE + 1) * HEADS
    with pytest.raises(UsageError, match=f"loaded weights have {features[0]} .* d_model . n_head = {features[1]}"):
        layer(tokens())


def wrong_inputs() -> dict[str, tuple[tuple[object, ...], str]]:
    good = tokens()
    return {
        "array": ((np.zeros((2, 3, WIDTH)),), "expected the query as a torch.Tensor, got ndarray"),
        "integers": ((good.long(),), "expected the query with floating-point numbers, got int64"),
        "no batch": ((good[0],), r"expected the query as \[batch, token, feature\], got \[5, 12\]: add an axis"),
        "width": ((good[..., :3],), r"expected the query with 12 features \(embed_dim\), got 3"),
        "key width": ((good, good[..., :3]), r"expected the key with 12 features \(kdim\), got 3"),
        "batch": ((good, good[:1]), "the key has a batch of 1, the query one of 2"),
        "lengths": ((good, good, good[:, :2]), "expected a value for each key, got 5 keys and 2 values"),
        "no key": ((good, None, good), "expected a key for the value: the order is query, key, value"),
        "empty": ((good, good[:, :0]), "the key has no tokens"),
        "dtype": ((good.float(),), "the query is float32, the layer float64"),
        "device": ((good, good.to("meta")), "the key is on meta, the query on cpu"),
        "other device": ((good.to("meta"),), "the query is on meta, the layer on cpu"),
        "float mask": (
            (good, good, good, torch.zeros(2, 5)),
            "expected a bool mask, in which True means attend, got float32",
        ),
        "mask type": ((good, good, good, [[True]]), "expected a bool mask, in which True means attend, got list"),
        "mask device": ((good, good, good, torch.ones(2, 5, dtype=bool, device="meta")), "the mask is on meta"),
        "mask shape": (
            (good, good, good, torch.ones(5, 5, dtype=bool)),
            r"expected a mask of \[2, 5\].*mask\[None\] is",
        ),
        "mask heads": ((good, good, good, torch.ones(2, 4, 5, 5, dtype=bool)), r"expected a mask of \[2, 3, 5, 5\]"),
        "mask axes": (
            (good, good, good, torch.ones(5, dtype=bool)),
            r"expected a mask as \[batch, key\], .* got \[5\]",
        ),
    }


@pytest.mark.parametrize("case", sorted(wrong_inputs()))
def test_wrong_inputs_are_refused_in_one_line(case: str) -> None:
    inputs, message = wrong_inputs()[case]
    with pytest.raises(UsageError, match=message) as caught:
        made()(*inputs)
    assert "\n" not in str(caught.value)


def test_attncli_loads_it_when_it_is_used() -> None:
    assert attncli.nn.InterpretableMultiHeadAttention is InterpretableMultiHeadAttention
