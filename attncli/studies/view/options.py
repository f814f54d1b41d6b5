"""Options of `attncli view`."""

from dataclasses import dataclass

from attncli.options import StudyOptions, option
from attncli.vocabulary import MAX_PAGE


@dataclass(frozen=True)
class ViewOptions(StudyOptions):
    """What the page holds."""

    neurons: bool = option("Page", "add the query and key vectors that each weight is computed from", default=False)
    max_page: str = option(
        "Page",
        "largest size of the page; longer texts are shown with the strongest weights of each row and a pooled map",
        metavar="SIZE",
        default=MAX_PAGE,
    )
    rows: str | None = option(
        "Page", "show only these queries: 8000-8400 (from 0), a word or a segment (generated)", metavar="TOKENS"
    )
    keys: str | None = option("Page", "show only these keys, named as rows are", metavar="TOKENS")
    open: bool = option("Page", "open the page in the browser", default=False)

    @property
    def needs_vectors(self) -> bool:
        return self.neurons
