"""The sink that keeps the maps of a few tokens only, so that texts of any length can be analysed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Unpack

import numpy as np
import torch

from attncli.data import Array, Attention, Input, Kind, LayerMaps, Rows, Selection, Visibility
from attncli.stream.keep import Combination, KeepMaps

Side = Literal["query", "key"]


class KeepChosen(KeepMaps):
    """Maps with a few queries and all keys, or with all queries and a few keys; full maps never exist.

    side       the side whose tokens are chosen
    positions  ascending positions of the chosen tokens, by text and kind; other texts are left out

    Heads and layers are combined as by `KeepMaps`: the result is that of `KeepMaps` at the chosen tokens.
    """

    def __init__(
        self,
        side: Side,
        positions: Mapping[tuple[int, Kind], Sequence[int] | Array],
        heads: Selection | None = None,
        **combination: Unpack[Combination],
    ) -> None:
        super().__init__(heads, **combination)
        self._side: Side = side
        self._positions = {key: np.asarray(chosen, np.int64) for key, chosen in positions.items() if len(chosen)}

    def add(self, rows: Rows) -> None:
        """Copy the chosen tokens of one block."""
        for entry, text in enumerate(rows.texts):
            chosen = self._positions.get((text, rows.kind))
            if chosen is None:
                continue
            part = _chosen_queries(rows, entry, chosen) if self._side == "query" else _chosen_keys(rows, entry, chosen)
            if part is not None:
                super().add(part)

    def result(self, inputs: Sequence[Input]) -> tuple[Attention, ...]:
        """Return the maps ordered by text and kind, with the chosen queries or keys."""
        return tuple(self._with_chosen_tokens(attention) for attention in super().result(inputs))

    def _with_chosen_tokens(self, attention: Attention) -> Attention:
        chosen = self._positions[attention.text, attention.kind]
        if self._side == "query":
            return replace(attention, queries=attention.queries.take(chosen))
        layers = tuple(_without_last_key(maps) for maps in attention.layers)
        return replace(attention, keys=attention.keys.take(chosen), layers=layers)


def _chosen_queries(rows: Rows, entry: int, chosen: Array) -> Rows | None:
    """Return the chosen rows of one text, renumbered from 0, or None if the block has none of them."""
    positions = rows.query_positions[entry].cpu().numpy()
    in_block = np.flatnonzero(np.isin(positions, chosen))
    if not len(in_block):
        return None
    index = torch.from_numpy(in_block).to(rows.raw.device)
    numbers = torch.from_numpy(np.searchsorted(chosen, positions[in_block])).to(rows.raw.device)
    visibility = replace(
        rows.visibility,
        visible=rows.visible_pairs[entry, None][:, :, index],
        query_positions=numbers[None],
        key_positions=rows.key_positions[entry, None],
        query_lengths=(len(chosen),),
        key_lengths=(rows.key_lengths[entry],),
        common_keys=(0, 0),
        slices=None,
    )
    scale = None if rows.scale is None else rows.scale[entry, None][:, :, index]
    return _of_text(rows, entry, rows.raw[entry, None][:, :, index], scale, visibility)


def _chosen_keys(rows: Rows, entry: int, chosen: Array) -> Rows:
    """Return all rows of one text with the chosen keys, renumbered from 0.

    An additional last key of weight 0 is visible to every real row, as a row without visible keys counts as undefined.
    """
    positions = rows.key_positions[entry].cpu().numpy()
    indices = np.full(len(chosen), -1)
    in_block = np.flatnonzero(np.isin(positions, chosen))
    indices[np.searchsorted(chosen, positions[in_block])] = in_block
    index = torch.from_numpy(indices).to(rows.raw.device)
    exists, index = index >= 0, index.clamp_min(0)
    visible = rows.visible_pairs[entry, None][..., index] & exists
    raw = rows.raw[entry, None][..., index] * exists
    visibility = replace(
        rows.visibility,
        visible=torch.cat([visible, rows.real[entry, None, ..., None]], dim=-1),
        query_positions=rows.query_positions[entry, None],
        key_positions=torch.arange(len(chosen) + 1, device=index.device)[None],
        query_lengths=(rows.query_lengths[entry],),
        key_lengths=(len(chosen) + 1,),
        common_keys=(0, 0),
        slices=None,
    )
    scale = None if rows.scale is None else rows.scale[entry, None]
    return _of_text(rows, entry, torch.cat([raw, torch.zeros_like(raw[..., :1])], dim=-1), scale, visibility)


def _of_text(rows: Rows, entry: int, raw: torch.Tensor, scale: torch.Tensor | None, visibility: Visibility) -> Rows:
    """Return a block of one text, without the scores and vectors, which maps do not need."""
    block = replace(rows, texts=(rows.texts[entry],), visibility=visibility, scores=None, largest=None, parts=None)
    return replace(block, raw=raw, scale=scale)


def _without_last_key(maps: LayerMaps) -> LayerMaps:
    visible = None if maps.visible is None else maps.visible[..., :-1]
    return replace(maps, weights=maps.weights[..., :-1], visible=visible)
