"""Options of `attncli importance`."""

from dataclasses import dataclass
from typing import Literal

from attncli.options import StudyOptions, option
from attncli.vocabulary import IMPORTANCE_METHODS, IMPORTANCE_UNITS

ImportanceMethod = Literal["zero", "mean", "gradient"]
ImportanceUnit = Literal["head", "group", "layer"]


@dataclass(frozen=True)
class ImportanceOptions(StudyOptions):
    """How heads are removed, which heads are removed together, and what is shown."""

    method: str = option(
        "Importance",
        "zero: the output of a head becomes 0; mean: its mean over all tokens of the texts; gradient: |dL/dgate|, not "
        "an effect but fast",
        choices=IMPORTANCE_METHODS,
        default=IMPORTANCE_METHODS[0],
    )
    unit: str = option(
        "Importance",
        "what is removed together: a head, the heads that share keys and values, or all heads of a layer",
        choices=IMPORTANCE_UNITS,
        default=IMPORTANCE_UNITS[0],
    )
    tokens: str | None = option(
        "Importance",
        "only the prediction of these tokens counts, and in a masked model they are masked, all of them: "
        "a word, a range (14-21), generated, assistant, … (see explain token-names)",
        metavar="TOKENS",
    )
    seed: int = option("Importance", "seed of the tokens that are masked for a masked model", metavar="N", default=0)
    top: int = option("Importance", "rows of the table on the terminal", metavar="N", default=10)

    @property
    def reads_head(self) -> bool:
        """Whether the study needs the output of the head of the checkpoint: effects are measured on it."""
        return True
