"""Scores of heads on repeated random tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attncli.data.described import Tabulated, counted
from attncli.data.results import Scores, baseline_table, frame_of
from attncli.data.tokens import Array

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("previous", "duplicate", "induction")
ALL_ROWS = "_all_rows"


@dataclass(frozen=True, eq=False, repr=False)
class Repeated(Tabulated):
    """Scores of all heads on random tokens r, read as BOS r r.

    heads      previous, duplicate, induction with dim `head` (coords kind, layer, head, texts, queries), averaged over
               seeds, from 0 to 1; each again as `<name>_all_rows`, divided by all rows
    std        population standard deviation of the same over seeds; empty for one seed
    baselines  the same for `uniform` weights, and on `shuffled` tokens: the second r in another order
    length     number of tokens of r
    seeds      seeds of the random tokens
    """

    heads: Mapping[str, Scores]
    baselines: Mapping[str, Mapping[str, Scores]]
    length: int
    seeds: tuple[int, ...]
    std: Mapping[str, Scores] = field(default_factory=dict)

    def table(self) -> dict[str, Array]:
        """Return a row per head: coordinates, each score with its std and its baselines."""
        return baseline_table(self.heads, self.std, self.baselines, {})

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a pandas table."""
        return frame_of(self.table())

    def _lines(self) -> Iterable[str]:
        heads = len(next(iter(self.heads.values())).values)
        tokens = f"{counted(self.length, 'random token')} that come twice, {counted(len(self.seeds), 'seed')}"
        yield f"Repeated: {counted(heads, 'head')} on {tokens}"
