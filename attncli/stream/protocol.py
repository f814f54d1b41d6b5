"""What a sink is, and how one leaves out heads that were not asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from attncli.data import Kind, Rows, Selection


class Sink(Protocol):
    """What capture pushes row blocks into; it cannot tell a sentence from a book."""

    def add(self, rows: Rows) -> None:
        """Take one block. The blocks of a layer hold each row of each head once, in any order and any split."""

    def end_layer(self, kind: Kind, layer: int) -> None:
        """All rows of this layer of the current batch went by."""


WITHOUT_FLOAT64 = frozenset({"mps"})
"""Devices on which sums in float64 are impossible; their blocks are measured on the host."""


def selected(rows: Rows, heads: Selection | None) -> Rows | None:
    """The part of a block with these heads, the block itself where that is all of it, None where it is nothing."""
    part = _chosen(rows, heads)
    return _on_host(part) if part is not None and part.raw.device.type in WITHOUT_FLOAT64 else part


def _on_host(rows: Rows) -> Rows:
    visibility = replace(
        rows.visibility,
        visible=rows.visible.cpu(),
        query_positions=rows.query_positions.cpu(),
        key_positions=rows.key_positions.cpu(),
        special_keys=rows.special_keys.cpu(),
    )
    return _with_parts(rows, lambda part: part.cpu(), visibility=visibility)


def _chosen(rows: Rows, heads: Selection | None) -> Rows | None:
    if heads is None:
        return rows
    wanted = heads.get((rows.kind, rows.layer), ())
    places = [place for place, head in enumerate(rows.heads) if head in wanted]
    if len(places) == len(rows.heads):
        return rows
    if not places:
        return None
    visibility = rows.visibility
    if rows.visible.shape[1] > 1:
        visibility = replace(visibility, visible=rows.visible[:, places])
    return _with_parts(
        rows, lambda part: part[:, places], visibility=visibility, heads=tuple(rows.heads[place] for place in places)
    )


def _with_parts(rows: Rows, change: Callable[[Tensor], Tensor], **more: Any) -> Rows:
    """The same block with its weights and what belongs to them changed."""
    names = ("scores", "scale", "largest", "norms")
    changed: dict[str, Any] = {name: change(part) for name in names if (part := getattr(rows, name)) is not None}
    sums = None if rows.sums is None else (change(rows.sums[0]), change(rows.sums[1]))
    return replace(rows, raw=change(rows.raw), sums=sums, **changed, **more)
