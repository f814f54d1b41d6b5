"""The option that says which prediction of a model is explained, for all analyses that explain one."""

from dataclasses import dataclass

from attncli.options import StudyOptions, option


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
