"""What studies that take a file of segments have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.study import ResultT, Study
from attncli.options import SelectionOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from attncli.data import Spans


@dataclass(frozen=True)
class SegmentedStudy(Study[ResultT]):
    """A study whose option `segments` names a file of segments.

    spans  the spans of the segments, one mapping for each text; read from the file on the command line
    """

    spans: tuple[Spans, ...] | None = None

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study with the spans of its file; raise UsageError if they are wrong."""
        if self.options.segments is None:
            return self
        from attncli.inputs.partitions import read_spans

        return replace(self, spans=read_spans(self.options.segments))

    def resolved(self) -> dict[str, Any]:
        """Return the options with the contents of the file of segments."""
        if self.spans is None:
            return super().resolved()
        from attncli.inputs.partitions import plain_spans

        return {**super().resolved(), "segments": plain_spans(self.spans)}
