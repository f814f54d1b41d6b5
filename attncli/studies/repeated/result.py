"""Scores of heads on repeated random tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attncli.data.results import Scores, baseline_table, frame_of
from attncli.data.tokens import Array

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("previous", "duplicate", "induction")
ALL_ROWS = "_all_rows"


@dataclass(frozen=True, eq=False)
class Repeated:
    """Which heads look for what came before: random tokens r, read as BOS r r.

    heads      previous, duplicate, induction with dim `head` (coords kind, layer, head, texts, queries), the mean over
               seeds; each again as `<name>_all_rows`
    std        the same: population standard deviation over seeds (empty with one seed)
    baselines  the same under `uniform` weights, and on `shuffled` tokens: the second r in another order
    length     tokens of r, seeds: what they were drawn by
    """

    heads: Mapping[str, Scores]
    baselines: Mapping[str, Mapping[str, Scores]]
    length: int
    seeds: tuple[int, ...]
    std: Mapping[str, Scores] = field(default_factory=dict)

    def table(self) -> dict[str, Array]:
        """A row per head: kind, layer, head, texts, queries, each score with its std and its baselines."""
        return baseline_table(self.heads, self.std, self.baselines, {})

    def to_frame(self) -> pd.DataFrame:
        """The table as a pandas one."""
        return frame_of(self.table())
