"""Rows and keys that stand for several tokens, or for none, have their own labels and the weights of the model."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from families import tiny_tokenizer
from transformers import (
    CanineConfig,
    CanineModel,
    DeepseekV4Config,
    DeepseekV4Model,
    DiffusionGemmaConfig,
    DiffusionGemmaModel,
    FunnelConfig,
    FunnelModel,
    PreTrainedModel,
)

import attncli
from attncli import registry
from attncli.api.run import Run
from attncli.capturing import plan as make_plan
from attncli.capturing import run as capture_run
from attncli.capturing import with_scales
from attncli.capturing.canvas import canvas_input
from attncli.capturing.scales import scale_of
from attncli.data import Attention, has_scale
from attncli.errors import UsageError
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model
from attncli.stream import KeepMaps

FUNNEL = {"vocab_size": 99, "block_sizes": [1, 1, 2], "num_decoder_layers": 1, "d_model": 32, "n_head": 4, "d_head": 8}
CANINE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
DEEPSEEK = {
    "vocab_size": 99,
    "hidden_size": 32,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "head_dim": 16,
    "q_lora_rank": 16,
    "partial_rotary_factor": 0.5,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "layer_types": ["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"],
    "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8},
    "sliding_window": 6,
    "o_groups": 2,
    "o_lora_rank": 8,
    "index_n_heads": 2,
    "index_head_dim": 16,
    "index_topk": 2,
    "mlp_layer_types": ["moe"] * 3,
    "hc_mult": 2,
    "max_position_embeddings": 128,
}
DIFFUSION = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 16,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 8,
    "max_position_embeddings": 128,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 8,
}


VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 16}


def made(cls: Any, config: Any) -> PreTrainedModel:
    """A seeded model with weights so large that its rows are far from uniform."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = cls._from_config(config, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and 0 < float(parameter.std()) < 0.15:
                parameter.mul_(0.15 / parameter.std())
    assert isinstance(model, PreTrainedModel)
    return model.eval()


@cache
def funnel(**options: Any) -> PreTrainedModel:
    return made(FunnelModel, FunnelConfig(**{**FUNNEL, "d_inner": 37, "max_position_embeddings": 64, **options}))


@cache
def canine() -> PreTrainedModel:
    """CANINE with chunks of 8 characters."""
    sizes = {"num_hash_buckets": 64, "max_position_embeddings": 64, "local_transformer_stride": 8}
    return made(CanineModel, CanineConfig(**CANINE, **sizes))


@cache
def deepseek() -> PreTrainedModel:
    return made(DeepseekV4Model, DeepseekV4Config(**DEEPSEEK))


@cache
def diffusion() -> PreTrainedModel:
    vision = {**VISION, "num_key_value_heads": 1, "position_embedding_size": 8}
    config = DiffusionGemmaConfig(text_config=DIFFUSION, vision_config=vision, canvas_length=5)
    return made(DiffusionGemmaModel, config)


def ids(tokens: int, first: int = 5) -> torch.Tensor:
    return torch.arange(first, first + tokens)[None]


def captured(model: PreTrainedModel, tokens: int) -> Run:
    return attncli.capture(model, {"input_ids": ids(tokens)})


def layers(run: Run) -> list[np.ndarray]:
    """All maps, first of the encoder, by layer."""
    found = {
        (attention.kind.partition("-")[0] != "encoder", maps.layer): maps.weights
        for attention in run.maps
        for maps in attention.layers
    }
    return [found[key] for key in sorted(found)]  # type: ignore[type-var]  # all layers are numbers


def labels(attention: Attention) -> tuple[list[str], list[str]]:
    return list(attention.queries.pieces), list(attention.keys.pieces)


def check_equal(ours: list[np.ndarray], theirs: Any) -> None:
    assert len(ours) == len(theirs)
    for mine, model_map in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, model_map[0].detach().numpy(), atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------- the model's own weights

VARIANTS: list[tuple[tuple[str, Any], ...]] = [
    (),
    (("separate_cls", False),),
    (("truncate_seq", False),),
    (("pool_q_only", False),),
    (("attention_type", "factorized"),),
    (("num_decoder_layers", 2),),
]


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("tokens", [7, 12, 13])
def test_every_layer_of_funnel_is_captured(options: tuple[tuple[str, Any], ...], tokens: int) -> None:
    model: Any = funnel(**dict(options))
    run = captured(model, tokens)
    assert run.info.notes == ()
    check_equal(layers(run), model(ids(tokens), output_attentions=True).attentions)


@pytest.mark.parametrize("options", VARIANTS[:4])
@pytest.mark.parametrize("tokens", [12, 13, 30])
def test_the_labels_of_funnel_name_the_tokens_that_it_pools(options: tuple[tuple[str, Any], ...], tokens: int) -> None:
    """The model's own pooling of the positions, by minimum and by maximum, gives the first and the last token."""
    model: Any = funnel(**dict(options))
    first = last = torch.arange(tokens, dtype=torch.float32)[None, :, None]
    structure = model.encoder.attention_structure
    for block in (1, 2):
        first, last = (structure.pool_tensor(part, mode=mode) for part, mode in ((first, "min"), (last, "max")))
        scale = scale_of(model, (f"encoder.blocks.{block}.0.attention", 0))
        assert scale is not None
        expected = list(zip(first[0, :, 0].int().tolist(), last[0, :, 0].int().tolist(), strict=True))
        assert list(scale.rows(tokens)) == expected


def test_layers_that_run_repeatedly_pool_only_once() -> None:
    shape = {**FUNNEL, "d_inner": 37, "max_position_embeddings": 64}
    model: Any = made(FunnelModel, FunnelConfig(**shape, block_repeats=[1, 2, 1]))
    run = captured(model, 12)
    kinds = {maps.layer: attention.kind for attention in run.maps for maps in attention.layers if maps.layer}
    assert kinds[1] == "encoder-pooled-2x1"
    assert kinds[2] == "encoder-pooled-2x2"
    check_equal(layers(run), model(ids(12), output_attentions=True).attentions)


@pytest.mark.parametrize("tokens", [4, 8, 19])
def test_every_layer_of_canine_is_captured(tokens: int) -> None:
    model: Any = canine()
    run = captured(model, tokens)
    assert run.info.notes == ()
    ours, theirs = layers(run), model(ids(tokens), output_attentions=True).attentions
    check_equal(ours[1:], theirs[1:])
    first_chunk = ours[0][:, :8, :8]
    np.testing.assert_allclose(first_chunk, theirs[0][0].detach().numpy(), atol=1e-6)
    if tokens > 4:
        windows = [f"tokens {first}-{first + 3}" for first in (0, 4, 8)]
        assert labels(run.attention("encoder-pooled-4x4"))[0] == ["5", *windows][: tokens // 4]


def test_the_labels_of_canine_name_the_characters_that_a_position_stands_for() -> None:
    """A change of one character changes the downsampled positions whose label names it, and no other."""
    model: Any = canine()
    characters = torch.randn(1, 21, 32, generator=torch.Generator().manual_seed(0))
    before = model.chars_to_molecules(characters)
    scale = scale_of(model, ("encoder.layer.0.attention.self", 0))
    assert scale is not None
    for changed in range(21):
        other = characters.clone()
        other[0, changed] += 1
        differs = (model.chars_to_molecules(other) != before).any(-1)[0].tolist()
        named = [first <= changed <= last for first, last in scale.rows(21)]  # type: ignore[misc]  # no slots
        assert differs == named, changed


def test_local_attention_of_canine_is_joined_from_its_chunks() -> None:
    """The rows of each chunk are the softmax over the keys of the chunk, worked out from the queries and keys."""
    model: Any = canine()
    attend, states = model.initial_char_encoder.layer[0].attention.self, []
    hook = model.initial_char_encoder.layer[0].register_forward_pre_hook(lambda _, args: states.append(args[0]))
    run = captured(model, 19)
    model(ids(19))
    hook.remove()
    query, key = (part(states[-1])[0].view(19, 4, 8).transpose(0, 1) for part in (attend.query, attend.key))
    scores = query @ key.transpose(1, 2) / 8**0.5
    chunk = torch.arange(19) // 8
    expected = scores.masked_fill(chunk[:, None] != chunk[None], -torch.inf).softmax(-1).detach().numpy()
    maps = run.attention("encoder").sel(layer=0).layers[0]
    np.testing.assert_allclose(maps.weights, expected, atol=1e-6)
    assert maps.visible is not None
    assert (maps.visible[0] == (chunk[:, None] == chunk[None]).numpy()).all()
    distances = run.stats("distance").to_frame().query("layer == 0")["distance"]
    assert (distances < 8).all()


def test_chunks_are_joined_by_a_plan_of_a_short_text() -> None:
    loaded, keep = wrap_model(canine()), KeepMaps()
    short, long = (batch_from_tensors(loaded, {"input_ids": ids(tokens)}) for tokens in (6, 19))
    capture_run(loaded, make_plan(loaded, "auto", short), long, [keep])
    inputs = with_scales(long, make_plan(loaded, "auto", short).scales).inputs
    for attention in keep.result(inputs):
        expected = captured(canine(), 19).attention(attention.kind)
        for ours, theirs in zip(attention.layers, expected.layers, strict=True):
            np.testing.assert_array_equal(ours.weights, theirs.weights)


@pytest.mark.parametrize("tokens", [5, 12, 21])
@pytest.mark.parametrize("route", ["stream", "eager"])
def test_compressed_keys_of_deepseek_stand_beside_those_of_its_tokens(tokens: int, route: Any) -> None:
    model: Any = deepseek()
    run = attncli.capture(model, {"input_ids": ids(tokens)}, capture=route)
    assert (run.info.capture, run.info.notes) == (route, ())
    check_equal(layers(run), model(ids(tokens), output_attentions=True, use_cache=False).attentions)
    sparse = labels(run.attention("decoder-compressed-4"))
    singles = [str(number) for number in ids(tokens)[0].tolist()]
    windows = ["tokens 0-3", "tokens 0-7", "tokens 4-11", "tokens 8-15", "tokens 12-19"][: tokens // 4]
    assert sparse == (singles, singles + windows)


def test_the_labels_of_deepseek_name_the_tokens_that_a_compressed_key_reads() -> None:
    model: Any = deepseek()
    states = torch.randn(1, 21, 32, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(21)[None]
    for layer in (1, 2):
        attend = model.layers[layer].self_attn
        residual = torch.randn(1, 21, 16, generator=torch.Generator().manual_seed(1))

        def compressed(states: torch.Tensor, attend: Any = attend, residual: Any = residual) -> torch.Tensor:
            keys: torch.Tensor = attend.compressor(states, residual, positions, None, attend.layer_idx)[0]
            return keys[0, 0]

        before = compressed(states)
        scale = scale_of(model, (f"layers.{layer}.self_attn", 0))
        assert scale is not None
        windows = list(scale.keys(21))[21:]
        for changed in range(21):
            other = states.clone()
            other[0, changed] += 1
            differs = (compressed(other) - before).abs().amax(-1) > 1e-6
            named = [first <= changed <= last for first, last in windows]  # type: ignore[misc]  # no slots
            assert differs.tolist() == named, (layer, changed)


def test_layers_without_a_compressed_key_are_of_the_kind_of_tokens() -> None:
    """The heavily compressed layer has its first compressed key at 8 tokens, the sparse one at 4."""
    kinds = {tokens: [attention.kind for attention in captured(deepseek(), tokens).maps] for tokens in (3, 5, 8)}
    assert kinds[3] == ["decoder"]
    assert kinds[5] == ["decoder", "decoder-compressed-4"]
    assert kinds[8] == ["decoder", "decoder-compressed-4", "decoder-compressed-8"]
    distances = captured(deepseek(), 3).stats("distance").to_frame()
    assert distances["layer"].nunique() == 3
    assert distances["distance"].notna().all()


@pytest.mark.parametrize("tokens", [5, 12])
def test_the_canvas_of_a_diffusion_model_is_captured_over_its_prompt(tokens: int) -> None:
    model: Any = diffusion()
    run, again = captured(model, tokens), captured(model, tokens)
    canvas = canvas_input(model, {"input_ids": ids(tokens)})
    theirs = model(ids(tokens), **canvas, output_attentions=True).attentions
    slots = [f"slot {number}" for number in range(5)]
    prompt = [str(number) for number in ids(tokens)[0].tolist()]
    for layer, (kind, keys) in enumerate([("decoder-canvas-window-7", prompt[-7:]), ("decoder-canvas", prompt)]):
        attention = run.attention(kind)
        np.testing.assert_allclose(attention.layers[0].weights, theirs[layer][0].detach().numpy(), atol=1e-5)
        assert labels(attention) == (slots, keys + slots)
        np.testing.assert_array_equal(attention.layers[0].weights, again.attention(kind).layers[0].weights)
    assert any("5 slots of the canvas hold random tokens of seed 0" in note for note in run.info.notes)


def test_a_canvas_of_the_user_is_read_instead() -> None:
    model: Any = diffusion()
    given = torch.tensor([[9, 8, 7, 6, 5]])
    run = attncli.capture(model, {"input_ids": ids(6), "decoder_input_ids": given})
    theirs = model(ids(6), decoder_input_ids=given, output_attentions=True).attentions
    ours = run.attention("decoder-canvas").layers[0].weights
    np.testing.assert_allclose(ours, theirs[1][0].detach().numpy(), atol=1e-5)
    assert not any("canvas" in note for note in run.info.notes)


# ------------------------------------------------------------------------------------------------------ measures

SHARED = ("entropy", "entropy_normalized", "effective_keys", "confidence", "missing_mass", "sink")


@pytest.mark.parametrize("make", [funnel, canine, deepseek, diffusion])
def test_what_has_a_meaning_without_positions_is_measured(make: Any) -> None:
    run = captured(make(), 12)
    table = run.stats().to_frame()
    scaled = table[table["kind"].map(has_scale)]
    assert len(scaled)
    metrics = [name for name in registry.names("metrics") if name in table]
    defined = {name for name in metrics if scaled[name].notna().any()}
    assert defined == set(SHARED)
    for attention in (attention for attention in run.maps if has_scale(attention.kind)):
        for maps in attention.layers:
            rows = scaled[(scaled["kind"] == attention.kind) & (scaled["layer"] == maps.layer)]
            weights = maps.weights.astype(np.float64)
            logs = np.log(np.where(weights > 0, weights, 1))
            np.testing.assert_allclose(rows["entropy"], -(weights * logs).sum(-1).mean(-1), atol=1e-5)
            np.testing.assert_allclose(rows["confidence"], weights.max(-1).mean(-1), atol=1e-6)
            np.testing.assert_allclose(rows["missing_mass"], 1 - weights.sum(-1).mean(-1), atol=1e-6)


def test_texts_of_several_lengths_in_one_batch_have_their_own_labels() -> None:
    batch = {"input_ids": torch.zeros(2, 13, dtype=torch.long), "attention_mask": torch.zeros(2, 13, dtype=torch.long)}
    for row, tokens in enumerate((13, 7)):
        batch["input_ids"][row, :tokens], batch["attention_mask"][row, :tokens] = ids(tokens)[0], 1
    run = attncli.capture(funnel(), batch, top_k=1)
    for row, tokens in enumerate((13, 7)):
        alone = captured(funnel(), tokens)
        for attention in alone.maps:
            ours = run.attention(attention.kind, row)
            assert labels(ours) == labels(attention)
            np.testing.assert_allclose(ours.layers[0].weights, attention.layers[0].weights, atol=1e-6)
    edges = run.edges().to_frame()
    last = edges[(edges["kind"] == "encoder-pooled-4x4") & (edges["text"] == 0) & (edges["head"] == 0)]
    weights = run.attention("encoder-pooled-4x4").layers[0].weights[0]
    assert last["key"].tolist() == weights.argmax(-1).tolist()
    assert last["key_token"].tolist() == [run.attention("encoder-pooled-4x4").keys.pieces[key] for key in last["key"]]


def test_analyses_of_tokens_leave_these_layers_out_and_say_so() -> None:
    run = captured(canine(), 12)
    patterns = run.patterns()
    assert {kind for kind, _, _ in patterns.head_keys()} == {"encoder"}
    for call in (run.rollout, lambda kind: run.highlight(3, kind=kind)):
        with pytest.raises(UsageError, match="rows or keys of encoder-pooled-4x4 stand for several tokens"):
            call("encoder-pooled-4x4")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"words": True}, "--words"), ({"special": "drop"}, "--special drop"), ({"rows": "0-2"}, "--rows and --keys")],
)
def test_transformations_of_tokens_leave_these_layers_out_and_say_so(options: Any, reason: str) -> None:
    tokenizer = tiny_tokenizer()
    run = attncli.capture(funnel(), {"input_ids": ids(9)}, tokenizer, **options)
    assert [attention.kind for attention in run.maps] == ["encoder", "decoder"]
    (note,) = (note for note in run.info.notes if "are left out" in note)
    assert note.startswith("encoder-pooled-2x1 layers 1, encoder-pooled-4x2 layers 2, encoder-pooled-4x4 layers 3")
    assert reason in note
    with pytest.raises(UsageError, match="nothing is left of encoder-pooled-2x1 layers 1: "):
        attncli.capture(funnel(), {"input_ids": ids(9)}, tokenizer, kind="encoder", layer=1, **options)
