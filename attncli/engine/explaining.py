"""What studies that explain one prediction of a text have in common: segments that take the place of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from attncli.engine.segmented import SegmentedStudy
from attncli.engine.study import ResultT
from attncli.errors import UsageError
from attncli.options import SelectionOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from attncli.data import Spans
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request


@dataclass(frozen=True)
class ExplainingStudy(SegmentedStudy[ResultT]):
    """A study of one prediction, whose options have `divide` and `segments` beside `explain`.

    one_text  whether it explains one text only
    """

    one_text: ClassVar[bool] = True

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study with the spans of its file; raise UsageError if they are wrong or exclude `--divide`."""
        if from_saved_run:
            raise UsageError(
                f"{self.command} needs a Transformers model that predicts, a saved run has none and --module is none: "
                "give --model and --text"
            )
        if self.options.segments is not None and self.options.divide is not None:
            raise UsageError("--segments says what the segments are, as --divide does: give one of them")
        return super().adapt(selection, from_saved_run)

    def check(self, request: Request) -> None:
        """Check how the text is divided; raise UsageError if that is wrong."""
        from attncli.inputs.partitions import check_division

        if self.options.divide is not None:
            check_division(self.options.divide)
        if self.one_text and self.spans is not None and len(self.spans) != 1:
            raise UsageError(
                f"{self.command} reads one text, there are segments for {len(self.spans)}: give one object"
            )

    def spans_of_text(self, execution: Execution) -> Spans | None:
        """Return the spans of the segments of the one text; None without. Raise UsageError for several texts."""
        if len(execution.texts) != 1:
            given = f"{self.command} explains one text, got {len(execution.texts)} texts"
            raise UsageError(f"{given}: give one text{', or a file of texts' if self.sharded else ''}")
        return None if self.spans is None else self.spans[0]

    def spans_of_texts(self, execution: Execution) -> tuple[Spans, ...] | None:
        """Return the spans of the segments of each text; None without.

        Raise UsageError if they are for another number of texts.
        """
        if self.spans is not None and len(self.spans) != len(execution.texts):
            raise UsageError(
                f"there are segments for {len(self.spans)} texts and {len(execution.texts)} texts: give a list with an "
                "object for each"
            )
        return self.spans
