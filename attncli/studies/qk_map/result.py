"""The map of queries and keys: the maps of all kinds of attention, as a table, points, vectors and one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import RunInfo
from attncli.data.described import Tabulated, counted
from attncli.data.results import frame_of
from attncli.data.tokens import Array, Input, Kind
from attncli.studies.qk_map.head_maps import FAIR, GOOD, METHODS, NEAREST, VERDICTS, HeadMaps, point_columns
from attncli.studies.qk_map.options import QueryKeyMapOptions
from attncli.studies.qk_map.page import html_page
from attncli.studies.view.result import HEIGHT, Page

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class QueryKeyMap(Tabulated):
    """Queries and keys of every head as points of one plane, so that near means attended, as far as the map is true.

    info     where the result comes from
    inputs   the texts
    groups   the maps of each kind of attention
    options  options of the study
    score_notes  what weights depend on besides these vectors
    """

    info: RunInfo
    inputs: Sequence[Input]
    groups: Mapping[Kind, HeadMaps]
    options: QueryKeyMapOptions
    score_notes: tuple[str, ...] = ()

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the numbers that say how true a map is."""
        return tuple(next(iter(self.groups.values())).quality)

    @property
    def advice(self) -> str:
        """How many maps are good, fair and poor, in a sentence."""
        counts = Counter(name for group in self.groups.values() for name in group.verdicts)
        shown = ", ".join(f"{name} {counts[name]}" for name in VERDICTS if counts[name])
        method = METHODS[self.options.method]
        return f"maps by {method}: {shown} (good from a rank correlation of {GOOD:g}, fair from {FAIR:g})"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the map has to know."""
        notes = []
        if len(self.inputs) == 1:
            notes.append(
                "one text: the map shows which of its own tokens are near; take many texts to see what is general"
            )
        few = [kind for kind, group in self.groups.items() if np.isnan(group.quality["top_near_random"]).all()]
        if few:
            notes.append(
                f"no {' and no '.join(few)} query sees more than {NEAREST} of the sampled keys of its own text, so "
                "top_near is undefined: take longer texts or more --vectors"
            )
        return (*notes, *self.score_notes)

    def view(self, *, height: int = HEIGHT) -> Page:
        """Return one page with all maps: a notebook shows it, `.save("qk-map.html")` writes it.

        height  height of the page in a notebook, in pixels
        """
        return Page(html_page(self.info, self.inputs, self.groups, self.options), height=height)

    def table(self) -> dict[str, Array]:
        """Return a row per head: the numbers of vectors, the factor, and how true the map is."""
        tables = [_head_columns(kind, group) for kind, group in self.groups.items()]
        return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}

    def points_tables(self) -> Iterator[dict[str, Array]]:
        """Yield a table for each head: a row per point with its token, coordinates and norm."""
        for kind, group in self.groups.items():
            for row in range(len(group.heads)):
                yield point_columns(kind, group, row)

    def vectors_tables(self) -> Iterator[dict[str, Array]]:
        """Yield a table for each head: a row per point with its token and its vector, a list of numbers."""
        for kind, group in self.groups.items():
            for row, vectors in enumerate(group.vectors):
                column = np.empty(len(vectors), dtype=object)
                column[:] = list(vectors)
                yield {**point_columns(kind, group, row), "vector": column}

    def to_frame(self) -> pd.DataFrame:
        """Return the table of heads as a pandas table."""
        return frame_of(self.table())

    def points_frame(self) -> pd.DataFrame:
        """Return the points of all heads as a pandas table."""
        tables = list(self.points_tables())
        return frame_of({name: np.concatenate([table[name] for table in tables]) for name in tables[0]})

    def _lines(self) -> Iterable[str]:
        groups = "; ".join(f"{kind} {group!r}".replace("HeadMaps: ", "") for kind, group in self.groups.items())
        yield f"QueryKeyMap over {counted(len(self.inputs), 'text')}: {groups}"
        yield self.advice


def _head_columns(kind: Kind, group: HeadMaps) -> dict[str, Array]:
    count, tokens = len(group.heads), group.tokens
    return {
        "kind": np.full(count, kind, dtype=object),
        "layer": group.layers,
        "head": group.heads,
        "queries": np.full(count, tokens.queries),
        "keys": np.full(count, len(tokens) - tokens.queries),
        "factor": group.factors,
        **group.quality,
        "map": np.array([*group.verdicts, None], dtype=object)[:-1],
    }
