"""Tiny random models, one for each attention mechanism, with reference attention in float64.

`FAMILIES[name]` holds the facts of a family. `build` makes its model (seeded, with weights so large that a wrong scale
or a lost bias changes the rows), `reference` computes its attention in float64, `save` writes a folder to load from.
This module does not use attncli.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from family_table import BOS, CLS, EOS, MASK, PAD, SEP, TABLE, UNK, VOCABULARY, Family, Kind
from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = [
    "FAMILIES",
    "OUTPUTS",
    "Family",
    "Kind",
    "Maps",
    "build",
    "inputs",
    "named",
    "reference",
    "save",
    "tiny_tokenizer",
    "visible",
]

Maps = Mapping[tuple[Kind, int], np.ndarray]
FAMILIES: Mapping[str, Family] = {family.name: family for family in TABLE}
OUTPUTS: Mapping[Kind, tuple[str, ...]] = {
    "encoder": ("encoder_attentions", "attentions"),
    "decoder": ("decoder_attentions", "attentions"),
    "cross": ("cross_attentions",),
}
WORDS = "the animal did not cross street because it was too tired . , ' a dog cat saw red big house and"


# ------------------------------------------------------------------------------------------------ models


def build(family: Family, implementation: str | None = None) -> PreTrainedModel:
    """The family's model in float32 and eval mode, always with the same weights.

    `implementation` names the attention code to run; without it the model takes its own default.
    """
    cls = getattr(transformers, family.cls)
    config = cls.config_class(**family.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = cls._from_config(
            config, attn_implementation=implementation, experts_implementation="eager", dtype=torch.float32
        )
    _sharpen(model)
    model.eval()
    assert isinstance(model, PreTrainedModel)
    return model


@torch.no_grad()
def _sharpen(model: PreTrainedModel) -> None:
    """Give every small or constant parameter the spread that keeps activations near 1 from layer to layer."""
    generator = torch.Generator().manual_seed(1)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for parameter in model.parameters():
        if parameter.numel() < 2 or not parameter.requires_grad:  # tables of sines are no weights
            continue
        spread = float(parameter.std())
        if parameter.dim() == 1 or spread == 0:
            if spread == 0:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
            continue
        fan_in = parameter.shape[-1]
        target = 1.0 if id(parameter) in embeddings else fan_in**-0.5
        if spread < target:
            parameter.mul_(target / spread)


def inputs(family: Family, lengths: tuple[int, ...] = (12,), seed: int = 0) -> dict[str, torch.Tensor]:
    """What `forward` takes: random texts of these lengths, padded right; decoder texts where needed."""
    sides = {"": lengths}
    if family.is_encoder_decoder:
        sides["decoder_"] = tuple(max(1, length - 4) for length in lengths)
    draw = np.random.default_rng(seed)
    tensors: dict[str, torch.Tensor] = {}
    for prefix, sizes in sides.items():
        ids = torch.full((len(sizes), max(sizes)), PAD)
        for row, size in enumerate(sizes):
            ids[row, :size] = torch.from_numpy(draw.integers(MASK + 1, VOCABULARY, size))
        tensors[f"{prefix}input_ids"] = ids
        tensors[f"{prefix}attention_mask"] = (ids != PAD).long()
    return tensors


# --------------------------------------------------------------------------------------------- reference


@torch.no_grad()
def reference(family: Family, tensors: Mapping[str, torch.Tensor] | None = None) -> Maps:
    """The attention of every layer in float64: (kind, layer) → [batch, head, query, key]."""
    model: Any = build(family, "eager").double()
    tensors = dict(tensors or inputs(family))
    if family.name == "big_bird":  # what it changes to by itself for a short text, losing visibility of its attention
        model.bert.set_attention_type("original_full")
    if family.name == "prophetnet":  # a whole-number mask times the lowest float64 gives nan
        tensors |= {name: mask.double() for name, mask in tensors.items() if name.endswith("mask")}
    output = model(**tensors, output_attentions=True, return_dict=True)
    maps_by_layer: dict[tuple[Kind, int], np.ndarray] = {}
    for kind, layers in family.layers.items():
        maps = named(output, OUTPUTS[kind.partition("-")[0]])
        if family.name == "funnel":  # one list of maps for its two stacks
            maps = {"encoder": maps[:2], "encoder-pooled-2x1": maps[2:3], "decoder": maps[3:]}[kind]
        maps = _full_matrices(family, kind, maps, tensors)
        numbered = sorted({*layers, *family.refused.get(kind, ())})
        if len(maps) != len(numbered):
            raise AssertionError(f"{family.name} has {len(maps)} maps of kind {kind}, its table says {numbered}")
        maps_by_layer |= {
            (kind, n): weights.double().numpy() for n, weights in zip(numbered, maps, strict=True) if n in layers
        }
    return maps_by_layer


def named(output: Any, names: tuple[str, ...]) -> tuple[torch.Tensor, ...]:
    """The maps that a model returned under the first of these names that it gives."""
    for name in names:
        maps = getattr(output, name, None)
        if maps:
            return tuple(maps)
    raise AssertionError(f"the model gives none of {names}, it gives {list(output)}")


def _full_matrices(
    family: Family, kind: Kind, maps: tuple[torch.Tensor, ...], tensors: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """The few outputs that are no matrices of weights over query and key, turned into such."""
    if family.name == "squeezebert":  # scores before the softmax, the mask already added
        return tuple(scores.softmax(-1) for scores in maps)
    if family.name == "prophetnet" and kind != "decoder":  # scores too, and n-gram streams below the main one
        rows = tensors["decoder_input_ids" if kind == "cross" else "input_ids"].shape[1]
        return tuple(scores.softmax(-1)[:, :, :rows] for scores in maps)
    if family.name in ("longformer", "led") and kind == "encoder":
        return tuple(_from_band(weights) for weights in maps)
    if family.name == "longt5" and kind == "encoder":
        length = tensors["input_ids"].shape[1]
        return tuple(_from_blocks(weights)[..., :length, :length] for weights in maps)
    return maps


def _from_band(weights: torch.Tensor) -> torch.Tensor:
    """[batch, head, query, 2 w + 1] → [batch, head, query, key]; column c is the key at query - w + c."""
    length, reach = weights.shape[2], weights.shape[3] // 2
    full = weights.new_zeros(*weights.shape[:2], length, length)
    for query in range(length):
        for key in range(max(0, query - reach), min(length, query + reach + 1)):
            full[:, :, query, key] = weights[:, :, query, key - query + reach]
    return full


def _from_blocks(weights: torch.Tensor) -> torch.Tensor:
    """[batch, block, head, query in block, key in the 3 blocks around] → [batch, head, query, key]."""
    batch, blocks, heads, size, _ = weights.shape
    full = weights.new_zeros(batch, heads, blocks * size, blocks * size)
    for query in range(blocks * size):
        first = (query // size - 1) * size
        for key in range(max(0, first), min(blocks * size, first + 3 * size)):
            full[:, :, query, key] = weights[:, query // size, :, query % size, key - first]
    return full


def visible(family: Family, kind: Kind, layer: int, queries: int, keys: int) -> np.ndarray:
    """[query, key] bool: what the family's table says that each row may see in a text without padding."""
    i, j = np.arange(queries)[:, None], np.arange(keys)[None, :]
    seen = np.ones((queries, keys), bool)
    if family.see == "causal" and kind == ("decoder" if family.is_encoder_decoder else kind):
        seen &= j <= i
    if window := family.windows.get((kind, layer)):
        seen &= np.abs(i - j) < window
    if chunk := family.chunks.get((kind, layer)):
        seen &= i // chunk == j // chunk
    return seen


# --------------------------------------------------------------------------------------------- on disk


def tiny_tokenizer(family: Family | None = None) -> PreTrainedTokenizerFast:
    """A few real words and `w30`, `w31` …; [CLS] … [SEP] around an encoder's text, <s> before a decoder's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["<pad>", "<unk>", "<s>", "</s>", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = special + WORDS.split()
    vocabulary += [f"w{number}" for number in range(len(vocabulary), VOCABULARY)]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, "<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    single, pair = _templates(family)
    ids = [(word, vocabulary.index(word)) for word in special]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=special[PAD],
        unk_token=special[UNK],
        bos_token=special[BOS],
        eos_token=special[EOS],
        cls_token=special[CLS],
        sep_token=special[SEP],
        mask_token=special[MASK],
        model_input_names=["input_ids", "attention_mask"],
    )


def _templates(family: Family | None) -> tuple[str, str]:
    if family is None or family.see == "all":
        return "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
    if family.is_encoder_decoder:
        return "$A </s>", "$A </s> $B:1 </s>:1"
    return "<s> $A", "<s> $A $B:1"


def save(family: Family, folder: Path) -> Path:
    """The family's model and a tokenizer as a folder that loads like one from the hub."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build(family).save_pretrained(folder)
        tiny_tokenizer(family).save_pretrained(folder)
    return folder
