"""Inputs of repeated random tokens, and errors for models that cannot read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import attncli
from attncli.errors import UsageError
from attncli.inputs.repeated_inputs import RepeatedTokens


def tokens(name: str | Path) -> RepeatedTokens:
    return RepeatedTokens.of(attncli.load(str(name)).loaded)


@pytest.mark.parametrize(
    ("name", "start", "end"), [("demo:encoder", ["[CLS]"], ["[SEP]"]), ("demo:decoder", ["<s>"], [])]
)
def test_random_tokens_are_repeated_between_special_tokens(name: str, start: list[str], end: list[str]) -> None:
    random_tokens = tokens(name)
    (batch,) = random_tokens.batches(random_tokens.random(20, [0, 1, 2]), 4096)
    assert [one.index for one in batch.inputs] == [0, 1, 2]
    seen = set()
    for one in batch.inputs:
        pieces, ids = list(one.source.pieces), one.source.ids
        first, second = ids[len(start) : len(start) + 20], ids[len(start) + 20 : len(start) + 40]
        assert (pieces[: len(start)], pieces[len(start) + 40 :]) == (start, end)
        assert first.tolist() == second.tolist()
        assert len(set(first.tolist())) == 20
        assert set(first.tolist()) <= set(random_tokens.vocabulary.tolist())
        seen.add(tuple(first.tolist()))
    assert len(seen) == 3


def test_without_again_the_second_copy_has_another_order() -> None:
    random_tokens = tokens("demo:decoder")
    (twice,), (mixed,) = (
        list(random_tokens.batches(random_tokens.random(20, [3]), 4096, again)) for again in (True, False)
    )
    one, other = twice.inputs[0].source.ids, mixed.inputs[0].source.ids
    assert one[:21].tolist() == other[:21].tolist()
    assert one[21:].tolist() != other[21:].tolist()
    assert sorted(one[21:]) == sorted(other[21:])


def test_the_same_seeds_give_the_same_tokens_in_any_batches() -> None:
    random_tokens = tokens("demo:encoder")
    whole = [
        one.source.pieces
        for batch in random_tokens.batches(random_tokens.random(10, range(5)), 4096)
        for one in batch.inputs
    ]
    parts = list(random_tokens.batches(random_tokens.random(10, range(5)), 50))
    assert [len(batch.inputs) for batch in parts] == [2, 2, 1]
    assert [one.source.pieces for batch in parts for one in batch.inputs] == whole
    assert [one.index for batch in parts for one in batch.inputs] == [0, 1, 2, 3, 4]


def test_the_vocabulary_contains_ordinary_tokens_only(minilm: Path) -> None:
    random_tokens = tokens(minilm)
    pieces = random_tokens.loaded.tokenizer.convert_ids_to_tokens(random_tokens.vocabulary.tolist())
    assert len(pieces) == 30522 - 5 - 994  # without [PAD] [UNK] [CLS] [SEP] [MASK], and [unused0] to [unused993]
    assert not any(piece.startswith("[") and piece.endswith("]") for piece in pieces if len(piece) > 2)
    assert np.all(np.diff(random_tokens.vocabulary) > 0)


def test_errors_for_too_few_positions_or_tokens_name_the_longest_length() -> None:
    with pytest.raises(
        UsageError, match=r"needs 522 tokens \(2 special, 2 x 260 random\).* at most 512: pass --length 255"
    ):
        tokens("demo:encoder").random(260, [0])
    assert len(tokens("demo:encoder").random(255, [0])[0].ids) == 255
    few = tokens("demo:decoder")
    most = len(few.vocabulary)
    with pytest.raises(UsageError, match=rf"needs 1022 different.* tokenizer has {most}: pass --length {most} or"):
        few.random(1022, [0])


def test_the_decoder_of_an_encoder_decoder_reads_the_passage_twice_and_its_encoder_other_tokens() -> None:
    both = tokens("demo:seq2seq")
    (batch,) = both.batches(both.random(6, [0, 1]), 4096)
    for number, text in enumerate(batch.inputs):
        assert text.target is not None
        ids = text.target.ids
        assert ids[0] == both.loaded.model.config.decoder_start_token_id
        assert (len(ids), ids[1:7].tolist()) == (13, ids[7:].tolist())
        source = text.source.ids[~text.source.special]
        assert both.source is not None
        assert source.tolist() == both.source.unrelated(number, 6).tolist()


def test_passages_of_any_length_are_read_twice_in_their_order() -> None:
    decoder = tokens("demo:decoder")
    texts = ["the cat sat on the mat", "it was", "a dog ran over to the"]
    passages = decoder.passages(texts)
    batches = list(decoder.batches(passages, 4096))
    assert sorted(text.index for batch in batches for text in batch.inputs) == [0, 1, 2]
    for text in (text for batch in batches for text in batch.inputs):
        ids, own = text.source.ids[1:], decoder.tokenizer(texts[text.index], add_special_tokens=False)["input_ids"]
        assert ids.tolist() == own * 2


def test_passages_that_are_too_short_or_too_long_are_named() -> None:
    encoder = tokens("demo:encoder")
    with pytest.raises(UsageError, match=r"passage 1 \('it'\) has 1 tokens, expected at least 2: give a longer"):
        encoder.passages(["it was", "it"])
    with pytest.raises(
        UsageError, match=r"has 300 tokens, .*reads at most 512 \(2 special\): give .* at most 255 tokens"
    ):
        encoder.passages(["it " * 300])
