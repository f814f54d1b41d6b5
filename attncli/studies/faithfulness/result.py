"""Whether methods name what the prediction needs: the results of all parts of the study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted
from attncli.data.results import frame_of
from attncli.data.tokens import Array, Kind
from attncli.errors import UsageError
from attncli.studies.faithfulness.curves.result import Curves
from attncli.studies.faithfulness.documents.result import Documents
from attncli.studies.faithfulness.protocol import PartResult

if TYPE_CHECKING:
    import pandas as pd

LIMITS = (
    "This says what the predictions of this model need in these texts, not why, and not which method is right "
    "elsewhere. A text without some of its tokens is unlike the texts that the model has learned from: a part of "
    "each change comes from that."
)
OF_SEVERAL = " Of several methods on the same texts, the best one looks better than it is."


@dataclass(frozen=True)
class ExplainedText:
    """The prediction of one text.

    text         number of the text
    prediction   the token, text or label
    probability  its probability; the number itself for a model that predicts one
    units        how many tokens, words or segments can be removed
    """

    text: int
    prediction: str
    probability: float
    units: int


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Faithfulness(Tabulated):
    """Whether the units that methods name are those that predictions need.

    explain   what was asked for, such as next or label:POSITIVE
    unit      what is removed: token, word or segment
    methods   the methods that are tested, without the baselines random and position
    removals  how units were removed
    baseline  what replaced tokens for the removal `mask`
    kinds     for each side a kind of attention whose keys are its tokens
    texts     the predictions
    parts     results by the name of the part; `curves` is always there
    """

    explain: str
    unit: str
    methods: tuple[str, ...]
    removals: tuple[str, ...]
    baseline: str
    kinds: tuple[Kind, ...]
    texts: tuple[ExplainedText, ...]
    parts: Mapping[str, PartResult]

    @property
    def curves(self) -> Curves:
        """Comprehensiveness, sufficiency, and the curves of deletion and insertion."""
        curves = self.parts["curves"]
        assert isinstance(curves, Curves)
        return curves

    @property
    def documents(self) -> Documents:
        """Which segments the predictions depend on; raise UsageError if texts were not divided into segments."""
        documents = self.parts.get("documents")
        if not isinstance(documents, Documents):
            raise UsageError("texts were not divided into segments: give --divide or --segments")
        return documents

    @property
    def summary(self) -> tuple[str, ...]:
        """Sentences that a reader can quote; the last one says what the numbers do not show."""
        limits = LIMITS + OF_SEVERAL if len(self.methods) > 1 else LIMITS
        return (*(sentence for part in self.parts.values() for sentence in part.sentences), limits)

    def table(self) -> dict[str, Array]:
        """Return a row per removal and method: means over texts with 95 % intervals."""
        return dict(self.curves.means)

    def to_frame(self) -> pd.DataFrame:
        """Return `table` as a pandas table."""
        return frame_of(self.table())

    def explained(self) -> dict[str, Array]:
        """Return a row per text: its prediction, the probability, and the number of units."""
        names = ("text", "prediction", "probability", "units")
        return {name: np.array([getattr(text, name) for text in self.texts]) for name in names}

    def about(self) -> dict[str, Any]:
        """Return what was explained and how, as plain values, for the document."""
        return {
            "explained": {"explain": self.explain, "unit": self.unit, "texts": len(self.texts)},
            "methods": list(self.methods),
            "removals": list(self.removals),
            "baseline": self.baseline,
        }

    def _lines(self) -> Iterable[str]:
        yield f"Faithfulness of {counted(len(self.methods), 'method')} on {counted(len(self.texts), 'text')}"
        yield self.summary[0]
