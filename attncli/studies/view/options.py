"""Options of `attncli view`."""

from dataclasses import dataclass

from attncli.explain_options import ExplainOptions
from attncli.options import option
from attncli.vocabulary import MAX_PAGE


@dataclass(frozen=True)
class ViewOptions(ExplainOptions):
    """What the page holds; `explain` goes with `attribute`."""

    attribute: str | None = option(
        "Page",
        "add how much each token counts for a prediction, by these methods: occlusion,attention-x-gradient (see "
        "attncli explain attribution-methods)",
        metavar="NAMES",
    )

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
    def reads_head(self) -> bool:
        """Whether the head of the checkpoint makes the prediction that is explained."""
        return self.attribute is not None and super().reads_head

    @property
    def needs_vectors(self) -> bool:
        return self.neurons
