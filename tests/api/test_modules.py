"""`attncli.capture` of modules that are no Transformers models: their weights equal a softmax in plain float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import attncli
from attncli.errors import AttnError, ModelError, UsageError

NAMES = ["age", "income", "height", "weight", "city", "year"]
TOKENS, WIDTH, HEADS = 6, 8, 2


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def by_head(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class Mixer(nn.Module):
    """A module with a name that does not say what it does; `attend` makes its output from queries, keys and values."""

    def __init__(self, attend: Callable[..., Tensor]) -> None:
        super().__init__()
        self.qkv, self.attend, self.out = nn.Linear(WIDTH, 3 * WIDTH), attend, nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.out(self.attend(*self.qkv(x).chunk(3, -1), mask))

    def vectors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        query, key, _ = functional.linear(x.double(), self.qkv.weight.double(), self.qkv.bias.double()).chunk(3, -1)
        return by_head(query), by_head(key)


def plain(query: Tensor, key: Tensor, mask: Tensor | None = None, scale: float | None = None) -> np.ndarray[Any, Any]:
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    return (scores if mask is None else scores + mask.double()).softmax(-1).detach().numpy()


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
    return joined(functional.scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), mask, **options))


def einsum(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scores = torch.einsum("bhid,bhjd->bhij", by_head(q), by_head(k)) / 2
    return joined(torch.einsum("b h i j, b h j d -> b h i d", scores.softmax(-1), by_head(v)))


def baddbmm(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    q, k, v = (by_head(part).flatten(0, 1) for part in (q, k, v))
    weights = torch.baddbmm(torch.zeros(TOKENS, TOKENS), q, k.mT, beta=1, alpha=0.5).softmax(-1)
    return joined((weights @ v).unflatten(0, (-1, HEADS)))


BIAS = torch.linspace(-1, 1, TOKENS * TOKENS).view(TOKENS, TOKENS)
CAUSAL = torch.full((TOKENS, TOKENS), -torch.inf).triu(1)
SERVED: dict[str, tuple[Callable[..., Tensor], dict[str, Any]]] = {
    "scaled_dot_product_attention": (sdpa, {}),
    "its mask": (lambda q, k, v, m: sdpa(q, k, v, CAUSAL == 0), {"mask": CAUSAL}),
    "its bias": (lambda q, k, v, m: sdpa(q, k, v, BIAS), {"mask": BIAS}),
    "is_causal and scale": (
        lambda q, k, v, m: sdpa(q, k, v, is_causal=True, scale=0.3),
        {"mask": CAUSAL, "scale": 0.3},
    ),
    "enable_gqa": (
        lambda q, k, v, m: joined(
            functional.scaled_dot_product_attention(by_head(q), by_head(k)[:, :1], by_head(v)[:, :1], enable_gqa=True)
        ),
        {"grouped": True},
    ),
    "matmul": (lambda q, k, v, m: joined((by_head(q) @ by_head(k).mT / 2).softmax(-1) @ by_head(v)), {}),
    "einsum": (einsum, {}),
}


@pytest.mark.parametrize("form", SERVED)
def test_weights_equal_a_softmax_in_float64(form: str) -> None:
    attend, how = SERVED[form]
    module, x = Mixer(attend), torch.randn(2, TOKENS, WIDTH)
    before = module(x)
    run = attncli.capture(module, x, names=NAMES)
    query, key = module.vectors(x)
    key = key[:, :1] if how.get("grouped") else key
    expected = plain(query, key, how.get("mask"), how.get("scale"))
    for text in range(2):
        found = run.attention(text=text)
        assert found.queries.pieces == found.keys.pieces == tuple(NAMES)
        np.testing.assert_allclose(np.nan_to_num(found.stack()[0]), expected[text], atol=1e-6)
    assert run.attention(text=0).kind == ("decoder" if how.get("mask") is CAUSAL else "encoder")
    assert torch.equal(module(x), before)


def test_a_single_head_or_text_needs_no_axis() -> None:
    x = torch.randn(2, TOKENS, WIDTH)
    for attend in (
        lambda q, k, v, m: functional.scaled_dot_product_attention(q, k, v),
        lambda q, k, v, m: (q @ k.mT / WIDTH**0.5).softmax(-1) @ v,
    ):
        module = Mixer(attend)
        query, key = (part.transpose(1, 2).flatten(2) for part in module.vectors(x))
        both, alone = attncli.capture(module, x), attncli.capture(module, x[1])
        np.testing.assert_allclose(both.attention(text=1).stack()[0, 0], plain(query, key)[1], atol=1e-6)
        np.testing.assert_allclose(alone.attention().stack()[0, 0], plain(query, key)[1], atol=1e-6)


def test_heads_and_texts_on_one_axis_are_told_apart_only_for_one_text() -> None:
    module, x = Mixer(baddbmm), torch.randn(2, TOKENS, WIDTH)
    with pytest.raises(ModelError, match="joins 2 texts and 2 heads in an order that is not known: capture one text"):
        attncli.capture(module, x)
    run = attncli.capture(module, x[:1])
    np.testing.assert_allclose(run.attention().stack()[0], plain(*module.vectors(x[:1]))[0], atol=1e-6)


class Columns(nn.Module):
    """A module whose inputs have no axis of width: [text, column], or [column, text] first turned round."""

    def __init__(self, turned: bool, heads: int) -> None:
        super().__init__()
        self.width, self.turned, self.heads, self.mixer = nn.Linear(1, WIDTH), turned, heads, Mixer(self.attend)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if self.heads > 1:
            return sdpa(q, k, v)
        return torch.bmm(torch.bmm(q, k.mT).softmax(-1), v)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(self.width((x.transpose(0, 1) if self.turned else x)[..., :1]))


@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("turned", [False, True], ids=["batch first", "batch second"])
def test_the_axis_of_texts_is_found(heads: int, turned: bool) -> None:
    module, x = Columns(turned, heads), torch.randn(3, TOKENS, 1)
    run = attncli.capture(module, x.transpose(0, 1) if turned else x)
    assert [encoded.index for encoded in run.inputs] == [0, 1, 2]
    alone = attncli.capture(module, (x.transpose(0, 1) if turned else x)[:, 2:] if turned else x[2:])
    np.testing.assert_allclose(run.attention(text=2).stack(), alone.attention().stack(), atol=1e-6)


def test_rows_of_a_table_are_texts() -> None:
    class Table(Columns):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x[..., None])

    for heads in (1, HEADS):
        run = attncli.capture(Table(False, heads), torch.randn(4, TOKENS), names=NAMES)
        assert len(run.inputs) == 4
        assert run.attention(text=3).stack().shape == (1, heads, TOKENS, TOKENS)


def test_windows_are_not_taken_for_texts() -> None:
    """Three windows of two positions in two texts look like six texts of two positions, with the texts second."""
    windows = Mixer(lambda q, k, v, m: sdpa(*(part.reshape(6, 2, WIDTH) for part in (q, k, v))).view(q.shape))
    with pytest.raises(
        ModelError, match="its map is 6 x 2 x 2 x 2, not 2 x heads x rows x keys: it attends inside parts"
    ):
        attncli.capture(windows, torch.randn(2, TOKENS, WIDTH))


REFUSED: dict[str, tuple[Callable[..., Tensor], str]] = {
    "weights changed after softmax": (lambda q, k, v, m: (q @ k.mT).softmax(-1) * 0.5 @ v, "weights are changed"),
    "another axis": (lambda q, k, v, m: (q @ k.mT).softmax(-2) @ v, "they are not softmax weights"),
    "another axis, few keys": (
        lambda q, k, v, m: (q @ k[:, :2].mT / 100).softmax(-2) @ v[:, :2],
        "its rows do not sum to 1: it is a softmax over another axis",
    ),
    "columns of weights": (lambda q, k, v, m: (v.mT @ (q @ k.mT).softmax(-1)).mT, "or not multiplied by values"),
    "a table of scores": (
        lambda q, k, v, m: torch.eye(TOKENS).expand(len(q), -1, -1).softmax(-1) @ v,
        "its scores are not the product of queries and keys",
    ),
    "dropout": (lambda q, k, v, m: sdpa(q, k, v, dropout_p=0.5), "not that of the plain formula, as with dropout"),
    "windows": (
        lambda q, k, v, m: joined(
            functional.scaled_dot_product_attention(*(by_head(part.reshape(-1, 3, WIDTH)) for part in (q, k, v)))
        ).view(q.shape),
        "not 2 x heads x rows x keys",
    ),
    "linear attention": (
        lambda q, k, v, m: joined(by_head(q).softmax(-1) @ (by_head(k).softmax(-2).mT @ by_head(v))),
        "has no softmax attention: nothing to capture",
    ),
    "sigmoid attention": (lambda q, k, v, m: (q @ k.mT).sigmoid() @ v, "has no softmax attention: nothing to capture"),
    "masked rows": (
        lambda q, k, v, m: (q @ k.mT).masked_fill(torch.arange(TOKENS)[:, None] == 0, -torch.inf).softmax(-1) @ v,
        "its weights are not finite: a row whose keys are all masked has no softmax",
    ),
    "numbers that overflow": (lambda q, k, v, m: sdpa(q * torch.inf, k, v), "all its weights are NaN: its inputs, or"),
    "no attention": (lambda q, k, v, m: v, "has no softmax attention: nothing to capture"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_measured_is_refused_by_name(form: str) -> None:
    attend, reason = REFUSED[form]
    with pytest.raises(ModelError, match=rf"^Mixer .*{reason}"):
        attncli.capture(Mixer(attend), torch.randn(2, TOKENS, WIDTH))


# ------------------------------------------------------------------------------------------- torch's own modules


def reference(mha: nn.MultiheadAttention, *inputs: Tensor, **options: Any) -> np.ndarray[Any, Any]:
    """Return the weights of a module in float64, [text, head, query, key], from its parameters by the plain formula."""
    query, key = inputs[:2] if mha.batch_first else (part.transpose(0, 1) for part in inputs[:2])
    if mha.in_proj_weight is not None:
        matrices = mha.in_proj_weight.chunk(3)[:2]
    else:
        matrices = mha.q_proj_weight, mha.k_proj_weight
    biases = mha.in_proj_bias.chunk(3)[:2]
    query, key = (
        functional.linear(x.double(), w.double(), b.double())
        for x, w, b in zip((query, key), matrices, biases, strict=True)
    )
    if mha.bias_k is not None:
        key = torch.cat([key, mha.bias_k.double().expand(len(key), 1, -1)], 1)
    if mha.add_zero_attn:
        key = torch.cat([key, key.new_zeros(len(key), 1, key.shape[2])], 1)
    mask = torch.zeros(len(query), 1, query.shape[1], key.shape[1])
    for name in ("attn_mask", "key_padding_mask"):
        if (given := options.get(name)) is not None:
            given = torch.zeros(given.shape).masked_fill(given, -torch.inf) if given.dtype == torch.bool else given
            if name == "key_padding_mask":
                given = given[:, None, None]
            elif given.dim() == 3:
                given = given.unflatten(0, (-1, mha.num_heads))
            mask = mask + functional.pad(given, (0, key.shape[1] - given.shape[-1]))
    by_heads = [part.unflatten(-1, (mha.num_heads, -1)).transpose(1, 2) for part in (query, key)]
    return plain(*by_heads, mask)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    ("flags", "masks"),
    [
        ({}, {}),
        ({"batch_first": True}, {"attn_mask": CAUSAL != 0}),
        ({"batch_first": True}, {"attn_mask": torch.randn(2 * HEADS, TOKENS, TOKENS)}),
        ({"add_bias_kv": True, "add_zero_attn": True}, {"attn_mask": BIAS}),
        ({"kdim": 5, "vdim": 3, "batch_first": True}, {"average_attn_weights": False}),
    ],
    ids=["plain", "bool mask", "3d mask", "added keys", "other widths"],
)
def test_multihead_attention_of_torch(flags: dict[str, Any], masks: dict[str, Any], need_weights: bool) -> None:
    mha = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.5, **flags)
    for parameter in mha.parameters():
        nn.init.normal_(parameter)
    first = flags.get("batch_first", False)
    other = torch.randn(2, 4, mha.kdim) if "kdim" in flags else None
    query = torch.randn((2, TOKENS, WIDTH) if first else (TOKENS, 2, WIDTH))
    key = query if other is None else other
    value = query if other is None else torch.randn(2, 4, mha.vdim)
    run = attncli.capture(mha, {"query": query, "key": key, "value": value, "need_weights": need_weights, **masks})
    expected = reference(mha, query, key, **masks)
    for text in range(2):
        found = run.attention(text=text)
        np.testing.assert_allclose(np.nan_to_num(found.stack()[0]), expected[text], atol=2e-6)
    assert (
        found.keys.pieces[-2:]
        == (("bias", "zero") if mha.add_zero_attn else tuple(map(str, range(len(found.keys)))))[-2:]
    )
    assert mha.training
    saved = run.stats("entropy").to_frame()
    assert len(saved) == HEADS


@pytest.fixture(scope="module")
def padded() -> tuple[nn.Module, dict[str, Tensor]]:
    """An encoder in eval mode, whose fast path shows hooks nothing, and two texts of which one is padded."""
    torch.manual_seed(1)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=True)
    padding = torch.zeros(2, TOKENS, dtype=torch.bool)
    padding[1, 4:] = True
    encoder = nn.TransformerEncoder(layer, 2).eval()
    return encoder, {"src": torch.randn(2, TOKENS, WIDTH), "src_key_padding_mask": padding}


def test_padding_is_left_out_on_both_axes(padded: tuple[nn.Module, dict[str, Tensor]], tmp_path: Path) -> None:
    encoder, inputs = padded
    before = encoder(**inputs)
    run = attncli.capture(encoder, inputs, names=NAMES)
    short = attncli.capture(encoder, inputs["src"][1:, :4])
    assert run.attention(text=1).keys.pieces == tuple(NAMES[:4])
    np.testing.assert_allclose(run.attention(text=1).stack(), short.attention().stack(), atol=1e-6)
    assert run.attention(text=0).stack().shape == (2, HEADS, TOKENS, TOKENS)
    assert "2 positions of padding are left out" in " ".join(run.info.notes)
    assert torch.equal(encoder(**inputs), before)
    first = encoder.layers[0].self_attn
    expected = reference(first, inputs["src"], inputs["src"], key_padding_mask=inputs["src_key_padding_mask"])
    np.testing.assert_allclose(run.attention(text=1).stack()[0], expected[1, :, :4, :4], atol=1e-6)
    again = attncli.open(run.save(tmp_path / "run"))
    np.testing.assert_array_equal(again.attention(text=1).stack(), run.attention(text=1).stack())
    assert run.find("age", "income").searched == 2 * HEADS
    numbers = attncli.capture(encoder, inputs, metrics="entropy", keep_maps=False)
    np.testing.assert_allclose(
        numbers.stats().to_frame()["entropy"], run.stats("entropy").to_frame()["entropy"], atol=1e-6
    )


@pytest.mark.parametrize("rows", [4, TOKENS])
def test_kinds_of_a_model_with_two_stacks(rows: int) -> None:
    model = nn.Transformer(WIDTH, HEADS, 1, 2, 16, batch_first=True)
    target = torch.randn(1, rows, WIDTH)
    mask = nn.Transformer.generate_square_subsequent_mask(rows)
    run = attncli.capture(
        model,
        {"src": torch.randn(1, TOKENS, WIDTH), "tgt": target, "tgt_mask": mask},
        names={"query": NAMES[:rows], "key": NAMES},
    )
    shapes = {attention.kind: attention.stack().shape for attention in run.maps}
    assert shapes == {
        "encoder": (1, HEADS, TOKENS, TOKENS),
        "decoder": (2, HEADS, rows, rows),
        "cross": (2, HEADS, rows, TOKENS),
    }
    assert run.attention("cross").queries.pieces == tuple(NAMES[:rows])
    first = model.decoder.layers[0].self_attn
    np.testing.assert_allclose(
        np.nan_to_num(run.attention("decoder").stack()[0]),
        reference(first, target, target, attn_mask=mask)[0],
        atol=1e-6,
    )


def test_a_compiled_or_parallel_module_is_captured_as_itself(padded: tuple[nn.Module, dict[str, Tensor]]) -> None:
    encoder, inputs = padded
    expected = attncli.capture(encoder, inputs["src"]).attention().stack()
    compiled = torch.compile(encoder, backend="eager")
    for wrapped in (nn.DataParallel(encoder), compiled, nn.Sequential(compiled)):
        np.testing.assert_array_equal(attncli.capture(wrapped, inputs["src"]).attention().stack(), expected)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flex_attention_with_its_mask_and_bias() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        block_mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, TOKENS, TOKENS, device="cpu")
        bias = lambda score, b, h, i, j: score + 0.1 * (i - j)  # noqa: E731
        return joined(flex_attention(by_head(q), by_head(k), by_head(v), bias, block_mask, scale=0.3))

    module, x = Mixer(attend), torch.randn(2, TOKENS, WIDTH)
    run = attncli.capture(module, x)
    positions = torch.arange(TOKENS)
    expected = plain(*module.vectors(x), CAUSAL + 0.1 * (positions[:, None] - positions), 0.3)
    assert run.attention(text=1).kind == "decoder"
    np.testing.assert_allclose(np.nan_to_num(run.attention(text=1).stack()[0]), expected[1], atol=1e-6)
    assert flex_attention is torch.nn.attention.flex_attention.flex_attention


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flex_attention_is_refused_unless_a_plain_computation_agrees() -> None:
    """A row whose keys are all masked is 0 there; a softmax has no such row."""

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        block_mask = create_block_mask(lambda b, h, i, j: i > j, None, None, TOKENS, TOKENS, device="cpu")
        return joined(flex_attention(by_head(q), by_head(k), by_head(v), block_mask=block_mask))

    with pytest.raises(
        ModelError, match="a call of flex_attention cannot be measured: a plain computation of it gives"
    ):
        attncli.capture(Mixer(attend), torch.randn(1, TOKENS, WIDTH))


# ------------------------------------------------------------------------------------------- bad input

MIXER = Mixer(sdpa)
X = torch.randn(2, TOKENS, WIDTH)


class Ends(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise SystemExit(0)


@pytest.mark.parametrize(
    ("module", "inputs", "options", "error", "message"),
    [
        (
            MIXER,
            "a text",
            {},
            UsageError,
            "expected inputs as a tensor, a tuple or a dictionary of tensors, got a text",
        ),
        (
            MIXER,
            (),
            {},
            UsageError,
            "expected the inputs of Mixer as a tensor, a tuple or a dictionary of tensors, got no",
        ),
        (MIXER, X[:0], {}, UsageError, r"input 0 is empty: its shape is \[0, 6, 8\]"),
        (MIXER, X / 0 * 0, {}, UsageError, "input 0 has NaN or infinite numbers at 96 of 96 positions"),
        (MIXER, X.to("meta"), {}, UsageError, r"input 0 is on meta, the module on cpu: move one of them with .to\(…\)"),
        (MIXER, X.double(), {}, ModelError, "input 0 is float64, the weights are float32: give the inputs as float32"),
        (MIXER, {"x": X, "msk": X}, {}, UsageError, "Mixer reads no input 'msk': it reads x, mask"),
        (
            MIXER,
            X.to_sparse(),
            {},
            UsageError,
            "expected input 0 as a dense tensor, got a nested, sparse or quantized one",
        ),
        (MIXER, {"y": X}, {}, ModelError, "the dictionary is its first argument, as it reads x, mask"),
        (MIXER, np.array(["a"]), {}, UsageError, "expected inputs of numbers, got an array of <U1"),
        (MIXER, X, {"names": ["a"]}, UsageError, "expected 6 names, one for each row of attention, got 1"),
        (MIXER, X, {"names": [NAMES] * 3}, UsageError, "expected names for 2 texts, got them for 3"),
        (MIXER, X, {"names": "abcdef"}, UsageError, "expected names as a list of texts, a list of them for each text"),
        (MIXER, X, {"names": {"row": NAMES}}, UsageError, "expected names as a list .* got the entries row"),
        (MIXER, X, {"layer": 3}, UsageError, "layer"),
        (Ends(), X, {}, ModelError, "Ends ends the program in its forward pass"),
        (
            nn.Sequential(nn.LazyLinear(8), MIXER),
            X,
            {},
            UsageError,
            r"0 \(LazyLinear\) has no weights yet: run the module",
        ),
        (nn.Linear(WIDTH, 2), X, {}, ModelError, "Linear has no softmax attention"),
    ],
)
def test_wrong_input_is_one_line(module: Any, inputs: Any, options: Any, error: type[AttnError], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        attncli.capture(module, inputs, **options)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_names_are_for_modules_alone() -> None:
    with pytest.raises(UsageError, match="names are for modules that are no Transformers models"):
        attncli.capture(families.build(FAMILIES["bert"]), [[1, 2]], names=["a", "b"])
