"""The tokens of a map: the same queries and keys for all heads of a kind, drawn from all tokens of all texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attncli.data import KINDS, Array, Input, Kind, Tokens
from attncli.data.surfaces import token_texts
from attncli.studies.qk_map.head_maps import TYPES, MapTokens

TOKENS_IN_TURN = 128
"""Most tokens of a text that are drawn before those of the next text: long texts do not fill a map alone."""
KEYS_PER_QUERY = 128
"""Most keys of its own text with which a query is compared; of more sampled ones, this many are drawn."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The sampled tokens of one kind.

    tokens  the tokens, with their positions in the text as the model reads it
    pairs   [query, pair] keys of the text of each query, with which it is compared: numbers of keys, -1 for none
    """

    tokens: MapTokens
    pairs: Array

    def of_text(self, text: int, side: int) -> slice:
        """Return which queries (side 0) or keys are those of a text, counted from the first query or key."""
        queries = self.tokens.queries
        texts = self.tokens.text[queries:] if side else self.tokens.text[:queries]
        first, last = np.searchsorted(texts, [text, text + 1])
        return slice(int(first), int(last))

    def positions(self, side: int) -> Array:
        """Return the positions of all queries (side 0) or keys."""
        queries = self.tokens.queries
        return self.tokens.position[queries:] if side else self.tokens.position[:queries]

    def without_special(self, inputs: Mapping[int, Input], kind: Kind) -> Sample:
        """Return the sample with the positions that tokens have without special tokens."""
        position = self.tokens.position.copy()
        for side, first in ((0, 0), (1, self.tokens.queries)):
            for text, tokens in inputs.items():
                own = self.of_text(text, side)
                points = slice(first + own.start, first + own.stop)
                position[points] = positions_without_special(tokens.sides(kind)[side])[position[points]]
        return replace(self, tokens=replace(self.tokens, position=position))


def positions_without_special(tokens: Tokens) -> Array:
    """Return [token] the position of each token if special tokens are dropped."""
    return np.cumsum(~tokens.special) - 1


def sample_tokens(inputs: Sequence[Input], kind: Kind, vectors: int, seed: int, *, drop_special: bool) -> Sample:
    """Return half as many queries as vectors, and half as many keys, in turns of texts in random order.

    A turn of a text takes all of its tokens, or `TOKENS_IN_TURN` of them at random, or fewer on the side with longer
    texts (`_turn_sizes`), so that most queries are drawn with the keys of their text. It depends on the texts and the
    seed alone, so not on batches; all tokens are taken if there are no more.
    """
    order = np.random.default_rng([seed, KINDS.index(kind)]).permutation(len(inputs))
    sides = [[text.sides(kind)[side] for text in inputs] for side in (0, 1)]
    kept = [
        [np.flatnonzero(~tokens.special) if drop_special else np.arange(len(tokens)) for tokens in side]
        for side in sides
    ]
    lengths = [np.array([len(positions) for positions in side]) for side in kept]
    columns: list[tuple[Array, Array, list[str], Array]] = []
    for side, turn in enumerate(_turn_sizes([of_side[order] for of_side in lengths], vectors // 2)):
        random = np.random.default_rng([seed, KINDS.index(kind), side])
        count = vectors // 2 if side else vectors - vectors // 2
        chosen = np.sort(_in_turns(lengths[side], order, turn, random)[:count])
        row, position = np.repeat(np.arange(len(inputs)), lengths[side])[chosen], np.concatenate(kept[side])[chosen]
        columns.append((row, position, *_texts_and_types(sides[side], row, position)))
    rows, positions, texts, types = zip(*columns, strict=True)
    index = np.array([text.index for text in inputs], np.int32)
    tokens = MapTokens(
        index[np.concatenate(rows)],
        np.concatenate(positions).astype(np.int32),
        tuple(texts[0] + texts[1]),
        np.concatenate(types).astype(np.int8),
        len(rows[0]),
    )
    return Sample(tokens, _pairs(rows[0], rows[1], seed))


def _texts_and_types(sides: Sequence[Tokens], rows: Array, positions: Array) -> tuple[list[str], Array]:
    """Return the text of some tokens as written, and their types; only texts with such tokens are read.

    rows  [token] index into `sides`, ascending
    """
    texts: list[str] = []
    types = [np.zeros(0, np.int64)]
    numbers, starts = np.unique(rows, return_index=True)
    for number, own in zip(numbers.tolist(), np.split(positions, starts)[1:], strict=True):
        written = token_texts(sides[number])
        texts += [written[position] for position in own.tolist()]
        types.append(token_types(sides[number], written)[own])
    return texts, np.concatenate(types)


def _turn_sizes(lengths: Sequence[Array], count: int) -> list[int]:
    """Return the number of tokens of a turn on each side, so that a number of tokens are of the same texts on both.

    lengths  for each side [text] number of tokens, in the order in which texts are drawn
    """
    reached = [int(np.minimum(side, TOKENS_IN_TURN).cumsum().searchsorted(count)) + 1 for side in lengths]
    texts, sizes = max(reached), []
    for side, number in zip(lengths, reached, strict=True):
        enough = (size for size in range(1, TOKENS_IN_TURN) if np.minimum(side[:texts], size).sum() >= count)
        sizes.append(TOKENS_IN_TURN if number == texts else next(enough, TOKENS_IN_TURN))
    return sizes


def _in_turns(lengths: Array, order: Array, turn: int, random: np.random.Generator) -> Array:
    """Return the numbers of all tokens of all texts in the order in which they are drawn.

    order  [text] numbers of the texts: first come as many tokens of the first one as a turn has, then of the next one
    """
    within = np.concatenate([random.permutation(length) for length in lengths.tolist()])
    text_rank = np.repeat(np.argsort(order), lengths)
    return np.lexsort((within, text_rank, within // turn))


def _pairs(query_text: Array, key_text: Array, seed: int) -> Array:
    """Return [query, pair] the numbers of keys of the same text, at most `KEYS_PER_QUERY`, -1 where there are fewer."""
    random = np.random.default_rng([seed, len(KINDS)])
    starts, ends = (np.searchsorted(key_text, query_text, side) for side in ("left", "right"))
    widest = min(int((ends - starts).max(initial=0)), KEYS_PER_QUERY)
    pairs = np.full((len(query_text), widest), -1, np.int32)
    for query, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if end - start <= KEYS_PER_QUERY:
            pairs[query, : end - start] = np.arange(start, end)
        else:
            pairs[query] = np.sort(start + random.choice(end - start, KEYS_PER_QUERY, replace=False))
    return pairs


def token_types(tokens: Tokens, texts: Sequence[str]) -> Array:
    """Return [token] what each token is, as an index into `TYPES`; `texts` are its tokens as written."""
    words = tokens.words
    continued = np.concatenate([[False], (words[1:] == words[:-1]) & (words[1:] >= 0)])[: len(tokens)]
    bare = np.array([not any(map(str.isalnum, text)) for text in texts], dtype=bool)
    types = np.where(continued, TYPES.index("piece"), TYPES.index("word"))
    types[bare] = TYPES.index("punctuation")
    types[tokens.special] = TYPES.index("special")
    return types
