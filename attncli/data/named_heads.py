"""Heads as users name them: `3.1`, `4` (a whole layer), `cross:3.1`."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from typing import SupportsIndex

from attncli.data.selection import Available, Choice, choose, resolve
from attncli.data.tokens import Kind
from attncli.errors import UsageError

HeadsOption = int | str | Sequence[int | str] | None
"""Heads as a user gives them: `"3.1"`, `4` (a whole layer), `"4-8"`, `"cross:3.1,4"`, a list of these; None is all."""
_PART = re.compile(r"(?:(?P<kind>[a-z][\w-]*):)?(?P<layers>-?\d+(?:--?\d+)?|all)(?:\.(?P<heads>-?\d+(?:--?\d+)?))?")


def parse_heads(heads: HeadsOption) -> tuple[str, ...]:
    """Return heads as a user gives them, part by part; empty for all heads.

    >>> parse_heads("3.1, 4"), parse_heads([4, "cross:3.1"]), parse_heads(None)
    (('3.1', '4'), ('4', 'cross:3.1'), ())
    """
    if heads is None:
        return ()
    if isinstance(heads, float) or not isinstance(heads, SupportsIndex | str | Iterable):
        advice = f": write it as text, '{heads}'" if isinstance(heads, float) else ""
        raise UsageError(f"expected heads like '3.1', '4' (a layer) or a list, got {heads!r:.60}{advice}")
    if isinstance(heads, SupportsIndex):
        heads = str(operator.index(heads))
    parts = heads.split(",") if isinstance(heads, str) else [part for item in heads for part in parse_heads(item)]
    parts = [part.strip() for part in parts]
    for part in parts:
        if _PART.fullmatch(part) is None:
            raise UsageError(f"expected heads like 3.1, 4 (a layer), 4-8 or 3.0-2, counted from 0, got {part!r:.60}")
    return () if parts == ["all"] else tuple(parts)


def choice_of(part: str, kind: Kind | None) -> Choice:
    """Return the selection that one part names; `kind` is that of parts that name none."""
    match = _PART.fullmatch(part)
    assert match is not None  # `parse_heads` has checked it
    kinds = match["kind"] or kind
    return choose(kinds, match["layers"], match["heads"])


def resolve_heads(
    parts: Iterable[str], available: Available, where: str, kind: Kind | None = None
) -> dict[tuple[Kind, int], tuple[int, ...]]:
    """Return the heads of a model that parts such as `3.1` name, by kind and layer; all heads without parts.

    available  the heads of the model, by kind and layer
    where      name of the model
    kind       kind of attention of parts that name none; None for each kind that has these heads
    Raise UsageError if a head does not exist.
    """
    selected: dict[tuple[Kind, int], set[int]] = {}
    for part in tuple(parts) or ("all",):
        for layer, heads in resolve(choice_of(part, kind), available, where).items():
            selected.setdefault(layer, set()).update(heads)
    return {layer: tuple(sorted(heads)) for layer, heads in selected.items()}
