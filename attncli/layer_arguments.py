"""What the interpretable layers for torch and Keras share: checks of their arguments, and their messages."""

from __future__ import annotations

from numbers import Integral, Real

from attncli.errors import UsageError, did_you_mean

SINGLE_KEY_WARNING = (
    "{layer} reads one key only: every attention weight is 1 and says nothing. For tabular data make each feature a "
    "token, [batch, feature, embed_dim], instead of all features one token: see docs/how-to/tabular.md"
)
NOT_FINITE = "the attention scores of the last call are not finite: its inputs, or the layer, have NaN or inf"
_MASK_SHAPES = "[batch, key], [batch, query, key] or [batch, head, query, key]"


def check_size(name: str, value: object) -> int:
    """Return a size; raise UsageError if it is not an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise UsageError(f"expected {name} to be an integer of at least 1, got {value!r}")
    return int(value)


def check_optional_size(name: str, value: object) -> int | None:
    """Return a size or None; raise UsageError if it is neither."""
    return None if value is None else check_size(name, value)


def check_rate(value: object) -> float:
    """Return the share of weights that training drops; raise UsageError if it is not a number from 0 to below 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise UsageError(f"expected dropout_rate to be a number from 0 to below 1, got {value!r}")
    return float(value)


def check_store(value: object, choices: tuple[str, ...]) -> str | None:
    """Return what the layer stores of a call; raise UsageError if it is neither None nor one of the choices."""
    if value is not None and value not in choices:
        raise UsageError(f"unknown store {value!r}: {did_you_mean(str(value), [*choices, 'None'])}")
    return None if value is None else str(value)


def check_inputs(query: tuple[int | None, ...], key: tuple[int | None, ...], value: tuple[int | None, ...]) -> None:
    """Raise UsageError if the shapes of the inputs do not fit together; None is a length that is not known yet."""
    for name, shape in (("query", query), ("key", key), ("value", value)):
        if len(shape) != 3:
            hint = ": add an axis for the batch" if len(shape) == 2 else ""
            raise UsageError(f"expected the {name} as [batch, token, feature], got {_listed(shape)}{hint}")
        if _differ(shape[0], query[0]):
            raise UsageError(f"the {name} has a batch of {shape[0]}, the query one of {query[0]}")
        if shape[1] == 0:
            raise UsageError(f"the {name} has no tokens: expected at least one")
    if _differ(key[1], value[1]):
        raise UsageError(f"expected a value for each key, got {key[1]} keys and {value[1]} values")


def check_width(name: str, got: int | None, expected: int, argument: str) -> None:
    """Raise UsageError if the last axis of an input is not as wide as the layer was made for."""
    if _differ(got, expected):
        raise UsageError(f"expected the {name} with {expected} features ({argument}), got {got}")


def mask_axes(
    mask: tuple[int | None, ...], batch: int | None, heads: int, queries: int | None, keys: int | None
) -> tuple[int, ...]:
    """Return where a mask needs new axes to have those of the weights; raise UsageError if it does not fit.

    >>> mask_axes((2, 5), 2, 4, 3, 5), mask_axes((2, 3, 5), 2, 4, 3, 5)
    ((1, 1), (1,))
    """
    wanted = {2: (batch, keys), 3: (batch, queries, keys), 4: (batch, heads, queries, keys)}.get(len(mask))
    if wanted is None:
        raise UsageError(f"expected a mask as {_MASK_SHAPES}, got {_listed(mask)}")
    one_for_all = len(mask) - 2 if len(mask) > 2 else 1
    fits = [
        not _differ(size, expected) or (axis < one_for_all and size == 1)
        for axis, (size, expected) in enumerate(zip(mask, wanted, strict=True))
    ]
    if not all(fits):
        hint = (
            ": mask[None] is the same for all entries of the batch"
            if len(mask) == 2 and mask == (queries, keys)
            else ""
        )
        raise UsageError(f"expected a mask of {_listed(wanted)} ({_MASK_SHAPES}), got {_listed(mask)}{hint}")
    return {2: (1, 1), 3: (1,), 4: ()}[len(mask)]


def mask_type_message(got: str) -> str:
    """Return the error for a mask that is not bool."""
    return (
        f"expected a bool mask, in which True means attend, got {got}: "
        "use mask == 1 for zeros and ones, mask == 0 for an additive mask of zeros and -inf"
    )


def _differ(size: int | None, expected: int | None) -> bool:
    return size is not None and expected is not None and size != expected


def _listed(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
