"""How many heads are removed: a number, a share, or until the loss has risen."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncli.errors import UsageError, did_you_mean
from attncli.studies.prune.options import PruneOptions
from attncli.vocabulary import PRUNED_FORMS

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from attncli.data import Array

_RISE = re.compile(r"\+?(\d+\.?\d*|\.\d+)\s*(%?)")


@dataclass(frozen=True)
class Rise:
    """How much the loss may rise: a share of the loss if `relative`, else nats per token."""

    amount: float
    relative: bool

    def of(self, loss: float) -> float:
        """Return the rise in nats per token."""
        return self.amount * loss if self.relative else self.amount


def parse_rise(given: str) -> Rise:
    """Return what `--until-loss` says; raise UsageError if it is no rise.

    >>> parse_rise("+2%")
    Rise(amount=0.02, relative=True)
    >>> parse_rise("0.1")
    Rise(amount=0.1, relative=False)
    """
    match = _RISE.fullmatch(str(given).strip())
    if match is None:
        raise UsageError(f"expected --until-loss to be a rise such as +2% or 0.1 (nats per token), got '{given:.60}'")
    return Rise(float(match[1]) / (100 if match[2] else 1), bool(match[2]))


def check_stop(options: PruneOptions) -> None:
    """Raise UsageError if the options that say where to stop are wrong or exclude each other."""
    given = [name for name in ("heads", "share", "until_loss") if getattr(options, name) is not None]
    if len(given) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{names} both say where to stop: give one of them")
    if options.heads is not None and (isinstance(options.heads, bool) or options.heads < 1):
        raise UsageError(f"expected --heads to be a number from 1 up, got {options.heads!r:.60}")
    if options.share is not None and not 0 < options.share < 1:
        raise UsageError(f"expected --share to be between 0 and 1, such as 0.3, got {options.share!r:.60}")
    if options.until_loss is not None:
        parse_rise(options.until_loss)
    if options.form not in PRUNED_FORMS:
        raise UsageError(f"unknown --form '{str(options.form)[:60]}': {did_you_mean(options.form, PRUNED_FORMS)}")
    if options.save is not None and not given:
        raise UsageError("--save needs to know how many heads to remove: give --share, --heads or --until-loss")
    if options.save is None and options.form != PRUNED_FORMS[0]:
        raise UsageError("--form says how --save writes the model, which is not given")


def fixed_stop(options: PruneOptions, units: int) -> int | None:
    """Return how many of `units` are removed; None without a number or share. Raise UsageError if all would be."""
    if options.heads is not None:
        if options.heads >= units:
            raise UsageError(f"--heads {options.heads} would leave nothing of {units}: give a number below {units}")
        return options.heads
    if options.share is None:
        return None
    return min(units - 1, max(1, round(options.share * units)))


def stop_by_loss(given: str, rises: Array, loss: float, first: str) -> int:
    """Return the largest number of removed units up to which no rise exceeds what is given.

    rises  [count + 1] the rise of the loss after 0, 1, … removals, in nats per token
    loss   the loss without any removal
    first  name of the unit that is removed first
    Raise UsageError if already one removal exceeds it, or none does.
    """
    allowed = parse_rise(given).of(loss)
    above = [number for number, rise in enumerate(rises.tolist()) if number and (rise > allowed or math.isnan(rise))]
    if not above:
        raise UsageError(
            f"--until-loss {given} is not reached: the loss rises by {_rise(float(rises.max()), loss)} at most, even "
            "without all heads; stop with --share or --heads"
        )
    if above[0] == 1:
        raise UsageError(
            f"--until-loss {given} removes nothing: without {first} the loss rises by {_rise(float(rises[1]), loss)}; "
            "allow more, or stop with --share or --heads"
        )
    return above[0] - 1


def _rise(rise: float, loss: float) -> str:
    return f"{rise:.3g} nat/token ({rise / loss:.1%})"
