"""The hidden states of every layer are those that the model itself returns, text by text."""

from __future__ import annotations

from pathlib import Path

import families
import pytest
import torch

import attncli
from attncli.capturing.capture import hidden_states
from attncli.data import Text
from attncli.engine.request import Request
from attncli.inputs.batches import batch_from_tensors

TEXTS = ["The cat sat on the mat because it was warm.", "A dog ran home."]


@pytest.mark.parametrize(("name", "stack"), [("encoder", "encoder"), ("decoder", "decoder")])
def test_padding_never_reaches_the_states(name: str, stack: str) -> None:
    model = attncli.load(f"demo:{name}")
    tokenizer = model.loaded.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token or tokenizer.bos_token
    batch = batch_from_tensors(model.loaded, tokenizer(TEXTS, padding=True, return_tensors="pt"))
    assert not batch.source_mask.all()
    states_by_text = {text.index: states for text, states in hidden_states(model.loaded, model.plan(), batch)}
    for index, text in enumerate(TEXTS):
        with torch.inference_mode():
            alone = model.loaded.model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        assert list(states_by_text[index]) == [stack]
        for layer, expected in zip(states_by_text[index][stack], alone.hidden_states, strict=True):  # type: ignore[index]
            torch.testing.assert_close(layer, expected[0], atol=1e-5, rtol=1e-5)


def test_an_encoder_decoder_has_both_stacks() -> None:
    model = attncli.load("demo:seq2seq")
    ids = model.loaded.tokenizer(["abc"], return_tensors="pt")["input_ids"]
    batch = batch_from_tensors(model.loaded, {"input_ids": ids, "decoder_input_ids": ids[:, :2]})
    ((_, states),) = hidden_states(model.loaded, model.plan(), batch)
    assert {stack: len(layers[0]) for stack, layers in states.items()} == {"encoder": ids.shape[1], "decoder": 2}
    assert {stack: len(layers) for stack, layers in states.items()} == {"encoder": 4, "decoder": 3}


@pytest.mark.parametrize(("name", "layers"), [("jamba", 4), ("bamba", 3), ("funnel", 0)])
def test_layers_without_attention_have_states_and_pooled_tokens_have_none(
    name: str, layers: int, tmp_path: Path
) -> None:
    model = attncli.load(str(families.save(families.FAMILIES[name], tmp_path)))
    prepared = model.prepare([Text("the cat sat on the mat")], Request())
    ((_, states),) = hidden_states(prepared.loaded, prepared.plan, prepared.batches[0])
    assert [len(layers_of_stack) - 1 for layers_of_stack in states.values()] == ([layers] if layers else [])
    assert all(layer < layers for _, layer in prepared.heads) or not layers
