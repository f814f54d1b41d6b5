"""Options of `attncli compare`."""

from dataclasses import dataclass

from attncli.options import NormOptions, option
from attncli.vocabulary import DTYPES


@dataclass(frozen=True)
class CompareOptions(NormOptions):
    """How B differs from A, and what is compared."""

    dtype_b: str | None = option("Comparison", "precision of B, if it differs from that of A", choices=DTYPES[1:])
    revision_b: str | None = option("Comparison", "branch, tag or commit of B on the Hub", metavar="NAME")
    edit_b: list[str] | None = option(
        "Comparison",
        "edit of B such as 'zero 1.3' or 'block it->animal'; may be repeated; none for none (default: those of A)",
        metavar="EDIT",
    )
    against_text: list[str] | None = option(
        "Comparison", "text that B reads instead of --text; one for each --text", metavar="TEXT"
    )
    against_file: str | None = option(
        "Comparison", "texts that B reads instead of those of --file: another corpus, of any size", metavar="PATH"
    )
    against_dataset: str | None = option(
        "Comparison", "dataset of Hugging Face that B reads instead of --file or --dataset", metavar="NAME_OR_DIR"
    )
    against_split: str | None = option(
        "Comparison", "split that B reads, of --against-dataset or of --dataset", metavar="NAME"
    )
    views: int = option(
        "Comparison",
        "of a corpus, write the pages of the N texts that differ most, as attncli view does",
        metavar="N",
        default=0,
    )
    axes: str | None = option(
        "Comparison", "axes of A and B, if they are maps of other tools, such as batch,head,query,key", metavar="NAMES"
    )
    metric: list[str] | None = option(
        "Comparison", "compare only this metric; may be repeated (see attncli explain)", metavar="NAME"
    )
