"""Leave out layers whose rows or keys are not tokens, where a request needs tokens."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from attncli.data import Kind, has_scale
from attncli.data.selection import format_ranges
from attncli.engine.request import Request
from attncli.errors import UsageError

Numbers = TypeVar("Numbers", bound=Sequence[int])


def with_token_axes(
    heads: Mapping[tuple[Kind, int], Numbers], request: Request
) -> tuple[dict[tuple[Kind, int], Numbers], tuple[str, ...]]:
    """Return the heads that a request can read, by kind and layer, and notes on layers that are left out.

    Raise UsageError if none is left.
    """
    left_out: dict[Kind, list[int]] = {}
    for kind, layer in heads if request.needs_tokens else ():
        if has_scale(kind):
            left_out.setdefault(kind, []).append(layer)
    kept = {key: numbers for key, numbers in heads.items() if key[0] not in left_out}
    names = ", ".join(f"{kind} layers {format_ranges(sorted(layers))}" for kind, layers in left_out.items())
    reason = f"their rows or keys stand for several tokens or for none, and {request.needs_tokens}"
    if left_out and not kept:
        raise UsageError(f"nothing is left of {names[:200]}: {reason}; choose other layers")
    return kept, (f"{names} are left out: {reason}",) if left_out else ()
