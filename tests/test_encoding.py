"""What the model reads and what stands at each position: pieces, words, segments, targets, chats."""

from __future__ import annotations

from pathlib import Path

import families
import numpy as np
import pytest
import torch

from attncli import models
from attncli.data import Text
from attncli.encoding import batch_of, encode
from attncli.errors import ModelError, UsageError
from attncli.models import Loaded

SENTENCE = "The animal didn't cross the street because it was too tired."


@pytest.fixture(scope="module")
def real(minilm: Path) -> Loaded:
    return models.load(str(minilm), device="cpu")


@pytest.fixture(scope="module")
def decoder(demo_dirs: dict[str, Path]) -> Loaded:
    return models.load(str(demo_dirs["decoder"]), device="cpu", head="causal-lm")


@pytest.fixture(scope="module")
def seq2seq(demo_dirs: dict[str, Path]) -> Loaded:
    return models.load(str(demo_dirs["seq2seq"]), device="cpu")


def test_tokens_know_pieces_words_offsets_and_special_ones(real: Loaded) -> None:
    (batch,) = encode(real, [Text("Unbelievable animals")])
    tokens = batch.inputs[0].source
    assert tokens.pieces == ("[CLS]", "unbelievable", "animals", "[SEP]")
    assert tokens.special.tolist() == [True, False, False, True]
    assert tokens.words.tolist() == [-1, 0, 1, -1]
    assert [tokens.text[a:b] for a, b in tokens.offsets[1:3]] == ["Unbelievable", "animals"]
    assert tokens.scheme == "wordpiece"


def test_pieces_of_one_word_share_its_number(real: Loaded) -> None:
    (batch,) = encode(real, [Text("the attnclification works")])
    tokens = batch.inputs[0].source
    pieces = [piece for piece, word in zip(tokens.pieces, tokens.words, strict=True) if word == 1]
    assert len(pieces) > 1
    assert "".join(piece.removeprefix("##") for piece in pieces) == "attnclification"


def test_a_pair_has_segments_a_and_b(real: Loaded) -> None:
    (batch,) = encode(real, [Text("A cat sat.", pair="It slept.")])
    tokens = batch.inputs[0].source
    assert [s for s in dict.fromkeys(tokens.segments) if s] == ["a", "b"]
    assert tokens.segments[tokens.pieces.index("slept")] == "b"
    assert int(batch.tensors["token_type_ids"][0, tokens.pieces.index("slept")]) == 1
    first, last = tokens.offsets[tokens.pieces.index("slept")]
    assert tokens.text[first:last] == "slept"
    assert len(set(tokens.words[tokens.words >= 0])) == int(tokens.words.max()) + 1


def test_batches_hold_texts_of_one_length_and_keep_their_numbers(real: Loaded) -> None:
    texts = [Text("a cat"), Text("a very big cat"), Text("a dog")]
    batches = list(encode(real, texts))
    assert sorted(tuple(one.index for one in batch.inputs) for batch in batches) == [(0, 2), (1,)]
    assert all(bool(batch.source_mask.all()) for batch in batches)


@pytest.mark.parametrize(
    ("text", "message"),
    [(Text("  \n"), "text 0 is empty"), (Text("cat " * 600), "has 602 tokens, the model reads at most 512")],
)
def test_texts_that_cannot_be_read(real: Loaded, text: Text, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(encode(real, [text]))


def test_max_tokens_shortens_and_keeps_the_special_tokens(real: Loaded) -> None:
    (batch,) = encode(real, [Text("cat " * 600)], max_tokens=9)
    assert batch.inputs[0].source.pieces == ("[CLS]", *["cat"] * 7, "[SEP]")


def test_generate_appends_what_the_model_writes(decoder: Loaded) -> None:
    (batch,) = encode(decoder, [Text("The animal")], generate=5)
    tokens = batch.inputs[0].source
    assert tokens.segments.count("generated") == 5
    assert tokens.segments[0] == "prompt"
    prompt = len(tokens) - 5
    with torch.inference_mode():
        for at in range(prompt, len(tokens)):
            logits = decoder.model(torch.tensor(tokens.ids[None, :at])).logits
            assert int(logits[0, -1].argmax()) == tokens.ids[at]
    assert bool((np.diff(tokens.words[prompt:]) >= 0).all())


def test_a_given_target_is_shifted_behind_the_start_token(seq2seq: Loaded) -> None:
    (batch,) = encode(seq2seq, [Text("two cats", target="stac owt")])
    target = batch.inputs[0].target
    assert target is not None
    assert int(batch.tensors["decoder_input_ids"][0, 0]) == seq2seq.model.config.decoder_start_token_id
    assert len(target) == batch.tensors["decoder_input_ids"].shape[1]
    assert not batch.notes


def test_without_a_target_the_model_writes_one_and_says_so(seq2seq: Loaded) -> None:
    (batch,) = encode(seq2seq, [Text("two cats")])
    target = batch.inputs[0].target
    assert target is not None
    assert len(target) > 1
    assert "no target given, the model generated" in batch.notes[0]


def test_a_model_that_fails_while_writing_asks_for_a_target() -> None:
    model = families.build(families.FAMILIES["bart"])
    model.generation_config.decoder_start_token_id = model.config.vocab_size + 5  # no such row of the embeddings
    loaded = models.adopt(model, families.tiny_tokenizer(families.FAMILIES["bart"]))
    with pytest.raises(ModelError, match=r"fails while it generates \(IndexError: .*\); give --target"):
        list(encode(loaded, [Text("the cat")]))


def test_chat_turns_become_segments(decoder: Loaded) -> None:
    messages = ({"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": "A cat."})
    (batch,) = encode(decoder, [Text("", messages=messages)])
    tokens = batch.inputs[0].source
    said = {
        role: "".join(tokens.text[a:b] for (a, b), s in zip(tokens.offsets, tokens.segments, strict=True) if s == role)
        for role in ("user", "assistant")
    }
    assert "Who is it?" in said["user"]
    assert "A cat." in said["assistant"]
    assert "Who" not in said["assistant"]


def test_encoded_inputs_of_the_user_keep_their_padding(real: Loaded) -> None:
    inputs = real.tokenizer(["a cat", "a very big cat"], padding=True, return_tensors="pt")
    batch = batch_of(real, inputs)
    assert [len(one.source) for one in batch.inputs] == [4, 6]
    assert batch.source_mask.tolist()[0] == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "expected encoded inputs with input_ids"),
        ({"input_ids": [1, 2]}, r"shape \[batch, token\], got \[2\]"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1]]}, r"attention_mask of shape \[1, 2\]"),
    ],
)
def test_encoded_inputs_of_another_form_are_explained(real: Loaded, inputs: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        batch_of(real, inputs)


def test_a_tokenizer_without_offsets_still_gives_words() -> None:
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer()
    model = families.build(families.FAMILIES["bert"])
    model.resize_token_embeddings(400)
    loaded = models.adopt(model, slow)
    (batch,) = encode(loaded, [Text("ab")])
    tokens = batch.inputs[0].source
    assert len(tokens) == 3
    assert tokens.words.tolist()[-1] == -1
