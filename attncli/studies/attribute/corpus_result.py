"""How much the tokens of each text of a corpus count: a summary in memory, and tables that are read part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted
from attncli.data.part_states import PartState, table_of_state
from attncli.data.results import frame_of
from attncli.data.tokens import Array, Kind

if TYPE_CHECKING:
    import pandas as pd

PART_ROWS = 20_000
"""Rows of a part of a table at least: Parquet files of many small parts are large and slow to read."""


@dataclass(frozen=True)
class TableParts:
    """A table of all texts, one part of the corpus after another, so that it is never in memory as a whole.

    states  of the parts of the corpus, in order; they can be read repeatedly
    name    which of their tables
    """

    states: Iterable[PartState]
    name: str

    def __iter__(self) -> Iterator[dict[str, Array]]:
        waiting: list[dict[str, Array]] = []
        rows = 0
        for state in self.states:
            waiting.append(table_of_state(state[self.name]))
            rows += len(waiting[-1]["text"])
            if rows >= PART_ROWS:
                yield stacked(waiting)
                waiting, rows = [], 0
        if waiting:
            yield stacked(waiting)


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class CorpusAttribution(Tabulated):
    """How much each token, word or segment of many texts counts for a prediction of its text.

    explain  what was asked for, such as next or label:POSITIVE
    score    which number of the predictions is explained: ln-probability, logit, probability, or number
    unit     what is compared: token, word or segment
    kinds    for each side a kind of attention whose keys are its tokens
    methods  a row per method: see `table`
    states   of the parts of the corpus
    """

    explain: str
    score: str
    unit: str
    kinds: tuple[Kind, ...]
    methods: Mapping[str, Array]
    states: Iterable[PartState]

    def table(self) -> dict[str, Array]:
        """Return a row per method, over all texts.

        Columns: method, baseline, texts, predictions, values (how many), all_zero (predictions whose values are all 0);
        for integrated-gradients most_steps, error (mean of |delta| / |change of the score|), error_max, and over_limit
        (predictions with an error over 5 %).
        """
        return dict(self.methods)

    def to_frame(self) -> pd.DataFrame:
        """Return `table` as a pandas table."""
        return frame_of(self.table())

    @property
    def tokens(self) -> Iterable[Mapping[str, Array]]:
        """The tables of the values, one part of the corpus after another: those of `Attribution`, and `text`."""
        return TableParts(self.states, "tokens")

    @property
    def texts(self) -> Iterable[Mapping[str, Array]]:
        """The tables of the predictions, one part of the corpus after another.

        A row per text, prediction and method. Columns: text, output, prediction, score, probability, units (how many),
        method; for integrated-gradients steps, score_change and delta.
        """
        return TableParts(self.states, "texts")

    def about(self) -> dict[str, Any]:
        """Return what was explained as plain values, for the document."""
        return {"explained": {"explain": self.explain, "score": self.score, "unit": self.unit}}

    def _lines(self) -> Iterable[str]:
        texts, values = int(self.methods["texts"][0]), int(self.methods["values"][0])
        yield f"Attribution in {counted(texts, 'text')} ({self.explain}): {counted(values, self.unit)} by each method"
        for method, all_zero in zip(self.methods["method"], self.methods["all_zero"], strict=True):
            yield f"{method}: all values are 0 for {counted(int(all_zero), 'prediction')}" if all_zero else f"{method}"


def stacked(tables: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return tables with the same columns as one, below each other."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def error_shares(texts: Mapping[str, Array]) -> Array:
    """Return the share of the change of the score that integrated gradients miss, [row]; NaN for other methods."""
    change, delta = (np.abs(texts[name].astype(np.float64)) for name in ("score_change", "delta"))
    shares: Array = np.divide(delta, change, out=np.full(len(delta), np.nan), where=change > 0)
    return shares
