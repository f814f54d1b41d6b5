"""Masks that are never whole: Transformers says which keys a query may see by a function, asked block by block."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.utils._pytree import tree_map
from transformers import masking_utils

Tensor = torch.Tensor
NAME = "eager"
"""The implementation that models run under while they are captured: its masks would be float [batch, 1, query, key]."""

KEPT_CELLS = 1 << 24
"""Of so many cells it is kept from layer to layer which are visible: 16 MB, and never more."""


UNSEEN = -1e30
"""Added to the score of a key that is not seen: below all scores, and far enough from the end of float32."""


class LazyMask(torch.Tensor):
    """A float mask [batch, 1, query, key] that holds the request for its cells, not the cells.

    Our block function asks for those that it needs; whatever else touches it, such as a model that adds a bias, gets
    it whole.
    """

    _make: Callable[..., Tensor]
    _request: Mapping[str, Any]
    _reaches: dict[int, list[list[int]]]
    _strips: dict[int, list[Strip]]
    _room: int

    @staticmethod
    def __new__(cls, make: Callable[..., Tensor], request: Mapping[str, Any]) -> LazyMask:
        """`request` is what Transformers asks of the function `make`."""
        shape = (request["batch_size"], 1, request["q_length"], request["kv_length"])
        made: LazyMask = torch.Tensor._make_wrapper_subclass(
            cls, shape, dtype=request.get("dtype", torch.float32), device=torch.device(request.get("device", "cpu"))
        )
        made._make, made._request = make, request
        made._reaches, made._strips, made._room = {}, {}, KEPT_CELLS
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Any operation of torch is done on the whole mask."""
        return func(*tree_map(_whole, args), **tree_map(_whole, kwargs or {}))

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"UnmadeMask({list(self.shape)})"

    @cached_property
    def whole(self) -> Tensor:
        """All cells, as Transformers makes them."""
        return self._make(**self._request)

    def visible(self, rows: slice, keys: slice) -> Tensor:
        """[batch, 1, row, key] bool: which of these keys these rows may see."""
        asked: dict[str, Any] = {
            **self._request,
            "q_length": rows.stop - rows.start,
            "q_offset": self._request.get("q_offset", 0) + rows.start,
            "kv_length": keys.stop - keys.start,
            "kv_offset": self._request.get("kv_offset", 0) + keys.start,
            "allow_is_causal_skip": False,
            "allow_is_bidirectional_skip": False,
        }
        seen = masking_utils.sdpa_mask(**asked)
        assert seen is not None
        return seen

    def strips(self, step: int) -> Iterator[Strip]:
        """All rows, `step` at a time, with the keys that they may see. The first are kept for the layers to come."""
        queries, keys = self.shape[2:]
        blocks = [slice(first, min(first + step, queries)) for first in range(0, queries, step)]
        if step not in self._reaches:
            # all at once: a look at the numbers waits for the device
            found = [_bounds(self.visible(rows, slice(0, keys)), rows) for rows in blocks]
            self._reaches[step] = torch.stack(found).tolist()
        kept = self._strips.setdefault(step, [])
        yield from kept
        for rows, bounds in zip(blocks[len(kept) :], self._reaches[step][len(kept) :], strict=True):
            strip = Strip.of(rows, self.visible(rows, slice(*bounds[:2])), bounds)
            self._room -= (rows.stop - rows.start) * (strip.keys.stop - strip.keys.start)
            if self._room >= 0:  # it only falls: those that are kept are the first
                kept.append(strip)
            yield strip


@dataclass(frozen=True, eq=False)
class Strip:
    """Some rows of one call and the keys that they may see: what the blocks of all heads share.

    keys     from the first to the last key that any of the rows may see
    visible  bool, broadcastable to [batch, head, row, key]; None where all of these keys are seen by all of these rows
    clear    a run of these keys, counted from the first of them, that all rows see
    ahead    whether some row may see a key after it
    memory   what was worked out of all this
    """

    rows: slice
    keys: slice
    visible: Tensor | None
    clear: slice
    ahead: bool = True
    memory: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, rows: slice, visible: Tensor, bounds: Sequence[int]) -> Strip:
        """From what `_bounds` found of all keys, and what is visible of those in reach."""
        first, last, clear, end, count, ahead = bounds
        if end - clear != count:  # not one run
            clear = end = first
        return cls(rows, slice(first, last), visible, slice(clear - first, end - first), bool(ahead))

    @classmethod
    def found(cls, rows: slice, visible: Tensor) -> Strip:
        """By looking at what is visible of all keys."""
        bounds = _bounds(visible, rows).tolist()
        return cls.of(rows, visible[..., slice(*bounds[:2])], bounds)

    @property
    def behind(self) -> int:
        """So many of the first keys stand before the first row."""
        return int(max(0, min(self.rows.start, self.keys.stop) - self.keys.start))

    @cached_property
    def unclear(self) -> tuple[tuple[slice, Tensor], ...]:
        """Left and right of the clear keys: where, and 1 for what is seen there, 0 for what is not."""
        if self.visible is None:
            return ()
        sides = slice(0, self.clear.start), slice(self.clear.stop, self.keys.stop - self.keys.start)
        return tuple((side, self.visible[..., side].float()) for side in sides if side.stop > side.start)

    @cached_property
    def penalties(self) -> tuple[tuple[slice, Tensor], ...]:
        """The same as what is added to scores: 0 and `UNSEEN`. A sum or product takes a third of filling in."""
        return tuple((side, (seen - 1) * -UNSEEN) for side, seen in self.unclear)


def _bounds(visible: Tensor, rows: slice) -> Tensor:
    """What these rows see of all keys, in one tensor.

    First and last + 1 key that some row sees; the same of keys that all rows see, and how many those are; whether a row
    sees a key after it.
    """
    keys = visible.shape[-1]
    flat = visible.flatten(0, -2)
    some, every = flat.any(0).int(), flat.all(0).int()
    ends = [some.argmax(), keys - some.flip(0).argmax(), every.argmax(), keys - every.flip(0).argmax()]
    ahead = visible[..., rows.start + 1 :].triu().any() if visible.shape[-2] > 1 else some[rows.start + 1 :].any()
    return torch.stack([*ends, every.sum(), ahead])


def _whole(value: Any) -> Any:
    return value.whole if isinstance(value, LazyMask) else value


@contextmanager
def lazy_masks() -> Iterator[None]:
    """Let Transformers hand out masks that are not made yet, for the length of the block.

    Its version 5.0 asks for masks by other arguments: there they stay whole.
    """
    original = masking_utils.eager_mask
    if not {"q_length", "q_offset"} <= set(inspect.signature(masking_utils.sdpa_mask).parameters):
        yield
        return

    def mask(**request: Any) -> Tensor | None:
        # a text without padding or window needs none: Transformers decides that by the keys, for one row as for all
        if request.get("allow_is_bidirectional_skip") and original(**{**request, "q_length": 1}) is None:
            return None
        return LazyMask(original, request)

    masking_utils.AttentionMaskInterface.register(NAME, mask)
    try:
        yield
    finally:
        masking_utils.AttentionMaskInterface.register(NAME, original)
