"""A zoo of tiny random models, one for each attention mechanism, and the float64 truth that capture is held to.

`FAMILIES[name]` says what is true of a family, `build` makes its model (seeded, with weights large enough that a
wrong scale or a lost bias shows in the rows), `reference` its attention in float64, `save` a folder that can be
loaded like any other. Nothing here knows attncli.
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

Maps = Mapping[tuple[Kind, int], np.ndarray]
FAMILIES: Mapping[str, Family] = {family.name: family for family in TABLE}
OUTPUTS: Mapping[Kind, tuple[str, ...]] = {
    "encoder": ("encoder_attentions", "attentions"),
    "decoder": ("decoder_attentions", "attentions"),
    "cross": ("cross_attentions",),
}


# ------------------------------------------------------------------------------------------------ models


def build(family: Family, implementation: str | None = None) -> PreTrainedModel:
    """The family's model: float32, eval mode, the same weights at every call; its own attention unless one is named."""
    cls = getattr(transformers, family.cls)
    config = cls.config_class(**family.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = cls._from_config(config, attn_implementation=implementation, dtype=torch.float32)
    _sharpen(model)
    return model.eval()


@torch.no_grad()
def _sharpen(model: PreTrainedModel) -> None:
    """Give every small or constant parameter the spread that keeps activations near 1 from layer to layer."""
    generator = torch.Generator().manual_seed(1)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for parameter in model.parameters():
        if parameter.numel() < 2 or not parameter.is_floating_point():
            continue
        spread = float(parameter.std())
        if parameter.dim() == 1 or spread == 0:
            if spread == 0:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
            continue
        fan_in = parameter.shape[-1]
        target = 1.0 if id(parameter) in embeddings else 1.2 * fan_in**-0.5
        if spread < target:
            parameter.mul_(target / spread)


def inputs(family: Family, lengths: tuple[int, ...] = (12,), seed: int = 0) -> dict[str, torch.Tensor]:
    """What `forward` takes: one random text for each length, padded on the right; a decoder side where there is one."""
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
    model = build(family, "eager").double()
    output = model(**(tensors or inputs(family)), output_attentions=True, return_dict=True)
    found: dict[tuple[Kind, int], np.ndarray] = {}
    for kind, layers in family.layers.items():
        maps = _named(output, OUTPUTS[kind])
        if len(maps) != len(layers) + len(family.refused):
            raise AssertionError(
                f"{family.name} has {len(maps)} maps of kind {kind}, its table says {layers}"
            )
        found |= {
            (kind, layer): weights.double().numpy() for layer, weights in zip(layers, maps, strict=True)
        }
    return found


def _named(output: Any, names: tuple[str, ...]) -> tuple[torch.Tensor, ...]:
    for name in names:
        maps = getattr(output, name, None)
        if maps:
            return tuple(maps)
    raise AssertionError(f"the model gives none of {names}, it gives {list(output)}")


def visible(family: Family, kind: Kind, layer: int, queries: int, keys: int) -> np.ndarray:
    """[query, key] bool: what the family's table says that each row may see in a text without padding."""
    i, j = np.arange(queries)[:, None], np.arange(keys)[None, :]
    seen = np.ones((queries, keys), bool)
    if kind == "decoder" and family.see == "causal":
        seen &= j <= i
    if kind != "cross" and layer in family.windows:
        seen &= np.abs(i - j) < family.windows[layer]
    if kind != "cross" and layer in family.chunks:
        seen &= i // family.chunks[layer] == j // family.chunks[layer]
    return seen


# --------------------------------------------------------------------------------------------- on disk


def tiny_tokenizer(family: Family | None = None) -> PreTrainedTokenizerFast:
    """Lower-case words `w7` … `w99` and a few real ones, [CLS] … [SEP] around encoders' texts, </s> after others'."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["<pad>", "<unk>", "<s>", "</s>", "[CLS]", "[SEP]", "[MASK]"]
    words = "the animal did not cross street because it was too tired . , ' a dog cat saw red big house and".split()
    vocabulary = special + words
    vocabulary += [f"w{number}" for number in range(len(vocabulary), VOCABULARY)]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, "<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    single, pair = _templates(family)
    ids = [(word, vocabulary.index(word)) for word in special]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    return PreTrainedTokenizerFast(
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
