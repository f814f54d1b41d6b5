"""Scores of heads on passages that come twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted
from attncli.data.results import Scores, baseline_table, frame_of
from attncli.data.tokens import Array
from attncli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("previous", "duplicate", "induction")
ALL_ROWS = "_all_rows"


@dataclass(frozen=True, eq=False)
class Losses:
    """How well the model predicts the tokens of both copies, -ln p of the right token in nats.

    first   [passage] mean over the tokens of the first r
    second  [passage] the same of the second r, whose tokens an induction circuit can predict
    """

    first: Array
    second: Array

    def means(self) -> dict[str, float]:
        """Return the mean and the population standard deviation over passages of both copies."""
        halves = {"first": self.first, "second": self.second}
        means = {name: float(np.mean(values)) for name, values in halves.items()}
        return means | {f"{name}_std": float(np.std(values)) for name, values in halves.items()}


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Repeated(Tabulated):
    """Scores of all heads on passages r, read as BOS r r: random tokens, or texts of the user.

    heads      previous, duplicate, induction with dim `head` (coords kind, layer, head, texts, queries), averaged over
               passages, from 0 to 1; each again as `<name>_all_rows`, divided by all rows
    std        population standard deviation of the same over passages; empty for one passage
    baselines  the same for `uniform` weights, and on `shuffled` tokens: the second r in another order
    lengths    number of tokens of r, for each passage
    seeds      seeds of the random tokens; empty for texts of the user
    passages   texts of the user; empty for random tokens
    losses     how well the model predicts both copies; None if it predicts no next token
    """

    heads: Mapping[str, Scores]
    baselines: Mapping[str, Mapping[str, Scores]]
    lengths: tuple[int, ...]
    seeds: tuple[int, ...] = ()
    passages: tuple[str, ...] = ()
    losses: Losses | None = None
    std: Mapping[str, Scores] = field(default_factory=dict)

    @property
    def length(self) -> int | None:
        """The number of tokens of r; None if the passages have several lengths."""
        return self.lengths[0] if len(set(self.lengths)) == 1 else None

    @property
    def title(self) -> str:
        """What was read, for tables and pictures."""
        if self.passages:
            return f"{counted(len(self.passages), 'passage')} read twice"
        return f"{self.length} random tokens read twice, mean over {counted(len(self.seeds), 'seed')}"

    def best(self, score: str, count: int = 1) -> list[tuple[str, float]]:
        """Return the heads with the highest values of a score, such as `1.3`, with these values.

        Raise UsageError for the name of no score.
        """
        if score not in self.heads:
            raise UsageError(f"unknown score '{score}': {did_you_mean(score, self.heads)}")
        scores = self.heads[score]
        rows = np.argsort(-scores.values, kind="stable")[:count].tolist()
        layers, heads = (scores.coords[name][1] for name in ("layer", "head"))
        return [(f"{layers[row]}.{heads[row]}", float(scores.values[row])) for row in rows]

    def table(self) -> dict[str, Array]:
        """Return a row per head: coordinates, each score with its std and its baselines."""
        return baseline_table(self.heads, self.std, self.baselines, {})

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a pandas table."""
        return frame_of(self.table())

    def _lines(self) -> Iterable[str]:
        heads = len(next(iter(self.heads.values())).values)
        yield f"Repeated: {counted(heads, 'head')}, {self.title}"
