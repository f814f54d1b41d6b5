"""Shuffling of tokens within their segments, in an order that depends on the seed and the text."""

from __future__ import annotations

import numpy as np
import pytest

import attncli
from attncli.data import Text
from attncli.inputs.batches import Batch
from attncli.inputs.encode import encode
from attncli.inputs.shuffled_inputs import shuffle_batch

TEXT = "The animal didn't cross the street because it was too tired."
PAIR = "Where did it go? Nobody knows."


def batches(name: str, *texts: Text) -> list[Batch]:
    return list(encode(attncli.load(f"demo:{name}").loaded, texts))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("encoder", Text(TEXT)),
        ("encoder", Text(TEXT, pair=PAIR)),
        ("decoder", Text(TEXT)),
        ("seq2seq", Text("Stop the cat", target="potS eht tac")),
    ],
)
def test_ordinary_tokens_are_shuffled_within_their_segment(name: str, text: Text) -> None:
    (batch,) = batches(name, text)
    shuffled = shuffle_batch(batch, 0)
    sides = [(batch.inputs[0].source, shuffled.inputs[0].source, "input_ids")]
    if batch.inputs[0].target is not None and shuffled.inputs[0].target is not None:
        sides.append((batch.inputs[0].target, shuffled.inputs[0].target, "decoder_input_ids"))
    for before, after, ids in sides:
        assert after.pieces != before.pieces
        assert after.segments == before.segments
        assert after.special.tolist() == before.special.tolist()
        assert shuffled.tensors[ids][0].tolist() == after.ids.tolist()
        assert after.ids[after.special].tolist() == before.ids[before.special].tolist()
        for segment in set(before.segments):
            in_segment = np.array(before.segments) == segment
            assert sorted(np.array(before.pieces)[in_segment]) == sorted(np.array(after.pieces)[in_segment])
    others = batch.tensors.keys() - {ids for _, _, ids in sides}
    assert all((batch.tensors[name] == shuffled.tensors[name]).all() for name in others)


def test_the_order_depends_on_seed_and_text_only() -> None:
    texts = [Text(TEXT), Text(TEXT), Text("A cat sat.")]
    together, again = (
        {one.index: one.source.pieces for batch in batches("encoder", *texts) for one in shuffle_batch(batch, 7).inputs}
        for _ in range(2)
    )
    (alone,) = batches("encoder", texts[0])
    assert together == again
    assert together[0] != together[1]
    assert shuffle_batch(alone, 7).inputs[0].source.pieces == together[0]
    assert shuffle_batch(alone, 8).inputs[0].source.pieces != together[0]


def test_the_given_batch_is_not_changed() -> None:
    (batch,) = batches("encoder", Text(TEXT))
    before = batch.tensors["input_ids"].clone()
    shuffle_batch(batch, 0)
    assert (batch.tensors["input_ids"] == before).all()
