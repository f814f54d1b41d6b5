"""The sink that keeps the rows or the columns of a few tokens, so that a text of any length can be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from attncli.data import Array, Attention, Input, Kind, LayerMaps, Rows, Selection
from attncli.stream.keep import Aggregate, KeepMaps

Side = Literal["query", "key"]
_NOT_CUT: dict[str, Any] = {"scores": None, "largest": None, "parts": None}
"""What maps need nothing of."""


class KeepChosen(KeepMaps):
    """Maps with few queries and all keys, or with all queries and few keys; whole maps never exist.

    side    which of the two are chosen
    places  of each text and kind the positions of the chosen tokens, ascending; texts that are not there are left out
    Folding is that of `KeepMaps`: what comes is what its maps would have at these places.
    """

    def __init__(
        self,
        side: Side,
        places: Mapping[tuple[int, Kind], Sequence[int] | Array],
        heads: Selection | None = None,
        *,
        aggregate: Aggregate = "none",
        aggregate_layers: Literal["none", "mean"] = "none",
    ) -> None:
        super().__init__(heads, aggregate=aggregate, aggregate_layers=aggregate_layers)
        self._side: Side = side
        self._at = {place: np.asarray(positions, np.int64) for place, positions in places.items() if len(positions)}

    def add(self, rows: Rows) -> None:
        """Copy what is chosen of one block."""
        for entry, text in enumerate(rows.texts):
            chosen = self._at.get((text, rows.kind))
            if chosen is None:
                continue
            part = _queries(rows, entry, chosen) if self._side == "query" else _keys(rows, entry, chosen)
            if part is not None:
                super().add(part)

    def result(self, inputs: Sequence[Input]) -> tuple[Attention, ...]:
        """The maps by text, then kind; their queries or keys are the chosen ones alone."""
        return tuple(self._chosen(attention) for attention in super().result(inputs))

    def _chosen(self, attention: Attention) -> Attention:
        at = self._at[attention.text, attention.kind]
        if self._side == "query":
            return replace(attention, queries=attention.queries.take(at))
        return replace(attention, keys=attention.keys.take(at), layers=tuple(map(_without_rest, attention.layers)))


def _queries(rows: Rows, entry: int, chosen: Array) -> Rows | None:
    """The chosen rows of one text, numbered among themselves; None where the block has none."""
    positions = rows.query_positions[entry].cpu().numpy()
    here = np.flatnonzero(np.isin(positions, chosen))
    if not len(here):
        return None
    at = torch.from_numpy(here).to(rows.raw.device)
    numbers = torch.from_numpy(np.searchsorted(chosen, positions[here])).to(rows.raw.device)
    visibility = replace(
        rows.visibility,
        visible=rows.seen[entry : entry + 1, :, at],
        query_positions=numbers[None],
        key_positions=rows.key_positions[entry : entry + 1],
        query_lengths=(len(chosen),),
        key_lengths=(rows.key_lengths[entry],),
        clear=(0, 0),
        runs=None,
    )
    scale = None if rows.scale is None else rows.scale[entry : entry + 1, :, at]
    raw = rows.raw[entry : entry + 1, :, at]
    return replace(rows, texts=(rows.texts[entry],), raw=raw, visibility=visibility, scale=scale, **_NOT_CUT)


def _keys(rows: Rows, entry: int, chosen: Array) -> Rows:
    """All rows of one text with the chosen keys, and a last key that every real row sees, as they do see some key."""
    positions = rows.key_positions[entry].cpu().numpy()
    slots = np.full(len(chosen), -1)
    here = np.flatnonzero(np.isin(positions, chosen))
    slots[np.searchsorted(chosen, positions[here])] = here
    at = torch.from_numpy(slots).to(rows.raw.device)
    there = (at >= 0)[None, None, None]
    visible = rows.seen[entry : entry + 1][..., at.clamp_min(0)] & there
    raw = rows.raw[entry : entry + 1][..., at.clamp_min(0)] * there
    real = rows.real[entry : entry + 1, ..., None]
    count = len(chosen) + 1
    visibility = replace(
        rows.visibility,
        visible=torch.cat([visible, real], dim=-1),
        query_positions=rows.query_positions[entry : entry + 1],
        key_positions=torch.arange(count, device=at.device)[None],
        query_lengths=(rows.query_lengths[entry],),
        key_lengths=(count,),
        clear=(0, 0),
        runs=None,
    )
    scale = None if rows.scale is None else rows.scale[entry : entry + 1]
    raw = torch.cat([raw, torch.zeros_like(raw[..., :1])], dim=-1)
    return replace(rows, texts=(rows.texts[entry],), raw=raw, visibility=visibility, scale=scale, **_NOT_CUT)


def _without_rest(maps: LayerMaps) -> LayerMaps:
    visible = None if maps.visible is None else maps.visible[..., :-1]
    return replace(maps, weights=maps.weights[..., :-1], visible=visible)
