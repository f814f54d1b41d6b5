"""The part `documents`: which segments a prediction depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attncli.engine.checks import check_seeds
from attncli.engine.progress import Advance
from attncli.engine.report import Drawing
from attncli.errors import UsageError
from attncli.studies.faithfulness.documents.compute import measured
from attncli.studies.faithfulness.documents.result import Documents
from attncli.studies.faithfulness.documents.terminal import documents_details, documents_tables
from attncli.studies.faithfulness.protocol import Part
from attncli.studies.faithfulness.text import StudiedText

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncli.engine.request import Request

_FEWEST, _MOST_SUBSETS, _MOST_PICTURES = 16, 2**16, 6


class DocumentsPart(Part):
    """Which segments a prediction depends on, beside the attention that they get and their knock-outs."""

    name = "documents"

    @property
    def is_wanted(self) -> bool:
        """Whether the text is divided into segments."""
        return self.divided

    def check(self, request: Request) -> None:
        """Check the number of subsets."""
        check_seeds("--subsets", self.options.subsets, _FEWEST)
        if self.options.subsets > _MOST_SUBSETS:
            raise UsageError(f"expected --subsets to be at most {_MOST_SUBSETS}, got {self.options.subsets}")

    def measure(self, text: StudiedText, advance: Advance) -> Mapping[str, Any]:
        """Return the effects of the segments of one text."""
        return measured(text, self.options, advance)

    def result(self, measured: Sequence[Mapping[str, Any]]) -> Documents:
        """Return the segments of all texts."""
        return Documents.of(measured, self.options.removals)

    def drawings(self, result: Documents, captions: Mapping[str, Any]) -> Iterable[Drawing]:
        """Return a picture of the bars of each of the first texts."""
        # imported here: matplotlib takes long to load
        from attncli.studies.faithfulness.documents.figures import draw_documents

        several = len(result.texts) > 1
        for number in range(min(len(result.texts), _MOST_PICTURES)):
            name = f"faithfulness-documents{f'-{number}' if several else ''}"
            yield Drawing(name, partial(draw_documents, result, number, model=captions["model"]))

    def terminal(self, result: Documents) -> Iterable[RenderableType]:
        """Return a table of the segments of the first text."""
        return documents_tables(result)

    def details(self, result: Documents) -> Iterable[RenderableType]:
        """Return the tables of the other texts."""
        return documents_details(result)
