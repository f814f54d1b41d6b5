"""Leave out layers that a request cannot read: whose rows or keys are not tokens, or that have no norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from attncli.data import Kind, Selection, has_scale
from attncli.data.selection import format_ranges
from attncli.engine.request import Request
from attncli.errors import ModelError, UsageError

if TYPE_CHECKING:  # a saved run needs no torch
    from attncli.capturing import CapturePlan

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


def with_norms(heads: Selection, plan: CapturePlan, model: str) -> tuple[Selection, tuple[str, ...]]:
    """Return the heads that have value-weighted norms, by kind and layer, and notes on layers that are left out.

    Raise ModelError if no layer has norms.
    """
    no_norms = {(site.kind, site.layer): site.no_norms for site in plan.sites if site.no_norms}
    kept = {layer: numbers for layer, numbers in heads.items() if layer not in no_norms}
    if not kept:
        kind, layer = next(iter(heads))
        raise ModelError(
            f"{model} has no value-weighted norms here ({kind} layer {layer}: {no_norms[kind, layer]}): "
            "use --by weight (attncli explain value-weighted-norms)"
        )
    left_out: dict[tuple[Kind, str], list[int]] = {}
    for (kind, layer), reason in no_norms.items():
        if (kind, layer) in heads:
            left_out.setdefault((kind, reason), []).append(layer)
    notes = (
        f"{kind} layers {format_ranges(layers)} are left out, as they have no norms: {reason}"
        for (kind, reason), layers in left_out.items()
    )
    return kept, tuple(notes)
