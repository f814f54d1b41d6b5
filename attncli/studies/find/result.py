"""Heads ranked by the attention from some tokens to others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data.described import Described, Tabulated, counted
from attncli.data.labels import escape_invisible
from attncli.data.results import Scores, frame_of
from attncli.data.tokens import Array, Kind, Tokens
from attncli.store.tables import records

if TYPE_CHECKING:
    import pandas as pd

QUESTIONS = {
    "weight": "How much attention goes from the query to the key?",
    "weight_uniform": "How much would it be if all visible keys got the same weight?",
    "weight_positional": "How much would it be if it depended on the distance alone?",
    "rank": "Which place have all key tokens together, as one key, among the keys of the row?",
    "keys": "Among how many keys, if the key tokens are one?",
    "top_weight": "How much attention does the strongest key of each row get, as the mean over rows?",
    "top_share": "In which share of the rows (of several texts: of the texts) is it the same strongest key?",
}
RETRIEVAL_QUESTIONS = {
    "retrieval": "For which share of the query tokens is the top key, where they are predicted, the same token?",
    "retrieval_uniform": "Which share would it be if all visible keys got the same weight?",
    "retrieval_positional": "Which share would it be if weights depended on the distance alone?",
    "retrieval_most": "Which share of the query tokens is among the keys?",
    "written": "How many query tokens are there?",
}
RANGES: Mapping[str, tuple[float, float | None]] = {
    **dict.fromkeys(("weight", "weight_uniform", "weight_positional", "top_weight", "top_share"), (0.0, 1.0)),
    **dict.fromkeys(("rank", "keys"), (1.0, None)),
}


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """How well a search of heads on some texts does on another one: each text is left out once.

    weight  mean over texts of the weight, in this text, of the head that is first on the other texts
    same    number of texts for which that head is the first of all texts too
    texts   number of texts
    """

    weight: float
    same: int
    texts: int


@dataclass(frozen=True, eq=False, repr=False)
class HeadRow(Described):
    """The row of one head in one text: the mean over the query rows that count.

    weights  [key] attention weights
    tokens   the keys
    rows     positions of the query rows
    keys     positions of the key tokens
    """

    kind: Kind
    layer: int
    head: int
    text: int
    weights: Array
    tokens: Tokens
    rows: tuple[int, ...]
    keys: tuple[int, ...]

    def _lines(self) -> Iterable[str]:
        yield f"HeadRow of head {self.layer}.{self.head} in text {self.text}: {counted(len(self.weights), 'key')}"


@dataclass(frozen=True, eq=False, repr=False)
class RankedHeads(Tabulated):
    """All heads, ordered by their attention from the query to the key, the largest first.

    query, key     names of the tokens, as the user gave them; of a position in one text, the token
    scores         `weight`, `weight_uniform`, `weight_positional`, `rank`, `keys`, `top_weight` and `top_share` with
                   dim `head` (coords kind, layer, head, texts, queries). weight: the mean over the query tokens of the
                   sum over the key tokens, from 0 to 1. Over several texts the mean of those. NaN is undefined.
                   If rows are read as predicted, the retrieval score too, see `RETRIEVAL_QUESTIONS`
    std            [head] population standard deviation of the weight over texts; None for one text
    top            [head] the strongest key of the row, in most rows (of several texts: in most texts)
    leave_one_out  how the search does on other texts; None for one text
    row            the row of the first head, in the first text
    rows_as        which rows stand for the query tokens: input or predicted, by kind
    """

    query: str
    key: str
    scores: Mapping[str, Scores]
    std: Array | None
    top: Array
    leave_one_out: LeaveOneOut | None
    row: HeadRow
    rows_as: Mapping[Kind, str]

    def __getitem__(self, name: str) -> Scores:
        return self.scores[name]

    @property
    def searched(self) -> int:
        """The number of heads among which the first is the best."""
        return len(self.top)

    @property
    def title(self) -> str:
        """What goes from where to where, for titles; it says if rows predict the query tokens."""
        predicted = "predicted" in self.rows_as.values()
        query, key = map(escape_invisible, (self.query, self.key))
        return f"{'the rows that predict ' if predicted else ''}'{query}' to '{key}'"

    @property
    def advice(self) -> str:
        """How many heads were searched, and what the first of them is worth."""
        if self.searched == 1:
            return "1 head was measured, none was searched"
        several_kinds = len(self.rows_as) > 1
        best = f"{self.row.kind + ' ' if several_kinds else ''}{self.row.layer}.{self.row.head}"
        searched = f"{best} is the best of {self.searched} heads that were searched"
        others = self.leave_one_out
        if others is None:
            return f"{searched}: try it on other texts before you name it"
        return (
            f"{searched}. On each text, the head that is best on the other texts gives {others.weight:.3f} on average; "
            f"it is {best} for {others.same} of {others.texts} texts"
        )

    @property
    def best(self) -> dict[str, Any]:
        """The row of the first head in `table`, as plain values; None is undefined."""
        return next(records(self.table()))

    def table(self) -> dict[str, Array]:
        """Return a row per head, the largest weight first; `weight_std` follows the weight for several texts."""
        columns = {name: entries for name, (_, entries) in self.scores["weight"].coords.items()}
        for name, scores in self.scores.items():
            columns |= {"top": self.top} if name == "top_weight" else {}
            columns[name] = scores.values
            columns |= {"weight_std": self.std} if name == "weight" and self.std is not None else {}
        return columns

    def to_frame(self) -> pd.DataFrame:
        """Return a row per head as a pandas table."""
        return frame_of(self.table())

    def _lines(self) -> Iterable[str]:
        yield f"RankedHeads, {self.title}: {counted(self.searched, 'head')}, {counted(self.best['texts'], 'text')}"
        yield self.advice


def head_scores(values: Mapping[str, Array], coords: Mapping[str, tuple[str, Array]]) -> dict[str, Scores]:
    """Return values [head] with their coordinates, in the order of `QUESTIONS`."""
    source = "attention weights after softmax; uniform: 1/|S_i| on each visible key; positional: other rows"
    return {
        name: Scores(
            name, values[name], ("head",), coords, "keys" if name in ("rank", "keys") else "1", (*RANGES[name],), source
        )
        for name in QUESTIONS
    }


def retrieval_scores(values: Mapping[str, Array], coords: Mapping[str, tuple[str, Array]]) -> dict[str, Scores]:
    """Return the columns of the retrieval score [head] with their coordinates."""
    source = "Wu et al. 2024; see attncli explain retrieval"
    scores = {name: Scores(name, column, ("head",), coords, "1", (0.0, 1.0), source) for name, column in values.items()}
    if "written" in scores:
        scores["written"] = replace(scores["written"], unit="tokens", range=(0.0, None))
    return scores


def leave_one_out(weights: Array, best: int) -> LeaveOneOut | None:
    """Return how the head that is first on all texts but one does on that text; None if fewer than two texts tell.

    weights  [text, head], NaN if undefined
    best     index of the head that is first on all texts

    >>> leave_one_out(np.array([[0.9, 0.1], [0.1, 0.2], [0.6, 0.2]]), best=0)
    LeaveOneOut(weight=0.5333333333333333, same=3, texts=3)
    """
    defined = ~np.isnan(weights)
    filled = np.where(defined, weights, 0.0)
    others = defined.sum(0) - defined
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (filled.sum(0) - filled) / others
    chosen = np.where(others > 0, means, -np.inf).argmax(1)
    scored = weights[np.arange(len(weights)), chosen]
    usable = ~np.isnan(scored) & (others.max(1, initial=0) > 0)
    if usable.sum() < 2:
        return None
    return LeaveOneOut(float(scored[usable].mean()), int((chosen[usable] == best).sum()), int(usable.sum()))


def most_frequent(entries: Sequence[Any]) -> tuple[Any, float]:
    """Return the most frequent entry, the first of equally frequent ones, and its share.

    >>> most_frequent(["a", "b", "b"])
    ('b', 0.6666666666666666)
    """
    counts: dict[Any, int] = {}
    for entry in entries:
        counts[entry] = counts.get(entry, 0) + 1
    top = max(counts, key=lambda entry: counts[entry])
    return top, counts[top] / len(entries)
