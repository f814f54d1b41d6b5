"""Options of `attncli patterns`."""

from dataclasses import dataclass
from typing import Any

from attncli.options import option
from attncli.vocabulary import CLASS_MARGIN, CLASS_REACH, CLASS_THRESHOLDS, SHUFFLE_SEEDS


def _threshold(name: str, help: str) -> Any:
    return option("Classes", help, metavar="SHARE", default=CLASS_THRESHOLDS[name])


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of the classes of heads.

    vertical  least `sink`
    diagonal  least `diagonal`, at offsets of at most `reach` tokens
    local     least `local_mass`
    sparse    `entropy_normalized` must be below it
    uniform   `entropy_normalized` must be above it
    block     least `segment_mass` beyond that of uniform weights
    margin    least distance of `sink`, `diagonal` and `local_mass` from those of uniform weights on the same texts
    """

    vertical: float = _threshold("vertical", "least sink")
    diagonal: float = _threshold("diagonal", "least diagonal")
    reach: int = option("Classes", "largest offset of a diagonal, in tokens", metavar="N", default=CLASS_REACH)
    local: float = _threshold("local", "least weight within two tokens")
    sparse: float = _threshold("sparse", "largest entropy_normalized")
    uniform: float = _threshold("uniform", "least entropy_normalized")
    block: float = _threshold("block", "least weight in the own segment, beyond that of uniform weights")
    margin: float = option(
        "Classes",
        "how much more than uniform weights vertical, diagonal and local heads must have",
        metavar="SHARE",
        default=CLASS_MARGIN,
    )


@dataclass(frozen=True)
class PatternsOptions(Thresholds):
    """Thresholds of the classes, and the number of passes over shuffled tokens for that baseline."""

    shuffles: int = option(
        "Classes",
        "passes over shuffled tokens as a baseline, with the seeds 0, 1, …",
        metavar="N",
        default=SHUFFLE_SEEDS,
        former=("--shuffle-seeds",),
    )
