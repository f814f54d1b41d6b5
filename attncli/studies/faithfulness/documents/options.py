"""The option of the part `documents`."""

from dataclasses import dataclass

from attncli.options import StudyOptions, option
from attncli.vocabulary import SUBSETS


@dataclass(frozen=True)
class DocumentsOptions(StudyOptions):
    """How many subsets of the segments are left out."""

    subsets: int = option(
        "Faithfulness",
        "with --divide or --segments: subsets of the segments that are left out; all of them if there are no more, "
        "else random ones",
        metavar="N",
        default=SUBSETS,
    )
