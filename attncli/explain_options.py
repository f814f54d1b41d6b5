"""The options that say which prediction of a model is explained, and what of the text is compared."""

from dataclasses import dataclass

from attncli.options import StudyOptions, option
from attncli.vocabulary import DIVISIONS


@dataclass(frozen=True)
class ExplainOptions(StudyOptions):
    """Which prediction is explained."""

    explain: str = option(
        "Explain",
        "next: what the model predicts; word:W: W in its place; answer:TEXT after the text; generated; mask:2; "
        "label:NAME; labels; zero-shot:LABEL; similarity:TEXT (see attncli explain predictions)",
        metavar="WHAT",
        default="next",
    )

    @property
    def reads_head(self) -> bool:
        """Whether the head of the checkpoint predicts; a similarity is that of hidden states, which have none."""
        return self.explain.partition(":")[0].strip() != "similarity"


@dataclass(frozen=True)
class ExplainPartsOptions(ExplainOptions):
    """Which prediction is explained, and whether whole segments of the text are compared."""

    divide: str | None = option(
        "Explain",
        "whole segments instead of single tokens: segment, paragraph, line, sentence or auto, as in attncli segments",
        choices=DIVISIONS,
    )
    segments: str | None = option(
        "Explain", "JSON file of segments (see attncli explain segments-file)", metavar="FILE"
    )
