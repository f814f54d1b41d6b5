"""Options of `attncli faithfulness`."""

from dataclasses import dataclass
from typing import Literal

from attncli.options import option
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.faithfulness.agreement.options import AgreementOptions
from attncli.studies.faithfulness.documents.options import DocumentsOptions
from attncli.studies.faithfulness.needed.options import NeededOptions
from attncli.studies.faithfulness.rationales.options import RationaleOptions
from attncli.studies.faithfulness.robustness.options import RobustnessOptions
from attncli.vocabulary import ATTRIBUTION_METHODS, DRAWS, FAITHFULNESS_METHODS, REMOVALS

RemovalName = Literal["mask", "delete", "resample"]


@dataclass(frozen=True)
class FaithfulnessOptions(
    AttributeOptions, AgreementOptions, RationaleOptions, RobustnessOptions, NeededOptions, DocumentsOptions
):
    """Which methods are tested, and how tokens are removed."""

    method: str = option(
        "Faithfulness",
        f"methods to test, with commas: {', '.join(ATTRIBUTION_METHODS)} (default: {', '.join(FAITHFULNESS_METHODS)})",
        metavar="NAMES",
        default=",".join(FAITHFULNESS_METHODS),
    )
    removal: str = option(
        "Faithfulness",
        "how tokens are removed, with commas: mask: their vectors become the --baseline; delete: the text is read "
        "without them; resample: tokens of other texts take their place (default: mask, delete)",
        metavar="NAMES",
        default=",".join(REMOVALS[:2]),
    )
    draws: int = option(
        "Faithfulness", "random orders, and random tokens for resample, that are averaged", metavar="N", default=DRAWS
    )
    seed: int = option("Faithfulness", "seed of all that is random", metavar="N", default=0)

    @property
    def removals(self) -> tuple[str, ...]:
        """The names of the removals without repetition."""
        return tuple(dict.fromkeys(name.strip() for name in self.removal.split(",")))
