"""Options of `attncli prune`."""

from dataclasses import dataclass
from typing import Literal

from attncli.options import StudyOptions, option
from attncli.vocabulary import IMPORTANCE_METHODS, PRUNED_FORMS, PRUNING_UNITS, RANDOM_ORDERS

PruningUnit = Literal["head", "group"]
PrunedForm = Literal["zeroed", "smaller", "irregular"]


@dataclass(frozen=True)
class PruneOptions(StudyOptions):
    """How heads are ranked, how many are removed, and what is saved."""

    unit: str = option(
        "Pruning",
        "what is removed at once: a head, or the heads that share keys and values",
        choices=PRUNING_UNITS,
        default=PRUNING_UNITS[0],
    )
    importance: str | None = option(
        "Pruning", "importance.json or .csv of attncli importance, instead of measuring here", metavar="FILE"
    )
    rank_file: str | None = option(
        "Pruning",
        "texts that rank heads, like --file; without it one half of the texts ranks, the other gives the curve",
        metavar="PATH",
    )
    method: str = option(
        "Pruning",
        "how a head is removed while it is ranked, as in attncli importance: zero, mean, or gradient (fast); what the "
        "curve and --save remove is always zero",
        choices=IMPORTANCE_METHODS,
        default=IMPORTANCE_METHODS[0],
    )
    steps: int = option(
        "Pruning", "rank N times: the heads that are left again after each 1/N of all", metavar="N", default=1
    )
    heads: int | None = option("Pruning", "remove N heads (or groups)", metavar="N")
    share: float | None = option("Pruning", "remove this share of the heads, such as 0.3", metavar="SHARE")
    until_loss: str | None = option(
        "Pruning",
        "remove heads while the loss on the ranking texts rises by at most this: +2%, or 0.1 (nats per token)",
        metavar="RISE",
    )
    save: str | None = option("Pruning", "folder for the model without the removed heads", metavar="DIR")
    form: str = option(
        "Pruning",
        "zeroed: same shapes, zeros in W_O; smaller: equally many key heads out of every layer; irregular: any heads, "
        "loaded by attncli",
        choices=PRUNED_FORMS,
        default=PRUNED_FORMS[0],
    )
    orders: int = option(
        "Pruning", "number of random orders that the curve is compared with", metavar="N", default=RANDOM_ORDERS
    )
    seed: int = option("Pruning", "seed of the halves, the random orders and the masked tokens", metavar="N", default=0)

    @property
    def reads_head(self) -> bool:
        """Whether the study needs the output of the head of the checkpoint: effects are measured on it."""
        return True
