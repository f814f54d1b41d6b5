"""Shards of short texts are joined, by the texts alone, and any process can read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.shards import Shard, Start, Survey

SIZE = 512


def joined(texts: int, characters: int) -> list[Shard]:
    """Return the joined shards of so many texts of so many characters."""
    shards = [
        Shard(index, first, count := min(SIZE, texts - first), Start(), str(index), count * characters)
        for index, first in enumerate(range(0, texts, SIZE))
    ]
    return list(Survey(texts, "", tuple(shards)).joined.shards)


@pytest.mark.parametrize(
    ("texts", "number"),
    [(1, 1), (1001, 2), (2048, 2), (2049, 4), (5000, 4), (10_000, 8), (100_000, 52), (1_000_000, 492)],
)
def test_short_texts_have_a_number_of_shards_that_suits_several_workers(texts: int, number: int) -> None:
    shards = joined(texts, 60)
    assert len(shards) == number
    assert [shard.index for shard in shards] == list(range(number))
    ends = [shard.first + shard.texts for shard in shards]
    assert [shard.first for shard in shards] == [0, *ends[:-1]]
    assert ends[-1] == texts
    assert max(shard.texts for shard in shards) <= 4 * SIZE


def test_shards_with_many_characters_stay_small() -> None:
    assert {shard.texts for shard in joined(102_400, 200)} == {SIZE, 2 * SIZE}
    assert {shard.texts for shard in joined(102_400, 2000)} == {SIZE}


def test_joined_shards_are_read_in_any_process(tmp_path: Path) -> None:
    path, lines = tmp_path / "a.txt", [f"line {number}" for number in range(50)]
    path.write_text("\n".join(lines))
    corpus = Corpus.of_files(path)
    shards = corpus.survey(3).joined.shards
    assert [shard.texts for shard in shards] == [9, 6, 6, 6, 6, 6, 6, 5]
    elsewhere = Corpus.from_arguments(json.loads(json.dumps(corpus.arguments())))
    for shard in shards[::-1]:
        assert [record.text for record in elsewhere.read(shard)] == lines[shard.first : shard.first + shard.texts]
    assert len({shard.digest for shard in shards}) == len(shards)
    path.write_text("\n".join(lines[:12]) + "\nanother\n" + "\n".join(lines[13:]))
    elsewhere.read(shards[0])
    with pytest.raises(UsageError, match="has changed since the run began"):
        elsewhere.read(shards[1])
