"""Masks that are computed in blocks: Transformers defines them by functions of the cells, so no full mask is needed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch.utils._pytree import tree_map
from transformers import masking_utils

from attncli.capturing.patches import current_capture, installed
from attncli.data.cached import cached_property

Tensor = torch.Tensor
IMPLEMENTATION = "eager"
"""The attention implementation that models use during a capture; its own masks are float [batch, 1, query, key]."""
KEPT_CELLS = 1 << 24
"""Cells whose visibility is kept for the next layers: 16 MB at most."""
MASKED_SCORE = -1e30
"""Added to the scores of masked keys: lower than all scores, and well inside the range of float32."""
_DESCRIBING = frozenset({"__get__", "dim", "size", "numel", "is_floating_point"})
"""Functions of a tensor that read no cell; `__get__` reads attributes, such as its shape."""


class LazyMask(torch.Tensor):
    """A float mask [batch, 1, query, key] that stores how to compute its cells, not the cells.

    The attention blocks compute the cells that they need. Any torch operation, as in a model that adds a bias, gets
    the full mask.
    """

    _make: Callable[..., Tensor]
    _request: Mapping[str, Any]
    _bounds_by_step: dict[int, list[list[int]]]
    _kept_strips: dict[int, list[Strip]]
    _cells_left: int

    @staticmethod
    def __new__(cls: type[LazyMask], make: Callable[..., Tensor], request: Mapping[str, Any]) -> LazyMask:
        """Return the mask that `make(**request)` would compute, as Transformers calls it."""
        shape = (request["batch_size"], 1, request["q_length"], request["kv_length"])
        mask: LazyMask = torch.Tensor._make_wrapper_subclass(
            cls, shape, dtype=request.get("dtype", torch.float32), device=torch.device(request.get("device", "cpu"))
        )
        mask._make, mask._request = make, request
        mask._bounds_by_step, mask._kept_strips, mask._cells_left = {}, {}, KEPT_CELLS
        return mask

    @classmethod
    def __torch_function__(cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # the cells must be computed here if they need `vmap`, which does not work inside of `__torch_dispatch__`
        if func.__name__ in _DESCRIBING:
            return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        return func(*tree_map(_full_mask, args), **tree_map(_full_mask, kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return func(*tree_map(_full_mask, args), **tree_map(_full_mask, kwargs or {}))

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"LazyMask({list(self.shape)})"

    @cached_property
    def full(self) -> Tensor:
        """All cells, as Transformers computes them."""
        return self._make(**self._request)

    def visible(self, rows: slice, keys: slice) -> Tensor:
        """Return which of these keys are visible to each of these rows, [batch, 1, row, key] bool."""
        request: dict[str, Any] = {
            **self._request,
            "q_length": rows.stop - rows.start,
            "q_offset": self._request.get("q_offset", 0) + rows.start,
            "kv_length": keys.stop - keys.start,
            "kv_offset": self._request.get("kv_offset", 0) + keys.start,
            "allow_is_causal_skip": False,
            "allow_is_bidirectional_skip": False,
        }
        visible = masking_utils.sdpa_mask(**request)
        assert visible is not None
        return visible

    def strips(self, step: int) -> Iterator[Strip]:
        """Return all rows, `step` at a time, with their visible keys; the first strips are kept for reuse."""
        queries, keys = self.shape[2:]
        row_slices = list(slices(queries, step))
        if step not in self._bounds_by_step:
            # all bounds in one transfer: reading numbers waits for the device
            bounds = [visible_bounds(self.visible(rows, slice(0, keys)), rows) for rows in row_slices]
            self._bounds_by_step[step] = torch.stack(bounds).tolist()
        kept = self._kept_strips.setdefault(step, [])
        yield from kept
        for rows, numbers in zip(row_slices[len(kept) :], self._bounds_by_step[step][len(kept) :], strict=True):
            strip = Strip.from_bounds(rows, self.visible(rows, slice(*numbers[:2])), numbers)
            self._cells_left -= (rows.stop - rows.start) * (strip.keys.stop - strip.keys.start)
            if self._cells_left >= 0:  # it only falls, so the kept strips are the first ones
                kept.append(strip)
            yield strip


@dataclass(frozen=True, eq=False)
class Strip:
    """Some rows of one call with their visible keys; the blocks of all heads share it.

    keys     from the first to the last key that is visible to any of the rows
    visible  bool, broadcastable to [batch, head, row, key]; None if all rows see all keys
    clear    consecutive keys that all rows see, as indexes into `keys`
    ahead    whether a key after its own position is visible to a row
    memory   cached values that were computed from the strip
    """

    rows: slice
    keys: slice
    visible: Tensor | None
    clear: slice
    ahead: bool = True
    memory: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_bounds(cls, rows: slice, visible: Tensor, bounds: Sequence[int]) -> Strip:
        """Return the strip of the numbers that `visible_bounds` found, and the visibility of its keys."""
        first, last, clear, end, count, ahead = bounds
        if end - clear != count:  # the keys that all rows see are not consecutive
            clear = end = first
        return cls(rows, slice(first, last), visible, slice(clear - first, end - first), bool(ahead))

    @property
    def behind(self) -> int:
        """The number of keys before the first row."""
        return int(max(0, min(self.rows.start, self.keys.stop) - self.keys.start))

    @cached_property
    def outside_clear(self) -> tuple[tuple[slice, Tensor], ...]:
        """The keys on the left and right of the clear keys, each with a float tensor: 1 if visible, 0 if masked."""
        if self.visible is None:
            return ()
        sides = slice(0, self.clear.start), slice(self.clear.stop, self.keys.stop - self.keys.start)
        return tuple((side, self.visible[..., side].float()) for side in sides if side.stop > side.start)

    @cached_property
    def penalties(self) -> tuple[tuple[slice, Tensor], ...]:
        """`outside_clear` as numbers to add to scores: 0 if visible, else `MASKED_SCORE`.

        Adding or multiplying takes a third of the time of filling in masked cells.
        """
        return tuple((side, (visible - 1) * -MASKED_SCORE) for side, visible in self.outside_clear)


def visible_bounds(visible: Tensor, rows: slice) -> Tensor:
    """Return the bounds of the visible keys of some rows as one tensor of six numbers.

    First and last + 1 of the keys that are visible to any row; first and last + 1 of those that are visible to all
    rows, and their number; whether a key after its own position is visible to a row.
    """
    keys = visible.shape[-1]
    flat = visible.flatten(0, -2)
    by_any, by_all = flat.any(0).int(), flat.all(0).int()
    ends = [by_any.argmax(), keys - by_any.flip(0).argmax(), by_all.argmax(), keys - by_all.flip(0).argmax()]
    ahead = visible[..., rows.start + 1 :].triu().any() if visible.shape[-2] > 1 else by_any[rows.start + 1 :].any()
    return torch.stack([*ends, by_all.sum(), ahead])


def slices(count: int, step: int) -> Iterator[slice]:
    """Return 0 to `count` in slices of `step`."""
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def _full_mask(value: object) -> object:
    return value.full if isinstance(value, LazyMask) else value


@contextmanager
def lazy_masks() -> Iterator[None]:
    """Make Transformers return `LazyMask` instead of full masks to the current capture, inside the `with` block.

    Transformers 5.0 requests masks by other arguments: there the masks stay full.
    """
    if not _requests_lengths():
        yield
        return
    with installed(masking_utils.AttentionMaskInterface, _register_lazy_masks):
        yield


@cache
def _requests_lengths() -> bool:
    """Return whether this version of Transformers requests masks by the numbers of rows and keys."""
    return {"q_length", "q_offset"} <= set(inspect.signature(masking_utils.sdpa_mask).parameters)


def _register_lazy_masks() -> Callable[[], None]:
    """Register lazy masks; return the function that undoes it."""
    original = masking_utils.eager_mask

    def make_mask(**request: Any) -> Tensor | None:
        if current_capture() is None:
            return original(**request)
        # a text without padding or window needs no mask: Transformers decides that by the keys, so one row is enough
        if request.get("allow_is_bidirectional_skip") and original(**{**request, "q_length": 1}) is None:
            return None
        return LazyMask(original, request)

    masking_utils.AttentionMaskInterface.register(IMPLEMENTATION, make_mask)
    return partial(masking_utils.AttentionMaskInterface.register, IMPLEMENTATION, original)
