"""The protocol of a sink, and the helpers that sinks share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from attncli.data import Kind, Rows, Selection, Visibility

LayerKey = tuple[Kind, int, tuple[int, ...]]
"""The kind, the layer and the texts of one layer of a batch."""
Key = TypeVar("Key", bound=tuple[Kind, int, Any])
State = TypeVar("State")
WITHOUT_FLOAT64 = frozenset({"mps"})
"""Devices without float64 sums; their blocks are measured on the host."""


class Sink(Protocol):
    """A consumer of the row blocks that capture streams."""

    def add(self, rows: Rows) -> None:
        """Process one block. The blocks of a layer have each row of each head once, in any order and any split."""

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish a layer: all its rows for the current batch were added."""


@contextmanager
def without_autocast(device: torch.device) -> Iterator[None]:
    """Turn `torch.autocast` off inside the block: it would round the products of sinks to half precision."""
    with ExitStack() as stack:
        for kind in {device.type, "cpu"}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


class SinkGroup:
    """A sink that passes each block to several sinks."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def add(self, rows: Rows) -> None:
        for sink in self._sinks:
            sink.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        for sink in self._sinks:
            sink.end_layer(kind, layer)


def selected(rows: Rows, heads: Selection | None) -> Rows | None:
    """Return the part of a block with the selected heads, or None if there is none; all heads for `heads=None`."""
    if heads is None:
        return on_host(rows)
    wanted = heads.get((rows.kind, rows.layer), ())
    indices = [index for index, head in enumerate(rows.heads) if head in wanted]
    if len(indices) == len(rows.heads):
        return on_host(rows)
    if not indices:
        return None
    visibility = rows.visibility
    if rows.visibility.visible.shape[1] > 1:
        visibility = replace(visibility, visible=rows.visibility.visible[:, indices])
    numbers = tuple(rows.heads[index] for index in indices)
    return on_host(_with_tensors(rows, lambda tensor: tensor[:, indices], visibility, numbers))


def on_host(rows: Rows) -> Rows:
    """Return the block, copied to the host if its device has no float64."""
    if rows.raw.device.type not in WITHOUT_FLOAT64:
        return rows
    names = ("visible", "query_positions", "key_positions", "special_keys")
    copies = {name: getattr(rows.visibility, name).cpu() for name in names}
    return _with_tensors(rows, lambda tensor: tensor.cpu(), replace(rows.visibility, **copies), rows.heads)


def _with_tensors(
    rows: Rows, change: Callable[[Tensor], Tensor], visibility: Visibility, heads: tuple[int, ...]
) -> Rows:
    """Return the block with its weights and the other tensors of all heads changed."""
    names = ("raw", "scores", "scale", "largest", "norms")
    changed: dict[str, Any] = {name: change(tensor) for name in names if (tensor := getattr(rows, name)) is not None}
    sums = None if rows.sums is None else rows.sums.changed(change)
    return replace(rows, visibility=visibility, heads=heads, sums=sums, **changed)


def pop_layer(open_layers: dict[Key, State], kind: Kind, layer: int) -> list[tuple[Key, State]]:
    """Remove the entries of a layer and return them, one for each text or group of texts."""
    return [(key, open_layers.pop(key)) for key in [key for key in open_layers if key[:2] == (kind, layer)]]
