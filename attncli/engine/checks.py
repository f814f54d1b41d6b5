"""Checks of single options: choices, numbers, and True or False."""

from collections.abc import Mapping, Sequence
from typing import Any

from attncli.errors import UsageError, did_you_mean

MOST = 2**63 - 1
"""Largest number of an option: libraries cannot count further."""
NO_DISTRIBUTION = (
    "the largest weight over heads is no distribution and cannot be measured: "
    "use --aggregate mean, or measure each head"
)


def check_at_least(options: Mapping[str, Any], name: str, least: int, *, optional: bool = True) -> None:
    """Raise UsageError unless an option is a number from `least` up, or left out; or None where that is allowed."""
    value = options.get(name)
    if value is None and (optional or name not in options):
        return
    label = f"--{name.replace('_', '-')}"
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"expected {label} to be a number from {least} up, got {value!r:.60}")
    if value > MOST:
        raise UsageError(f"expected {label} to be at most {MOST}, got {value!r:.60}")


def check_is_bool(options: Mapping[str, Any], name: str) -> None:
    """Raise UsageError unless an option is True or False, or left out."""
    value = options.get(name, False)
    if type(value).__name__ not in ("bool", "bool_"):  # of Python or NumPy
        raise UsageError(f"expected {name} to be True or False, got {value!r:.60}")


def check_least_rows(value: Any) -> None:
    """Raise UsageError unless `min_rows` is None, a number of rows from 1 up, or a share of them below 1."""
    if value is None:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (0 < value < 1 or (1 <= value <= MOST and value == int(value))):
        raise UsageError(
            "expected --min-rows to be a number from 1 up, such as 20, or a share below 1, such as 0.1, "
            f"got {value!r:.60}"
        )


def check_choice(options: Mapping[str, Any], name: str, values: Sequence[str]) -> None:
    """Raise UsageError unless an option has one of these values or is left out."""
    value = options.get(name, values[0])
    if value not in values:
        raise UsageError(f"unknown --{name.replace('_', '-')} '{str(value)[:60]}': {did_you_mean(str(value), values)}")


def check_share(options: Mapping[str, Any], name: str) -> None:
    """Raise UsageError unless an option is above 0 and at most 1, or left out."""
    value = options.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 < value <= 1):
        raise UsageError(f"expected --{name.replace('_', '-')} to be above 0 and at most 1, got {value!r:.60}")


def check_seeds(option: str, seeds: int, least: int) -> None:
    """Raise UsageError unless the number of passes or texts, one for each seed, is `least` or more."""
    if seeds < least:
        raise UsageError(f"expected {option} from {least} up, got {seeds}")
    if seeds > MOST:
        raise UsageError(f"expected {option} to be at most {MOST}, got {seeds}")
