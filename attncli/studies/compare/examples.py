"""The texts that differ most: of each part of a corpus, and of all parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from attncli.data import Array
from attncli.data.part_states import PartState
from attncli.engine.moment_tests import SMALLEST_STD
from attncli.stream.sums import Moments
from attncli.studies.compare.lengths import length_group
from attncli.studies.compare.map_distance import HeadKey

MOST_TEXTS = 20
"""Most texts that are listed, of one corpus or of each of two."""
FEWEST_ALIKE = 10
"""Least number of texts of similar length of the other corpus that say how far a text is from them."""
Groups = Mapping[tuple[int, int], Moments]
"""Moments of the texts of each side and length."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Some texts with the numbers for which they were chosen, the largest first.

    scores       number of each text
    heads        index of the head for which that text has the largest number
    head_scores  number of that head
    tokens       number of tokens
    numbers      number of each text in the corpus, from 0
    places       where each stands: `corpus/a.jsonl, line 12`
    texts        the texts themselves
    """

    scores: Array
    heads: Array
    head_scores: Array
    tokens: Array
    numbers: Array
    places: Sequence[str]
    texts: Sequence[str]

    @classmethod
    def of(cls, scores: Array, by_head: Array, state: PartState) -> Self:
        """Return the texts with the largest scores [text]; texts without a score are left out.

        by_head  the numbers of all heads: [text, head]
        state    texts with their tokens, numbers and places: `described_texts`
        """
        known = np.flatnonzero(~np.isnan(scores))
        order = known[np.argsort(-scores[known], kind="stable")][:MOST_TEXTS]
        heads = np.array([np.nanargmax(by_head[text]) for text in order], dtype=np.int64)
        texts = unpacked(state["texts"])
        return cls(
            scores[order],
            heads,
            by_head[order, heads],
            state["tokens"][order],
            state["numbers"][order],
            [state["places"][text] for text in order],
            [texts[text] for text in order],
        )

    def state(self) -> PartState:
        """Return the texts as plain values and arrays."""
        arrays = {name: getattr(self, name) for name in ("scores", "heads", "head_scores", "tokens", "numbers")}
        return {**arrays, "places": list(self.places), "texts": packed(self.texts)}

    @classmethod
    def of_states(cls, states: Sequence[PartState]) -> Self:
        """Return the texts with the largest numbers of several states; of equal ones, the first of the corpus."""
        names = ("scores", "heads", "head_scores", "tokens", "numbers")
        columns: dict[str, Any] = {name: np.concatenate([state[name] for state in states]) for name in names}
        places = [place for state in states for place in state["places"]]
        texts = [text for state in states for text in unpacked(state["texts"])]
        order = np.lexsort((columns["numbers"], -columns["scores"]))[:MOST_TEXTS]
        chosen = {name: column[order] for name, column in columns.items()}
        return cls(**chosen, places=[places[text] for text in order], texts=[texts[text] for text in order])


def farthest(
    states: Iterable[PartState], groups: Groups, totals: Sequence[Moments], chosen: Sequence[int]
) -> list[tuple[str, Examples]]:
    """Return the texts of each side that are farthest from the mean of the other one, in units of its spread.

    Texts are compared with those of similar length of the other side, as measures vary more in short texts; with all of
    them only if no text of the side has `FEWEST_ALIKE` of these.
    """
    examples: dict[int, list[PartState]] = {0: [], 1: []}
    for state in states:
        side = state["side"]
        lengths = length_group(state["described"]["tokens"])
        alike = lengths_alike(groups, side)
        distances = np.full(state["values"].shape, np.nan)
        for length in np.unique(lengths).tolist() if alike else ():
            if length in alike:
                texts = lengths == length
                distances[texts] = _deviations(state["values"][texts], groups[1 - side, length], chosen)
        if not alike:
            distances = _deviations(state["values"], totals[1 - side], chosen)
        by_head = _root_mean_square(distances, 1)
        found = Examples.of(_root_mean_square(distances, (1, 2)), by_head, state["described"])
        examples[side] = [Examples.of_states([*examples[side], found.state()]).state()]
    return [("AB"[side], Examples.of_states(states)) for side, states in examples.items()]


def lengths_alike(groups: Groups, side: int) -> set[int]:
    """Return the lengths of texts of a side of which the other side has enough texts."""
    own = {length for of_side, length in groups if of_side == side and (1 - side, length) in groups}
    return {length for length in own if groups[1 - side, length].count.max(initial=0) >= FEWEST_ALIKE}


def _deviations(values: Array, other: Moments, chosen: Sequence[int]) -> Array:
    """Return the distances of values [text, metric, head] from a mean, in standard deviations."""
    std = np.sqrt(other.variance[chosen])
    deviations: Array = (values - other.mean[chosen]) / np.where(std > SMALLEST_STD, std, np.nan)
    return deviations


def _root_mean_square(values: Array, axes: int | tuple[int, ...]) -> Array:
    """Return the root of the mean of the squares of the defined values over some axes, NaN if there are none."""
    known = ~np.isnan(values)
    squares, count = np.where(known, values, 0.0) ** 2, known.sum(axes)
    mean: Array = np.where(count > 0, np.sqrt(squares.sum(axes) / np.maximum(count, 1)), np.nan)
    return mean


def examples_table(sides: Sequence[tuple[str, Examples]], heads: Sequence[HeadKey], name: str) -> dict[str, Array]:
    """Return the texts that differ most as columns; `name` is the number by which they were chosen."""
    rows: list[dict[str, Any]] = []
    for side, examples in sides:
        for rank, score in enumerate(examples.scores.tolist()):
            kind, layer, head = heads[examples.heads[rank]]
            rows.append(
                {
                    **({"side": side} if side else {}),
                    "rank": rank + 1,
                    "place": examples.places[rank] if examples.places else "",
                    "tokens": int(examples.tokens[rank]),
                    name: score,
                    "kind": kind,
                    "layer": layer,
                    "head": head,
                    f"head_{name}": float(examples.head_scores[rank]),
                    "text": examples.texts[rank],
                }
            )
    texts = ("side", "place", "kind", "text")
    return {
        column: np.array([row[column] for row in rows], dtype=object if column in texts else None)
        for column in (rows[0] if rows else ())
    }


def described_texts(texts: Sequence[str], places: Sequence[str], tokens: Sequence[int], first: int) -> dict[str, Any]:
    """Return texts as a state, with their tokens, places, and numbers from `first` on."""
    numbers = np.arange(first, first + len(texts))
    return {"tokens": np.array(tokens), "numbers": numbers, "places": list(places), "texts": packed(texts)}


def packed(texts: Sequence[str]) -> dict[str, Array]:
    """Return texts as bytes in one array, and the number of bytes of each.

    >>> unpacked(packed(["é", "", "a"]))
    ['é', '', 'a']
    """
    data = [text.encode("utf-8", "surrogatepass") for text in texts]
    return {"bytes": np.frombuffer(b"".join(data), np.uint8), "sizes": np.array(list(map(len, data)), np.int64)}


def unpacked(state: PartState) -> list[str]:
    """Return the texts of `packed`."""
    ends, data = np.cumsum([0, *state["sizes"].tolist()]).tolist(), state["bytes"].tobytes()
    return [data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)]
