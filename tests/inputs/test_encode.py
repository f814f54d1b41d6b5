"""Encoding of texts: pieces, words, segments, targets, generated text and chats."""

from __future__ import annotations

from pathlib import Path

import families
import numpy as np
import pytest
import torch

from attncli import models
from attncli.data import Text
from attncli.errors import ModelError, UsageError
from attncli.inputs import generation
from attncli.inputs.batches import batch_from_tensors
from attncli.inputs.encode import encode
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


def test_tokens_have_pieces_words_offsets_and_special_flags(real: Loaded) -> None:
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


def test_batches_contain_texts_of_one_length_with_their_numbers(real: Loaded) -> None:
    texts = [Text("a cat"), Text("a very big cat"), Text("a dog")]
    batches = list(encode(real, texts))
    assert sorted(tuple(one.index for one in batch.inputs) for batch in batches) == [(0, 2), (1,)]
    assert all(bool(batch.source_mask.all()) for batch in batches)


def test_batches_follow_the_texts_where_order_matters(real: Loaded) -> None:
    texts = [Text("a cat"), Text("a dog"), Text("a very big cat"), Text("a cow")]
    batches = encode(real, texts, in_order=True)
    assert [[one.index for one in batch.inputs] for batch in batches] == [[0, 1], [2], [3]]


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


def test_generating_stops_where_the_model_ends_its_text(decoder: Loaded) -> None:
    (free,) = encode(decoder, [Text("The animal")], generate=5)
    written = free.inputs[0].source.ids[-5:].tolist()
    settings = decoder.model.generation_config
    before, settings.eos_token_id = settings.eos_token_id, written[2]
    try:
        (batch,) = encode(decoder, [Text("The animal")], generate=5)
    finally:
        settings.eos_token_id = before
    stop = written.index(written[2]) + 1
    assert batch.inputs[0].source.ids.tolist() == free.inputs[0].source.ids.tolist()[: stop - 5 or None]


def test_generating_nothing_leaves_the_text_as_it_is(decoder: Loaded) -> None:
    (batch,) = encode(decoder, [Text("The animal")], generate=0)
    assert set(batch.inputs[0].source.segments) == {""}


def test_a_long_prompt_read_in_parts_gives_the_same_answer(decoder: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Text("The animal did not cross the street because it was too tired. " * 8)
    (at_once,) = encode(decoder, [text], generate=6)
    monkeypatch.setattr(generation, "PREFILL", 16)
    read: list[int] = []
    hook = decoder.model.get_input_embeddings().register_forward_hook(lambda *call: read.append(call[-1].shape[1]))
    (in_parts,) = encode(decoder, [text], generate=6)
    hook.remove()
    assert max(read) == 16
    assert in_parts.inputs[0].source.ids.tolist() == at_once.inputs[0].source.ids.tolist()


def test_prompts_of_models_with_a_running_state_are_not_read_in_parts() -> None:
    for family, parts in (("llama", True), ("gpt2", True), ("jamba", False), ("zamba2", False), ("bart", False)):
        model = families.build(families.FAMILIES[family])
        assert generation._supports_prefill(model) == parts, family


@pytest.fixture
def short() -> Loaded:
    """A decoder with a learned table of 128 positions."""
    model = families.build(families.FAMILIES["opt"])
    return models.wrap_model(model, families.tiny_tokenizer(families.FAMILIES["opt"]))


def test_prompt_and_answer_must_fit_before_anything_is_generated(decoder: Loaded) -> None:
    words = len(decoder.tokenizer("cat " * 50)["input_ids"])
    limit, texts = decoder.max_positions or 0, [Text("a"), Text("cat " * 50)]
    generated_counts: list[float] = []
    count, sum_ = limit - 10, limit - 10 + words
    message = rf"text 1 has {words} tokens, with --generate {count} that makes {sum_}, the model reads at most {limit}"
    with pytest.raises(UsageError, match=message + "; shorten it or pass --max-tokens 10 or a smaller --generate$"):
        list(encode(decoder, texts, generate=count, on_generated=generated_counts.append))
    with pytest.raises(UsageError, match=r"shorten it or pass a smaller --generate$"):
        list(encode(decoder, texts, generate=limit, on_generated=generated_counts.append))
    assert generated_counts == []


def test_a_text_that_fills_all_positions_is_encoded(short: Loaded) -> None:
    limit = short.max_positions
    assert limit == 128
    (batch,) = encode(short, [Text("cat " * 300)], max_tokens=limit)
    assert batch.lengths == (limit, None)
    with torch.inference_mode():
        short.model(batch.tensors["input_ids"])
    with pytest.raises(UsageError, match="reads at most 128; shorten it or pass --max-tokens 128"):
        list(encode(short, [Text("cat " * 300)], max_tokens=limit + 1))


def test_errors_name_the_number_of_the_text(real: Loaded) -> None:
    texts = [Text("a cat")] * 700
    for at, bad, message in ((0, " ", "is empty"), (612, " ", "is empty"), (300, "cat " * 600, "has 602 tokens")):
        given = [*texts[:at], Text(bad), *texts[at:]]
        with pytest.raises(UsageError, match=f"text {at} {message}"):
            list(encode(real, given))


def test_pairs_and_single_texts_mix(real: Loaded) -> None:
    texts = [Text("a cat"), Text("a cat", pair="a dog"), Text("two cats"), Text("x", pair="y")]
    found = {one.index: one.source for batch in encode(real, texts) for one in batch.inputs}
    for index, text in enumerate(texts):
        assert found[index].ids.tolist() == real.tokenizer(text.text, text.pair)["input_ids"]
        assert ("b" in found[index].segments) == (text.pair is not None)


def test_a_given_target_follows_the_start_token(seq2seq: Loaded) -> None:
    (batch,) = encode(seq2seq, [Text("two cats", target="stac owt")])
    target = batch.inputs[0].target
    assert target is not None
    assert int(batch.tensors["decoder_input_ids"][0, 0]) == seq2seq.model.config.decoder_start_token_id
    assert len(target) == batch.tensors["decoder_input_ids"].shape[1]
    assert not batch.notes


def test_without_a_target_the_model_generates_one_with_a_note(seq2seq: Loaded) -> None:
    (batch,) = encode(seq2seq, [Text("two cats")])
    target = batch.inputs[0].target
    assert target is not None
    assert len(target) > 1
    assert "no target given, the model generated" in batch.notes[0]
    assert target.segments == ("", *["generated"] * (len(target) - 1))
    with torch.inference_mode():
        ids = torch.tensor(seq2seq.tokenizer(["two cats"])["input_ids"])
        read = seq2seq.model.generate(ids, max_new_tokens=64, do_sample=False, num_beams=1)[0].tolist()
    end = seq2seq.model.generation_config.eos_token_id
    assert target.ids.tolist() == (read[:-1] if read[-1] == end else read)


def test_generate_limits_the_target_of_an_encoder_decoder(seq2seq: Loaded) -> None:
    (batch,) = encode(seq2seq, [Text("two cats")], generate=3)
    assert batch.lengths[1] == 4
    with pytest.raises(UsageError, match="--generate 512: the decoder reads at most 512; pass --generate 511"):
        list(encode(seq2seq, [Text("two cats")], generate=512))


def test_the_error_of_a_model_that_fails_to_generate_suggests_a_target() -> None:
    model = families.build(families.FAMILIES["bart"])
    model.generation_config.decoder_start_token_id = model.config.vocab_size + 5  # no such row of the embeddings
    loaded = models.wrap_model(model, families.tiny_tokenizer(families.FAMILIES["bart"]))
    with pytest.raises(ModelError, match=r"fails while it generates \(IndexError: .*\); give --target"):
        list(encode(loaded, [Text("the cat")]))


def test_chat_turns_become_segments(decoder: Loaded) -> None:
    messages = ({"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": "A cat."})
    (batch,) = encode(decoder, [Text("", messages=messages)])
    tokens = batch.inputs[0].source
    turns = {
        role: "".join(tokens.text[a:b] for (a, b), s in zip(tokens.offsets, tokens.segments, strict=True) if s == role)
        for role in ("user", "assistant")
    }
    assert "Who is it?" in turns["user"]
    assert "A cat." in turns["assistant"]
    assert "Who" not in turns["assistant"]


CHAT = ({"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": "A cat."})


def test_the_answer_to_a_chat_opens_the_turn_of_the_assistant(decoder: Loaded) -> None:
    (batch,) = encode(decoder, [Text("", messages=CHAT[:1])], generate=3)
    tokens = batch.inputs[0].source
    assert [segment for segment in dict.fromkeys(tokens.segments) if segment] == ["user", "assistant", "generated"]
    rendered = decoder.tokenizer.apply_chat_template([dict(CHAT[0])], tokenize=False, add_generation_prompt=True)
    prompt = decoder.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert tokens.ids.tolist()[:-3] == prompt
    with torch.inference_mode():
        expected = decoder.model.generate(torch.tensor([prompt]), max_new_tokens=3, do_sample=False)[0].tolist()
    assert tokens.ids.tolist() == expected


def test_an_answer_that_has_begun_is_continued(decoder: Loaded) -> None:
    (batch,) = encode(decoder, [Text("", messages=CHAT)], generate=3)
    tokens = batch.inputs[0].source
    assert tokens.text.endswith("assistant: A cat.")
    assert [segment for segment in dict.fromkeys(tokens.segments) if segment] == ["user", "assistant", "generated"]


def test_a_finished_chat_gets_a_note_that_nothing_was_written_and_why(decoder: Loaded) -> None:
    finished = ({"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "It is the end."})
    (batch,) = encode(decoder, [Text("", messages=finished)], generate=8)
    assert batch.inputs[0].source.pieces[-2:] == (".", "</s>")
    assert batch.notes == (
        "text 0: the model wrote no text after it, only </s>: the chat ends with the answer of the assistant, which "
        "the model takes as complete; remove that message to let it write one, or leave --generate out",
    )
    (open_batch,) = encode(decoder, [Text("", messages=finished[:1])], generate=8)
    (note,) = open_batch.notes
    assert note.startswith("text 0: the model generated: ")


def test_encoded_inputs_of_the_user_keep_their_padding(real: Loaded) -> None:
    inputs = real.tokenizer(["a cat", "a very big cat"], padding=True, return_tensors="pt")
    batch = batch_from_tensors(real, inputs)
    assert [len(one.source) for one in batch.inputs] == [4, 6]
    assert batch.source_mask.tolist()[0] == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "expected encoded inputs with input_ids"),
        ({"input_ids": [[[1, 2]]]}, r"shape \[batch, token\], got \[1, 1, 2\]"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1]]}, r"attention_mask of shape \[1, 2\]"),
    ],
)
def test_invalid_encoded_inputs_are_refused(real: Loaded, inputs: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        batch_from_tensors(real, inputs)


def test_a_tokenizer_without_offsets_still_gives_words() -> None:
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer()
    model = families.build(families.FAMILIES["bert"])
    model.resize_token_embeddings(400)
    loaded = models.wrap_model(model, slow)
    (batch,) = encode(loaded, [Text("ab")])
    tokens = batch.inputs[0].source
    assert len(tokens) == 3
    assert tokens.words.tolist()[-1] == -1
