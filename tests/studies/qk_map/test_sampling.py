"""Which tokens are drawn for a map: from which texts, and where in these."""

from __future__ import annotations

import numpy as np

from attncli.data import Input, Kind, Text, Tokens
from attncli.studies.qk_map.sampling import KEYS_PER_QUERY, Sample, sample_tokens

RANDOM = np.random.default_rng(0)


def tokens(count: int) -> Tokens:
    return Tokens(
        ("a",) * count,
        np.arange(count),
        np.zeros(count, bool),
        np.full((count, 2), -1),
        np.arange(count),
        ("",) * count,
    )


def sample(sources: list[int], targets: list[int] | None = None, vectors: int = 400, kind: Kind = "encoder") -> Sample:
    """The sample of texts with these numbers of tokens."""
    others = [None] * len(sources) if targets is None else [tokens(count) for count in targets]
    both = enumerate(zip(sources, others, strict=True))
    inputs = [Input(index, Text("made"), tokens(count), target) for index, (count, target) in both]
    return sample_tokens(inputs, kind, vectors, 0, drop_special=False)


def test_texts_are_drawn_from_all_in_random_order() -> None:
    drawn = np.unique(sample([10] * 500).tokens.text)
    assert len(drawn) == 20
    assert 150 < drawn.mean() < 350


def test_one_long_text_is_sampled_at_all_its_positions_alike() -> None:
    found = sample([5000], vectors=2000)
    queries, keys = found.positions(0), found.positions(1)
    for positions in (queries, keys):
        assert len(set(positions.tolist())) == 1000
        assert np.abs(np.bincount(positions // 1000) - 200).max() < 50
    assert not np.array_equal(queries, keys)
    assert found.pairs.shape == (1000, KEYS_PER_QUERY)
    assert (np.diff(found.pairs) > 0).all()  # no key twice
    assert np.abs(np.bincount(found.pairs.ravel() // 200) - 25_600).max() < 1000


def test_keys_of_a_query_are_keys_of_its_text() -> None:
    found = sample(RANDOM.integers(100, 400, 9).tolist(), vectors=2000)
    queries, keys = found.tokens.text[: found.tokens.queries], found.tokens.text[found.tokens.queries :]
    for text, pairs in zip(queries, found.pairs, strict=True):
        own = np.flatnonzero(keys == text)
        assert (pairs >= 0).sum() == min(len(own), KEYS_PER_QUERY)
        assert np.isin(pairs[pairs >= 0], own).all()


def test_sides_of_unlike_lengths_are_drawn_from_the_same_texts() -> None:
    long, short = RANDOM.integers(60, 300, 300).tolist(), RANDOM.integers(5, 30, 300).tolist()
    for sources, targets in ((long, short), (short, long)):
        found = sample(sources, targets, 1000, "cross")
        sides = found.tokens.text[: found.tokens.queries], found.tokens.text[found.tokens.queries :]
        assert [len(side) for side in sides] == [500, 500]
        assert min(np.isin(*sides).mean(), np.isin(*sides[::-1]).mean()) > 0.9
