"""Inputs that the user encoded: every form that a tokenizer gives is measured, all others are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    DynamicCache,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
)

import attncli
from attncli import UsageError
from attncli.data import read_only

TEXTS = ["a cat", "one two three four"]
IDS = [[101, 1037, 4937, 102]]
Held = tuple[PreTrainedModel, Any]


@pytest.fixture(scope="module")
def held(minilm: Path) -> Held:
    return AutoModel.from_pretrained(minilm), AutoTokenizer.from_pretrained(minilm)


@pytest.fixture(scope="module")
def expected(held: Held) -> attncli.Run:
    model, tokenizer = held
    return attncli.capture(model, tokenizer(TEXTS, padding=True, return_tensors="pt"), tokenizer, layer=0)


EXTRAS = {"return_offsets_mapping": True, "return_special_tokens_mask": True, "return_length": True}


@pytest.mark.parametrize(
    "encode",
    [
        lambda tokenizer: tokenizer(TEXTS),
        lambda tokenizer: tokenizer(TEXTS, padding=True),
        lambda tokenizer: tokenizer(TEXTS, padding=True, return_tensors="np"),
        lambda tokenizer: tokenizer(TEXTS, **EXTRAS),
        lambda tokenizer: tokenizer(TEXTS, padding=True, return_tensors="pt", **EXTRAS),
        lambda tokenizer: dict(tokenizer(TEXTS)),
        lambda tokenizer: tokenizer(TEXTS)["input_ids"],
        lambda tokenizer: {"input_ids": [torch.tensor(ids) for ids in tokenizer(TEXTS)["input_ids"]]},
        lambda tokenizer: {"input_ids": np.array(tokenizer(TEXTS)["input_ids"], dtype=object), "attention_mask": None},
    ],
)
def test_every_form_of_several_texts_gives_the_same_maps(
    encode: Callable[[Any], Any], held: Held, expected: attncli.Run
) -> None:
    run = attncli.capture(held[0], encode(held[1]), held[1], layer=0)
    for text in (0, 1):
        assert run.inputs[text].source.pieces == expected.inputs[text].source.pieces
        np.testing.assert_allclose(run.attention(text=text).stack(), expected.attention(text=text).stack(), atol=1e-6)


@pytest.mark.parametrize(
    "form",
    [
        IDS,
        IDS[0],
        tuple(IDS[0]),
        torch.tensor(IDS),
        torch.tensor(IDS[0], dtype=torch.int32),
        np.array(IDS),
        read_only(np.array(IDS)),
        [read_only(np.array(IDS[0]))],
        {"input_ids": IDS[0], "token_type_ids": [0] * 4, "attention_mask": [1] * 4},
        {"input_ids": torch.tensor(IDS), "attention_mask": None},
        {"input_ids": [[*IDS[0], 0]], "attention_mask": torch.tensor([[True] * 4 + [False]])},
    ],
)
def test_every_form_of_one_text_gives_the_same_maps(form: Any, held: Held, expected: attncli.Run) -> None:
    run = attncli.capture(held[0], form, held[1], layer=0)
    assert run.inputs[0].source.pieces == ("[CLS]", "a", "cat", "[SEP]")
    np.testing.assert_allclose(run.attention().stack(), expected.attention(text=0).stack(), atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("hello", "with input_ids, such as tokenizer\\(text\\), got a text; attncli.load"),
        (["a cat"], "got a list; attncli.load"),
        (None, "got null"),
        (5, "got a number"),
        ({"attention_mask": [[1]]}, "got attention_mask"),
        ({"input_ids": "hello"}, "expected input_ids as a tensor or as lists of numbers, got a text"),
        ({"input_ids": [["a", "b"]]}, "expected input_ids as a tensor or as lists of numbers"),
        ({"input_ids": [[10**30]]}, "expected input_ids as a tensor or as lists of numbers"),
        ({"input_ids": [[1.0, 2.0]]}, "input_ids as whole numbers, got float32"),
        ({"input_ids": [[True, False]]}, "input_ids as whole numbers, got bool"),
        ({"input_ids": [[5, -100]]}, "input_ids from 0 up, got -100"),
        ({"input_ids": 5}, r"shape \[batch, token\], got \[\]"),
        ({"input_ids": []}, r"shape \[batch, token\], got \[1, 0\]"),
        ({"input_ids": IDS, "past_key_values": DynamicCache()}, "past_key_values cannot be captured: its keys have no"),
        ({"inputs_embeds": torch.zeros(1, 4, 384)}, "inputs_embeds cannot be captured: its positions have no tokens"),
        ({"input_ids": IDS, "encoder_outputs": (torch.zeros(1),)}, "encoder_outputs cannot be captured"),
        ({"input_ids": IDS, "output_attentions": True}, "output_attentions cannot be captured: attncli sets it itself"),
        ({"input_ids": IDS, "attention_mask": torch.ones(1, 1, 4, 4)}, "a mask of pairs of tokens cannot be captured"),
        ({"input_ids": IDS, "attention_mask": {"full_attention": None}}, "expected attention_mask as a tensor"),
        ({"input_ids": IDS, "attention_mask": [[0.0, 0.0, 0.0, -1e9]]}, "attention_mask of 1 for tokens and 0 for"),
        (
            {"input_ids": [[1, 2, 3], [4, 5]], "attention_mask": [[1, 1], [1, 1, 1]]},
            r"lengths of the ids, \[3, 2\], got",
        ),
        ({"input_ids": IDS, "token_type_ids": [[0, 0]]}, r"token_type_ids of shape \[1, 4\] like the ids"),
        ({"input_ids": IDS, "token_type_id": IDS}, "reads no input 'token_type_id': did you mean 'token_type_ids'"),
        ({"input_ids": IDS, "labels": [0]}, "BertModel reads no input 'labels'"),
        ({"input_ids": IDS, "encoder_hidden_states": torch.zeros(1, 7, 384)}, "has no cross-attention that reads"),
    ],
)
def test_other_inputs_are_refused(inputs: Any, message: str, held: Held) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        attncli.capture(held[0], inputs, held[1])
    assert len(str(refused.value)) < 500
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("tokenizer", [5, "bert-base-uncased"])
def test_another_object_is_no_tokenizer(tokenizer: Any, held: Held) -> None:
    with pytest.raises(UsageError, match="expected a Transformers tokenizer, got"):
        attncli.capture(held[0], IDS, tokenizer)


def test_the_decoder_side_may_be_ragged_too() -> None:
    family = FAMILIES["t5"]
    model, ids = families.build(family), [[5, 6, 7, 8], [9, 10]]
    run = attncli.capture(model, {"input_ids": ids, "decoder_input_ids": [[5, 6], [7, 8, 9]]})
    for text, (source, target) in enumerate([(4, 2), (2, 3)]):
        shapes = [attention.layers[0].weights.shape[1:] for attention in run.maps if attention.text == text]
        assert shapes == [(source, source), (target, target), (target, source)]


# ------------------------------------------------------------------------------- states of an encoder

SMALL = {"vocab_size": 60, "add_cross_attention": True, "attn_implementation": "eager"}
DECODERS: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertModel(
        BertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, is_decoder=True, **SMALL
        )
    ),
    "gpt2": lambda: GPT2Model(GPT2Config(n_embd=16, n_head=2, n_layer=2, bos_token_id=0, eos_token_id=0, **SMALL)),
}


@pytest.mark.parametrize("positions", [1, 3, 5, 7])
@pytest.mark.parametrize("name", DECODERS)
def test_keys_of_given_states_are_their_positions(name: str, positions: int) -> None:
    """Also 5 states for 5 tokens: equal lengths do not confuse the two."""
    torch.manual_seed(0)
    model = DECODERS[name]().eval()
    inputs = {"input_ids": torch.arange(10, 15)[None], "encoder_hidden_states": torch.randn(1, positions, 16)}
    with torch.no_grad():
        own = model(**inputs, output_attentions=True)
    run = attncli.capture(model, inputs)
    for kind, layers in (("decoder", own.attentions), ("cross", own.cross_attentions)):
        attention = run.attention(kind)  # type: ignore[arg-type]
        assert attention.queries.pieces == ("10", "11", "12", "13", "14")
        assert [layer.layer for layer in attention.layers] == [0, 1]
        for captured, weights in zip(attention.layers, layers, strict=True):
            np.testing.assert_allclose(captured.weights, weights[0], atol=2e-6)
    assert run.attention("cross").keys.pieces == tuple(map(str, range(positions)))


def test_padding_of_given_states_is_left_out() -> None:
    model = DECODERS["bert"]().eval()
    states = torch.randn(2, 5, 16)
    inputs = {"input_ids": [[10, 11, 12], [13, 14]], "encoder_hidden_states": states}
    run = attncli.capture(model, {**inputs, "encoder_attention_mask": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]})
    alone = {"input_ids": [[10, 11, 12]], "encoder_hidden_states": states[:1, :3]}
    cross = run.attention("cross", 0).stack()
    assert cross.shape[2:] == (3, 3)
    np.testing.assert_allclose(cross, attncli.capture(model, alone).attention("cross").stack(), atol=1e-6)
    assert run.attention("cross", 1).stack().shape[2:] == (2, 5)
