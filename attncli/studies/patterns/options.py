"""Options of `attncli patterns`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import CLASS_REACH, CLASS_THRESHOLDS, SHUFFLE_SEEDS


def _threshold(name: str, help: str) -> Option:
    return Option("Classes", f"--{name}", metavar="SHARE", help=f"{help} (default: {CLASS_THRESHOLDS[name]})")


def _count(name: str, help: str, default: int) -> Option:
    return Option("Classes", f"--{name}", metavar="N", help=f"{help} (default: {default})")


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of the classes of heads.

    vertical  least `sink`
    diagonal  least `diagonal`, at offsets of at most `reach` tokens
    local     least `local_mass`
    sparse    `entropy_normalized` must be below it
    uniform   `entropy_normalized` must be above it
    block     least `segment_mass` beyond that of uniform weights
    """

    vertical: Annotated[float, _threshold("vertical", "least sink")] = CLASS_THRESHOLDS["vertical"]
    diagonal: Annotated[float, _threshold("diagonal", "least diagonal")] = CLASS_THRESHOLDS["diagonal"]
    reach: Annotated[int, _count("reach", "largest offset of a diagonal, in tokens", CLASS_REACH)] = CLASS_REACH
    local: Annotated[float, _threshold("local", "least weight within two tokens")] = CLASS_THRESHOLDS["local"]
    sparse: Annotated[float, _threshold("sparse", "largest entropy_normalized")] = CLASS_THRESHOLDS["sparse"]
    uniform: Annotated[float, _threshold("uniform", "least entropy_normalized")] = CLASS_THRESHOLDS["uniform"]
    block: Annotated[float, _threshold("block", "least weight in the own segment, beyond that of uniform weights")] = (
        CLASS_THRESHOLDS["block"]
    )


@dataclass(frozen=True)
class PatternsOptions(Thresholds):
    """Thresholds of the classes, and the number of passes over shuffled tokens for that baseline."""

    shuffle_seeds: Annotated[
        int, _count("shuffle-seeds", "passes over shuffled tokens as a baseline", SHUFFLE_SEEDS)
    ] = SHUFFLE_SEEDS
