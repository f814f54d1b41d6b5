"""Which heads share keys and values, as in models with grouped-query attention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from attncli.data.tokens import Array, Kind

COLUMN = "key_value_head"
"""The last column of tables of heads, where heads share keys and values."""
_MOST_GROUPS = 8


@dataclass(frozen=True)
class GroupedHeads:
    """The layers in which several heads share a key head and a value head; empty for other models.

    counts  (number of heads, number of key/value heads) of such a layer, by kind and layer

    >>> grouped = GroupedHeads.of([{"kind": "decoder", "layers": [0, 1], "heads": 8, "key_value_heads": 2}])
    >>> grouped.key_value_head("decoder", 1, 5), grouped.key_value_head("decoder", 2, 5)
    (1, None)
    """

    counts: Mapping[tuple[Kind, int], tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Mapping[str, Any]]) -> GroupedHeads:
        """Return the layers that these entries of a `run` object list."""
        counts: dict[tuple[Kind, int], tuple[int, int]] = {}
        for entry in entries:
            numbers = entry["heads"], entry["key_value_heads"]
            counts |= {(entry["kind"], layer): numbers for layer in entry["layers"]}
        return cls(counts)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The layers as a `run` object lists them: equal ones of a kind together."""
        layers: dict[tuple[Kind, tuple[int, int]], list[int]] = {}
        for (kind, layer), numbers in self.counts.items():
            layers.setdefault((kind, numbers), []).append(layer)
        return [
            {"kind": kind, "layers": sorted(of_kind), "heads": heads, "key_value_heads": shared}
            for (kind, (heads, shared)), of_kind in layers.items()
        ]

    def key_value_head(self, kind: Kind, layer: Any, head: Any) -> int | None:
        """Return the number of the key/value head that a head uses; None if its layer shares none, or it is several."""
        if (kind, layer) not in self.counts or head is None or isinstance(head, str):
            return None
        heads, shared = self.counts[kind, layer]
        return int(head) * shared // heads

    def names(self, kind: Kind, layer: Any, heads: Iterable[int]) -> list[str]:
        """Return the names of heads, with the key/value head that they share: `head 5 (key head 1)`."""
        numbers = {head: self.key_value_head(kind, layer, head) for head in heads}
        return [f"head {head}" + ("" if key is None else f" (key head {key})") for head, key in numbers.items()]

    def groups(self, kind: Kind, layers: Iterable[Any], heads: Sequence[Any]) -> list[tuple[int, int]]:
        """Return first and last position in `heads` of those that share keys; empty if these layers differ in that.

        >>> GroupedHeads({("decoder", 0): (8, 2)}).groups("decoder", [0], [1, 2, 5, 6, 7])
        [(0, 1), (2, 4)]
        """
        numbers = {tuple(self.key_value_head(kind, layer, head) for head in heads) for layer in layers}
        if len(numbers) != 1 or None in (of_layer := numbers.pop()):
            return []
        runs = [list(run) for _, run in groupby(range(len(of_layer)), key=lambda position: of_layer[position])]
        return [(run[0], run[-1]) for run in runs]

    def describe(self, kinds: Iterable[Kind]) -> str:
        """Return which heads share keys and values, in one line; empty if none of these kinds has any.

        >>> GroupedHeads({("decoder", 0): (8, 2), ("decoder", 1): (8, 2)}).describe(["decoder"])
        'heads 0-3 and 4-7 share keys and values'
        """
        numbers = dict.fromkeys(counts for (kind, _), counts in self.counts.items() if kind in set(kinds))
        if not numbers:
            return ""
        if len(numbers) > 1:
            return "heads share keys and values, in some layers more of them than in others"
        ((heads, shared),) = numbers
        if shared == 1:
            return "all heads of a layer share keys and values"
        edges = [-(-n * heads // shared) for n in range(shared + 1)]
        ranges = [f"{low}-{high - 1}" if high - low > 1 else str(low) for low, high in pairwise(edges)]
        if shared > _MOST_GROUPS:
            return f"heads {ranges[0]}, {ranges[1]}, … {ranges[-1]} share keys and values"
        return f"heads {', '.join(ranges[:-1])} and {ranges[-1]} share keys and values"

    def with_column(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        """Return a table of heads with a last column `key_value_head`, if any of its heads shares keys and values."""
        if not self.counts or not {"kind", "layer", "head"} <= columns.keys():
            return dict(columns)
        rows = zip(*(columns[name].tolist() for name in ("kind", "layer", "head")), strict=True)
        numbers = [self.key_value_head(*row) for row in rows]
        if all(number is None for number in numbers):
            return dict(columns)
        return _before_by(columns, np.array(numbers, dtype=object if None in numbers else np.int64))

    def with_key(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row of a head with a last key `key_value_head`, if its kind has heads that share keys."""
        if head.get("kind") not in {kind for kind, _ in self.counts} or not {"layer", "head"} <= head.keys():
            return dict(head)
        return _before_by(head, self.key_value_head(head["kind"], head["layer"], head["head"]))


def _before_by(fields: Mapping[str, Any], numbers: Any) -> dict[str, Any]:
    """Return the fields with `key_value_head` at the end; the unit `by` of norms stays the last one."""
    unit = {name: fields[name] for name in ("by",) if name in fields}
    return {**{name: value for name, value in fields.items() if name not in unit}, COLUMN: numbers, **unit}
