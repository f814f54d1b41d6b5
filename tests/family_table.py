"""The table of tiny model families: which class, which config, and what is true of its attention.

Numbers stay small (2-4 layers, 2-4 heads, 100 words) but every mechanism bites on a text of a dozen tokens:
sliding windows are shorter than the text, chunks smaller, caps low, key/value heads fewer than query heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["encoder", "decoder", "cross"]
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


@dataclass(frozen=True)
class Family:
    """One architecture, small.

    cls      the class in transformers that a hub model of this family is loaded with
    layers   kind → the true numbers of the layers that have softmax attention over the tokens
    heads    kind → attention heads per layer
    route    what capture is expected to use: `stream` where the model dispatches its attention, `eager` where it
             computes inline, `refuse` where there is no softmax attention
    see      what a row may see where nothing narrower is said: `all` or `causal`
    windows  layer → how many tokens back (and, if `see` is `all`, ahead) are visible, itself included
    chunks   layer → size of the chunks outside of which nothing is visible
    sink     whether rows may sum to less than 1
    refused  layers of attention that have no map over the tokens (pooled sequences, linear attention)
    """

    name: str
    cls: str
    config: Mapping[str, Any]
    layers: Mapping[Kind, tuple[int, ...]]
    heads: Mapping[Kind, int]
    route: Route = "stream"
    see: Literal["all", "causal"] = "causal"
    windows: Mapping[int, int] = field(default_factory=dict)
    chunks: Mapping[int, int] = field(default_factory=dict)
    sink: bool = False
    refused: tuple[int, ...] = ()
    notes: str = ""

    @property
    def is_encoder_decoder(self) -> bool:
        return "cross" in self.layers


def _config(layers: tuple[int, ...], own: Mapping[str, Any]) -> dict[str, Any]:
    """The common shape, bettered by the family's own settings; None takes a setting out."""
    settings = {**_SHAPE, "num_hidden_layers": len(layers), **own}
    return {key: value for key, value in settings.items() if value is not None}


def _encoder(name: str, cls: str, *, layers: tuple[int, ...] = (0, 1), **rest: Any) -> Family:
    facts = {key: rest.pop(key) for key in ("route", "windows", "refused", "notes") if key in rest}
    heads = rest.pop("heads", 4)
    return Family(
        name, cls, _config(layers, rest), {"encoder": layers}, {"encoder": heads}, see="all", **facts
    )


def _decoder(name: str, cls: str, *, layers: tuple[int, ...] = (0, 1), **rest: Any) -> Family:
    known = ("route", "windows", "chunks", "sink", "refused", "notes")
    facts = {key: rest.pop(key) for key in known if key in rest}
    heads = rest.pop("heads", 4)
    return Family(name, cls, _config(layers, rest), {"decoder": layers}, {"decoder": heads}, **facts)


def _seq2seq(
    name: str,
    cls: str,
    shape: Mapping[str, Any] = _SEQ2SEQ_SHAPE,
    heads: tuple[int, int] = (4, 2),
    **rest: Any,
) -> Family:
    facts = {key: rest.pop(key) for key in ("route", "windows", "refused", "notes") if key in rest}
    return Family(
        name,
        cls,
        {**shape, **rest},
        {"encoder": (0, 1), "decoder": (0, 1, 2), "cross": (0, 1, 2)},
        {"encoder": heads[0], "decoder": heads[1], "cross": heads[1]},
        **facts,
    )


ENCODERS = (
    _encoder("bert", "BertForMaskedLM"),
    _encoder("roberta", "RobertaForMaskedLM"),
    _encoder(
        "albert",
        "AlbertForMaskedLM",
        layers=(0, 1, 2),
        embedding_size=16,
        notes="one shared layer, called thrice",
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
        notes="relative positions; refuses to be told a longest input",
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
    _decoder("gptj", "GPTJForCausalLM", route="eager", rotary_dim=4),
    _decoder("gpt_neox", "GPTNeoXForCausalLM", rotary_pct=0.5),
    _decoder("opt", "OPTForCausalLM", ffn_dim=40, word_embed_proj_dim=32),
    _decoder("bloom", "BloomForCausalLM", route="eager", notes="ALiBi"),
    _decoder("llama", "LlamaForCausalLM", layers=(0, 1, 2), num_key_value_heads=2),
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
)

SEQ2SEQ = (
    _seq2seq("t5", "T5ForConditionalGeneration", _T5_SHAPE, heads=(4, 4)),
    _seq2seq("bart", "BartForConditionalGeneration"),
)

TABLE: tuple[Family, ...] = (*ENCODERS, *DECODERS, *SEQ2SEQ)
