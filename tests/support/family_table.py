"""The table of tiny model families: the class, the configuration and the facts about the attention of each.

Sizes are small (2-4 layers, 2-4 heads, 100 words), but every mechanism changes the attention of a text of a dozen
tokens: sliding windows and chunks are shorter than the text, caps are low, key heads are fewer than query heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

Kind = str
Route = Literal["stream", "eager", "refuse"]
PAD, UNK, BOS, EOS, CLS, SEP, MASK = range(7)
VOCABULARY = 100
SPECIAL_IDS: Mapping[str, Any] = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
_SHAPE: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 128,
    "vocab_size": VOCABULARY,
    **SPECIAL_IDS,
}
_SEQ2SEQ_SHAPE: Mapping[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 128,
    "vocab_size": VOCABULARY,
    "decoder_start_token_id": BOS,
    "forced_eos_token_id": None,
    **SPECIAL_IDS,
}
_T5_SHAPE: Mapping[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "vocab_size": VOCABULARY,
    "decoder_start_token_id": PAD,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
    **SPECIAL_IDS,
}
_GEMMA: Mapping[str, Any] = {
    "head_dim": 8,
    "num_key_value_heads": 2,
    "query_pre_attn_scalar": 8,
    "attn_logit_softcapping": 2.0,
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"],
    "dropout_rate": 0.0,
}
GEMMA_4: Mapping[str, Any] = {
    "head_dim": 8,
    "global_head_dim": 16,
    "num_key_value_heads": 2,
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
}

TRANSFORMERS = tuple(int(part) for part in version("transformers").split(".")[:2])
SINCE_5_24: Route = "stream" if TRANSFORMERS >= (5, 24) else "eager"
"""The route of families that dispatch their attention since Transformers 5.24."""
FACTS = ("route", "see", "windows", "chunks", "sink", "refused", "pads", "notes")


@dataclass(frozen=True)
class Family:
    """One architecture, small.

    cls      the class of Transformers that loads a hub model of this family
    layers   kind → the true numbers of the layers that have softmax attention over the tokens
    heads    kind → attention heads per layer
    route    what capture is expected to use: `stream` where the model dispatches its attention, `eager` where
             it computes inline, `refuse` where there is no softmax attention
    see      which keys a row may see outside of windows and chunks: `all` or `causal`
    windows  (kind, layer) → how many tokens back (and ahead, if not causal) are visible, itself included
    chunks   (kind, layer) → size of the chunks outside of which nothing is visible
    sink     whether rows may sum to less than 1
    refused  kind → layers that have no token x token form (pooled, in bands, with other streams): capture may
             refuse them
    pads     whether padding does not change the other tokens (convolutions, pooling and rotary frequencies that
             depend on the longest text do change them)
    """

    name: str
    cls: str
    config: Mapping[str, Any]
    layers: Mapping[Kind, tuple[int, ...]]
    heads: Mapping[Kind, int]
    route: Route = "stream"
    see: Literal["all", "causal"] = "causal"
    windows: Mapping[tuple[Kind, int], int] = field(default_factory=dict)
    chunks: Mapping[tuple[Kind, int], int] = field(default_factory=dict)
    sink: bool = False
    refused: Mapping[Kind, tuple[int, ...]] = field(default_factory=dict)
    pads: bool = True
    notes: str = ""

    @property
    def is_encoder_decoder(self) -> bool:
        return "cross" in self.layers


def _config(layers: tuple[int, ...], own: Mapping[str, Any]) -> dict[str, Any]:
    """The common shape, overridden by the settings of the family; None removes a setting."""
    return _without_none({**_SHAPE, "num_hidden_layers": len(layers), **own})


def _without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def _facts(rest: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """Remove from `rest` the facts of the family, which are no settings, and return them; a bare layer is of `kind`."""
    facts = {key: rest.pop(key) for key in FACTS if key in rest}
    for name in ("windows", "chunks"):
        if name in facts:
            facts[name] = {k if isinstance(k, tuple) else (kind, k): size for k, size in facts[name].items()}
    return facts


def _encoder(name: str, cls: str, *, layers: tuple[int, ...] = (0, 1), **rest: Any) -> Family:
    facts = {"see": "all", **_facts(rest, "encoder")}
    heads = rest.pop("heads", 4)
    return Family(name, cls, _config(layers, rest), {"encoder": layers}, {"encoder": heads}, **facts)


def _decoder(name: str, cls: str, *, layers: tuple[int, ...] = (0, 1), **rest: Any) -> Family:
    facts = _facts(rest, "decoder")
    heads = rest.pop("heads", 4)
    return Family(name, cls, _config(layers, rest), {"decoder": layers}, {"decoder": heads}, **facts)


def _seq2seq(
    name: str,
    cls: str,
    shape: Mapping[str, Any] = _SEQ2SEQ_SHAPE,
    *,
    heads: tuple[int, int] = (4, 2),
    layers: tuple[int, ...] = (0, 1, 2),
    **rest: Any,
) -> Family:
    facts = _facts(rest, "encoder")
    kinds: dict[Kind, tuple[int, ...]] = {"encoder": (0, 1), "decoder": layers, "cross": layers}
    counts: dict[Kind, int] = {"encoder": heads[0], "decoder": heads[1], "cross": heads[1]}
    return Family(name, cls, _without_none({**shape, **rest}), kinds, counts, **facts)


def _none(name: str, cls: str, see: Literal["all", "causal"] = "causal", **rest: Any) -> Family:
    return Family(name, cls, _config((0, 1), rest), {}, {}, route="refuse", see=see)


ENCODERS = (
    _encoder("bert", "BertForMaskedLM"),
    _encoder("roberta", "RobertaForMaskedLM"),
    _encoder(
        "albert",
        "AlbertForMaskedLM",
        layers=(0, 1, 2),
        embedding_size=16,
        notes="one shared layer, called three times",
    ),
    _encoder("distilbert", "DistilBertForMaskedLM", hidden_dim=40),
    _encoder("electra", "ElectraModel", embedding_size=16),
    _encoder(
        "deberta",
        "DebertaForMaskedLM",
        route="eager",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        max_relative_positions=8,
        notes="disentangled attention",
    ),
    _encoder(
        "deberta_v2",
        "DebertaV2ForMaskedLM",
        route="eager",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=4,
        max_relative_positions=8,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
    ),
    _encoder("mpnet", "MPNetForMaskedLM", route="eager"),
    _encoder("roformer", "RoFormerForMaskedLM", route="eager", embedding_size=32),
    _encoder(
        "convbert",
        "ConvBertForMaskedLM",
        route="eager",
        pads=False,
        heads=2,
        embedding_size=16,
        head_ratio=2,
        conv_kernel_size=3,
    ),
    _encoder(
        "xlnet",
        "XLNetLMHeadModel",
        route="eager",
        d_head=8,
        d_inner=40,
        max_position_embeddings=None,
        notes="relative positions; accepts no longest input",
    ),
    _encoder("xlm", "XLMWithLMHeadModel", route="eager"),
    _encoder(
        "squeezebert",
        "SqueezeBertForMaskedLM",
        route="eager",
        embedding_size=32,
        notes="its outputs are logits",
    ),
    _encoder(
        "modernbert",
        "ModernBertForMaskedLM",
        layers=(0, 1, 2),
        windows={1: 3, 2: 3},
        local_attention=4,
        cls_token_id=CLS,
        sep_token_id=SEP,
        global_attn_every_n_layers=3,
        notes="bidirectional window of local_attention / 2 to each side",
    ),
    _encoder("nomic_bert", "NomicBertForMaskedLM"),
    Family(
        "funnel",
        "FunnelForMaskedLM",
        _without_none(
            {
                **_SHAPE,
                "num_hidden_layers": None,
                "d_model": 32,
                "n_head": 4,
                "d_head": 8,
                "d_inner": 40,
                "block_sizes": [2, 1],
                "num_decoder_layers": 1,
            }
        ),
        {"encoder": (0, 1), "encoder-pooled-2x1": (2,), "decoder": (0,)},
        {"encoder": 4, "encoder-pooled-2x1": 4, "decoder": 4},
        route="eager",
        see="all",
        pads=False,
        notes="the queries of the third layer are pairs of tokens; the decoder layer is not causal",
    ),
    _encoder(
        "big_bird",
        "BigBirdForMaskedLM",
        route="eager",
        attention_type="block_sparse",
        block_size=4,
        num_random_blocks=1,
        notes="replaces its sparse attention by full attention for texts of up to 28 tokens",
    ),
    _encoder(
        "longformer",
        "LongformerForMaskedLM",
        route="eager",
        windows={0: 3, 1: 3},
        attention_window=[4, 4],
        notes="band storage: position in the window instead of the key",
    ),
    _encoder("siglip_text", "SiglipTextModel", notes="text tower of a dual encoder"),
    _encoder(
        "embedding_gemma",
        "Gemma3TextModel",
        windows={0: 3},
        use_bidirectional_attention=True,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=4,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"],
        notes="its masks are made from functions of single cells, by vmap",
    ),
)

DECODERS = (
    _decoder("gpt2", "GPT2LMHeadModel", scale_attn_by_inverse_layer_idx=True),
    _decoder(
        "gpt_neo",
        "GPTNeoForCausalLM",
        route="eager",
        windows={1: 4},
        attention_types=[[["global", "local"], 1]],
        window_size=4,
        notes="no scaling by the head size",
    ),
    _decoder("gptj", "GPTJForCausalLM", route=SINCE_5_24, rotary_dim=4),
    _decoder("gpt_neox", "GPTNeoXForCausalLM", rotary_pct=0.5),
    _decoder("opt", "OPTForCausalLM", ffn_dim=40, word_embed_proj_dim=32),
    _decoder(
        "bert_decoder",
        "BertLMHeadModel",
        is_decoder=True,
        notes="its modules are called encoder, its configuration and its mask say decoder",
    ),
    _decoder("bloom", "BloomForCausalLM", route="eager", notes="ALiBi"),
    _decoder("llama", "LlamaForCausalLM", layers=(0, 1, 2), num_key_value_heads=2),
    _decoder(
        "llama_dynamic",
        "LlamaForCausalLM",
        max_position_embeddings=8,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        pads=False,
        notes="replaces the buffer of its rotary frequencies for texts of more than 8 tokens",
    ),
    _decoder("mistral", "MistralForCausalLM", windows={0: 4, 1: 4}, num_key_value_heads=2, sliding_window=4),
    _decoder("qwen2", "Qwen2ForCausalLM", num_key_value_heads=1),
    _decoder(
        "gemma2",
        "Gemma2ForCausalLM",
        windows={0: 4},
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=4,
        query_pre_attn_scalar=16,
        attn_logit_softcapping=2.0,
    ),
    _decoder(
        "gemma3_text",
        "Gemma3ForCausalLM",
        layers=(0, 1),
        windows={0: 4},
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=4,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"],
    ),
    _decoder(
        "gemma4_text",
        "Gemma4ForCausalLM",
        layers=(0, 1, 2, 3),
        windows={0: 4, 2: 4},
        **GEMMA_4,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY,
        notes="the last layers read keys of earlier ones, so a model that only writes the next token skips their rows",
    ),
    _decoder(
        "unlimited_ocr_text",
        "UnlimitedOcrTextModel",
        num_key_value_heads=4,
        layer_types=["reference_sliding_attention"] * 2,
        mlp_layer_types=["dense", "dense"],
        sliding_window=4,
        notes="its masks are made by vmap; the window begins after the first text, which sees all of itself",
    ),
    _decoder(
        "falcon",
        "FalconForCausalLM",
        route="eager",
        new_decoder_architecture=True,
        num_kv_heads=2,
        notes="rotary",
    ),
    _decoder(
        "falcon_alibi",
        "FalconForCausalLM",
        route="eager",
        alibi=True,
        new_decoder_architecture=False,
        multi_query=False,
        notes="ALiBi inside the scaled scores",
    ),
    _decoder(
        "mpt",
        "MptForCausalLM",
        route="eager",
        d_model=32,
        n_heads=4,
        n_layers=2,
        max_seq_len=128,
        num_attention_heads=None,
        num_hidden_layers=None,
        hidden_size=None,
        notes="ALiBi",
    ),
    _decoder(
        "codegen",
        "CodeGenForCausalLM",
        route=SINCE_5_24,
        n_embd=32,
        n_head=4,
        n_layer=2,
        n_positions=128,
        rotary_dim=4,
        notes="query, key and value in four shuffled parts",
    ),
    _decoder("ctrl", "CTRLLMHeadModel", dff=40),
    _decoder("mixtral", "MixtralForCausalLM", num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2),
    _decoder("qwen3", "Qwen3ForCausalLM", num_key_value_heads=2, head_dim=8, notes="norms on query and key"),
    _decoder("phi", "PhiForCausalLM", partial_rotary_factor=0.5),
    _decoder(
        "phi3",
        "Phi3ForCausalLM",
        num_key_value_heads=2,
        original_max_position_embeddings=8,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [2.0] * 4,
        },
        pads=False,
        notes="overwrites its rotary frequencies for texts of more than 8 tokens",
    ),
    _decoder("olmo2", "Olmo2ForCausalLM", num_key_value_heads=2),
    _decoder("cohere", "CohereForCausalLM", num_key_value_heads=2),
    _decoder("stablelm", "StableLmForCausalLM", num_key_value_heads=2, partial_rotary_factor=0.5),
    _decoder("granite", "GraniteForCausalLM", num_key_value_heads=2, attention_multiplier=0.5),
    _decoder("diffllama", "DiffLlamaForCausalLM", num_key_value_heads=2, notes="two calls per layer, one map"),
    _decoder(
        "deepseek_v3",
        "DeepseekV3ForCausalLM",
        num_key_value_heads=4,
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_nope_head_dim=16,
        qk_rope_head_dim=8,
        v_head_dim=12,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        n_shared_experts=1,
        moe_intermediate_size=16,
        first_k_dense_replace=1,
        notes="latent attention: keys of 24, values of 12",
    ),
    _decoder(
        "gpt_oss",
        "GptOssForCausalLM",
        windows={0: 4},
        sink=True,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        notes="a learned sink takes part of each row",
    ),
    _decoder(
        "minimax_m2",
        "MiniMaxM2ForCausalLM",
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
    ),
    _decoder(
        "llama4_text",
        "Llama4ForCausalLM",
        layers=(0, 1),
        chunks={0: 4},
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size_mlp=40,
        num_local_experts=2,
        attention_chunk_size=4,
        no_rope_layers=[1, 0],
        layer_types=["chunked_attention", "full_attention"],
        floor_scale=4,
        notes="no rotary but a temperature by position in the full layer",
    ),
    _decoder(
        "jamba",
        "JambaForCausalLM",
        layers=(1, 3),
        num_hidden_layers=4,
        num_key_value_heads=2,
        attn_layer_offset=1,
        attn_layer_period=2,
        num_experts=2,
        num_experts_per_tok=1,
        mamba_d_state=4,
        mamba_dt_rank=4,
        notes="attention among state-space layers",
    ),
    _decoder(
        "zamba2",
        "Zamba2ForCausalLM",
        layers=(1, 3),
        num_hidden_layers=4,
        num_key_value_heads=4,
        layers_block_type=["mamba", "hybrid", "mamba", "hybrid"],
        mamba_d_state=4,
        n_mamba_heads=4,
        mamba_ngroups=1,
        num_mem_blocks=1,
        chunk_size=8,
        use_mem_rope=True,
        notes="one shared attention, called at layers 1 and 3",
    ),
    _decoder(
        "bamba",
        "BambaForCausalLM",
        layers=(1,),
        num_hidden_layers=3,
        num_key_value_heads=2,
        attn_layer_indices=[1],
        mamba_n_heads=4,
        mamba_d_head=16,
        mamba_d_state=4,
        mamba_chunk_size=8,
    ),
    _decoder(
        "qwen3_next",
        "Qwen3NextForCausalLM",
        layers=(1, 3),
        num_hidden_layers=4,
        num_key_value_heads=2,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"] * 2,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    _decoder(
        "recurrent_gemma",
        "RecurrentGemmaForCausalLM",
        layers=(2,),
        num_hidden_layers=4,
        windows={2: 4},
        num_key_value_heads=1,
        attention_window_size=4,
        lru_width=32,
    ),
    _decoder(
        "lfm2",
        "Lfm2ForCausalLM",
        layers=(1,),
        num_hidden_layers=3,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention", "conv"],
        block_auto_adjust_ff_dim=False,
    ),
    _decoder(
        "kimi_linear",
        "KimiLinearForCausalLM",
        layers=(3,),
        num_hidden_layers=4,
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_nope_head_dim=8,
        qk_rope_head_dim=8,
        v_head_dim=12,
        head_dim=8,
        linear_head_dim=8,
        linear_num_heads=2,
        num_key_value_heads=4,
        num_experts=2,
        num_experts_per_token=1,
        moe_intermediate_size=16,
        layer_types=["linear_attention"] * 3 + ["full_attention"],
        mlp_layer_types=["dense", "sparse", "sparse", "sparse"],
        notes="latent attention in every fourth layer",
    ),
    _encoder("clip_text", "CLIPTextModel", see="causal", notes="an encoder by its name, causal by its mask"),
    _decoder(
        "qwen2_vl",
        "Qwen2VLForConditionalGeneration",
        notes="multimodal, read from text alone",
        text_config={
            **_SHAPE,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
        },
        vision_config={
            "depth": 1,
            "embed_dim": 16,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
        },
        image_token_id=4,
        video_token_id=5,
        vision_start_token_id=3,
        vision_end_token_id=6,
    ),
    _decoder(
        "llava",
        "LlavaForConditionalGeneration",
        notes="multimodal, read from text alone",
        text_config={**_SHAPE, "model_type": "llama", "num_key_value_heads": 2},
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 8,
            "patch_size": 4,
            "projection_dim": 16,
        },
        image_token_index=4,
    ),
    _decoder(
        "whisper_decoder",
        "WhisperForCausalLM",
        d_model=32,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=40,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        max_target_positions=64,
        max_source_positions=8,
        num_mel_bins=8,
        is_encoder_decoder=False,
        decoder_start_token_id=BOS,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        notes="the decoder alone, without cross-attention",
    ),
)

SEQ2SEQ = (
    _seq2seq("t5", "T5ForConditionalGeneration", _T5_SHAPE, heads=(4, 4)),
    _seq2seq("mt5", "MT5ForConditionalGeneration", _T5_SHAPE, heads=(4, 4), feed_forward_proj="gated-gelu"),
    _seq2seq("umt5", "UMT5ForConditionalGeneration", _T5_SHAPE, heads=(4, 4), notes="a bias in every layer"),
    _seq2seq(
        "switch_transformers",
        "SwitchTransformersForConditionalGeneration",
        _T5_SHAPE,
        heads=(4, 4),
        num_experts=2,
        expert_capacity=64,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
    ),
    _seq2seq(
        "longt5",
        "LongT5ForConditionalGeneration",
        _T5_SHAPE,
        heads=(4, 4),
        route="eager",
        windows={0: 4, 1: 4},
        local_radius=3,
        encoder_attention_type="local",
        notes="the encoder's local attention is kept in blocks",
    ),
    _seq2seq("bart", "BartForConditionalGeneration"),
    _seq2seq("mbart", "MBartForConditionalGeneration"),
    _seq2seq("marian", "MarianMTModel"),
    _seq2seq("pegasus", "PegasusForConditionalGeneration"),
    _seq2seq("blenderbot", "BlenderbotForConditionalGeneration"),
    _seq2seq(
        "led",
        "LEDForConditionalGeneration",
        route="eager",
        windows={0: 3, 1: 3},
        attention_window=[4, 4],
        max_encoder_position_embeddings=64,
        max_decoder_position_embeddings=64,
    ),
    _seq2seq(
        "prophetnet",
        "ProphetNetForConditionalGeneration",
        {
            **_SHAPE,
            "num_encoder_layers": 2,
            "num_decoder_layers": 2,
            "num_encoder_attention_heads": 4,
            "num_decoder_attention_heads": 2,
            "encoder_ffn_dim": 40,
            "decoder_ffn_dim": 40,
            "num_hidden_layers": None,
            "num_attention_heads": None,
            "intermediate_size": None,
            "ngram": 2,
            "num_buckets": 8,
            "relative_max_distance": 10,
            "decoder_start_token_id": BOS,
        },
        route="eager",
        layers=(0, 1),
        notes="the main stream; n-gram streams run in parallel",
    ),
    _seq2seq(
        "t5gemma",
        "T5GemmaForConditionalGeneration",
        {},
        heads=(4, 4),
        windows={("encoder", 0): 5, ("decoder", 0): 4, ("decoder", 2): 4},
        is_encoder_decoder=True,
        encoder={**_SHAPE, **_GEMMA},
        decoder={
            **_SHAPE,
            **_GEMMA,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "cross_attention_hidden_size": 32,
        },
        **SPECIAL_IDS,
    ),
    _seq2seq(
        "t5gemma2",
        "T5Gemma2ForConditionalGeneration",
        {},
        heads=(4, 4),
        windows={("encoder", 0): 3, ("decoder", 0): 4, ("decoder", 2): 4},
        encoder={
            "text_config": {**_SHAPE, **_GEMMA, "attn_logit_softcapping": None, "sliding_window": 5},
            "vision_config": {
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "hidden_size": 8,
                "intermediate_size": 8,
            },
            "image_token_index": VOCABULARY - 1,
        },
        decoder={
            **_SHAPE,
            **_GEMMA,
            "attn_logit_softcapping": None,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        sink=True,
        notes="one softmax over the tokens of both stacks; the masks of its encoder are made by vmap",
    ),
    _seq2seq(
        "encoder_decoder",
        "EncoderDecoderModel",
        {},
        heads=(4, 4),
        encoder={**_SHAPE, "model_type": "bert"},
        decoder={
            **_SHAPE,
            "model_type": "bert",
            "num_hidden_layers": 3,
            "is_decoder": True,
            "add_cross_attention": True,
        },
        decoder_start_token_id=BOS,
        pad_token_id=PAD,
    ),
)

REFUSED = (
    _none("mamba", "MambaForCausalLM", use_mambapy=False, state_size=4),
    _none("mamba2", "Mamba2ForCausalLM", num_heads=4, head_dim=16, state_size=4, n_groups=1, chunk_size=8),
    _none("rwkv", "RwkvForCausalLM", attention_hidden_size=32),
    _none("fnet", "FNetForMaskedLM", see="all"),
)

TABLE: tuple[Family, ...] = (*ENCODERS, *DECODERS, *SEQ2SEQ, *REFUSED)
