"""What `stats` writes: stats.json, stats.csv, the tables of a profile, and pictures."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from attncli.data import Array, Metric, Profile, Statistics
from attncli.engine.collected import Collected
from attncli.engine.measuring import declarations
from attncli.engine.report import Drawing, Report, Table
from attncli.store.tables import (
    TableColumns,
    defined_columns,
    document_head,
    mark_unit,
    metric_entries,
    records,
    statistics_tables,
)
from attncli.studies.stats.options import StatsOptions

SCHEMA = "attncli.stats/1"
PROFILE_SCHEMA = "attncli.profile/1"
MOST_RECEIVED_ROWS = 100_000
"""Rows of `received.csv`, about 8 MB; a longer table is shortened."""
SHORT_TEXT = 3
"""With fewer tokens a measure may be undefined because of the text; no column is then left out."""


@dataclass(frozen=True)
class ReceivedParts:
    """The table of what keys receive, head by head, so that it is never in memory as a whole.

    keys  number of keys of each head: those that receive most; None for all keys
    """

    profile: Profile
    keys: int | None = None

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return self.profile.received_tables(self.keys)


def stats_report(statistics: Statistics, run: Collected, options: StatsOptions) -> Report:
    """Return the document, the tables and the pictures of the statistics and of the profile."""
    names = dict.fromkeys([*statistics.heads, *statistics.tokens, *statistics.keys])
    metrics = declarations(name for name in names if name not in (statistics.special or ()))
    drawings: list[Drawing] = []
    notes: tuple[str, ...] = ()
    if any(np.isfinite(scores.values).any() for scores in statistics.heads.values()):
        drawings += _statistics_drawings(statistics, run, metrics, options.spread)
    else:
        notes = ("there is no picture: none of these metrics has a value for a whole head here",)
    if run.whole is not None:
        drawings += _profile_drawings(run.whole, run, options.sink_threshold)
        notes += _shortened_note(run.whole)
    named = {name.strip() for value in options.metric or () for name in value.split(",")}
    all_tables = tables(statistics, run.whole, options.sink_threshold, named)
    if options.by_layer:  # first: a pipe gets it
        all_tables = {"stats-layers": layers_table(statistics), **all_tables}
    return Report(run.info, document(statistics, run, metrics, options.by_layer), all_tables, drawings, notes)


def tables(
    statistics: Statistics, profile: Profile | None, sink_threshold: float, named: Collection[str] = ()
) -> dict[str, TableColumns | Table]:
    """Return the tables by file name: `stats` first, those of the profile last.

    named  metrics that the user named: their columns stay where they are undefined in every row
    """
    columns_by_table = statistics_tables(statistics)
    queries = columns_by_table["stats"].get("queries", np.zeros(0))
    short = 0 < queries.max(initial=0) < SHORT_TEXT
    named = [*named, *(f"{name}_{suffix}" for name in named for suffix in ("std", "share"))]
    all_tables: dict[str, TableColumns | Table] = {
        name: columns if short else defined_columns(columns, named) for name, columns in columns_by_table.items()
    }
    if profile is not None:
        keys = keys_in_csv(profile)
        summary = None if keys is None else ReceivedParts(profile, keys)
        all_tables["received"] = Table(ReceivedParts(profile), PROFILE_SCHEMA, summary)
        sinks, distance, ends = profile.sinks_table(sink_threshold), profile.distance_table(), profile.ends_table()
        for name, columns in {"sinks": sinks, "distance": distance, "ends": ends}.items():
            all_tables[name] = Table([columns], PROFILE_SCHEMA)
    return all_tables


def keys_in_csv(profile: Profile) -> int | None:
    """Return how many keys of each head `received.csv` has; None for all keys, if it is short enough."""
    if _received_rows(profile) <= MOST_RECEIVED_ROWS:
        return None
    return max(1, MOST_RECEIVED_ROWS // sum(len(received.heads) for received in profile.received))


def _received_rows(profile: Profile) -> int:
    return sum(received.values.size for received in profile.received)


def layers_table(statistics: Statistics) -> dict[str, Array]:
    """Return the table of layers, without columns that are undefined in every row."""
    return defined_columns(mark_unit(statistics.layers_table(), statistics.by))


def document(
    statistics: Statistics, run: Collected, metrics: Mapping[str, Metric], by_layer: bool = False
) -> dict[str, Any]:
    """Return the contents of stats.json.

    metrics   the metrics by name
    by_layer  whether it has the layers too
    """
    columns = statistics_tables(statistics)
    default = Statistics({})
    how = {name: getattr(statistics, name) for name in ("by", "pool_texts", "rows_as")}
    layers = mark_unit(statistics.layers_table(), statistics.by)
    return {
        **document_head(SCHEMA, run.info, run.inputs, columns["stats"], run.corpus),
        **{name: value for name, value in how.items() if value != getattr(default, name)},
        "metrics": metric_entries(statistics, metrics),
        "heads": list(records(columns["stats"])),
        **({"layers": list(records(layers))} if by_layer else {}),
        **{name.removeprefix("stats-"): list(records(table)) for name, table in columns.items() if name != "stats"},
    }


def _shortened_note(profile: Profile) -> tuple[str, ...]:
    """Return that `received.csv` is shortened, if it is."""
    keys = keys_in_csv(profile)
    if keys is None:
        return ()
    which = "key of each head that receives" if keys == 1 else f"{keys:,} keys of each head that receive"
    return (
        f"received.csv has only the {which} most, as all {_received_rows(profile):,} rows make too large a CSV: "
        "--format parquet writes all of them",
    )


def _statistics_drawings(
    statistics: Statistics, run: Collected, metrics: Mapping[str, Metric], spread_too: bool
) -> Iterator[Drawing]:
    """Yield the overview of all heads and, if `spread_too`, the heads of each layer as points."""
    # imported here: matplotlib takes long to load
    from attncli.plotting import overview
    from attncli.studies.stats import figures

    norms = "shares of value-weighted norms" if statistics.by == "norm" else ""
    captions = run.info.captions(" · ".join(note for note in (norms, run.mean_note) if note))
    captions |= {"labels": {name: metric.label for name, metric in metrics.items()}}
    neutral = {name: metric.neutral for name, metric in metrics.items() if metric.neutral is not None}
    yield Drawing("stats", partial(overview.draw, statistics, **captions, neutral=neutral))
    if spread_too:
        yield Drawing("stats-spread", partial(figures.draw_spread, statistics, **captions))


def _profile_drawings(profile: Profile, run: Collected, sink_threshold: float) -> Iterator[Drawing]:
    """Yield what each key receives, for each text and kind, and distances for each kind but cross-attention."""
    from attncli.studies.stats import figures

    for received in profile.received:
        captions = run.info.captions(run.text_note(received.text))
        figure = partial(figures.draw_received, received, **captions, threshold=sink_threshold)
        yield Drawing(f"{run.text_prefix(received.text)}{received.kind}-received", figure)
    kinds = dict.fromkeys(received.kind for received in profile.received)
    for kind in (kind for kind in kinds if kind in ("encoder", "decoder")):
        figure = partial(figures.draw_distances, profile, kind, **run.info.captions(run.mean_note))
        yield Drawing(f"{kind}-distance", figure)
