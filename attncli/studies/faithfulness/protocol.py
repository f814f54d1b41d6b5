"""Parts of the study: what is measured on each text, and what is made of it.

A part is a folder: `part.py` with its `Part`, `result.py` with its `PartResult`, and `compute.py`, `figures.py` and
`terminal.py` as it needs them. It is one line in `parts.PARTS`; its option group, if it has one, is a base of
`FaithfulnessOptions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from attncli.data import Array
from attncli.engine.report import Drawing
from attncli.studies.faithfulness.options import FaithfulnessOptions

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncli.engine.execution import Execution
    from attncli.engine.progress import Advance
    from attncli.engine.request import Request
    from attncli.studies.faithfulness.text import StudiedText

Columns = Mapping[str, Array]


class PartResult(ABC):
    """What a part measured over all texts: frozen, NumPy only."""

    @property
    def notes(self) -> Sequence[str]:
        """Notes for the reader."""
        return ()

    @property
    def sentences(self) -> Sequence[str]:
        """Sentences that a reader can quote, for the terminal and the document."""
        return ()

    @abstractmethod
    def tables(self) -> Mapping[str, Columns]:
        """Return the tables by file name."""

    @abstractmethod
    def document(self) -> Mapping[str, Any]:
        """Return what the document says of the part, as plain values."""


@dataclass(frozen=True)
class Part(ABC):
    """One part of the study with its options.

    name     its key in the document and in `Faithfulness.parts`
    divided  whether texts are divided into segments
    arrays   entries of what `measure` returns that are numbers of the same shape for all texts
    """

    options: FaithfulnessOptions
    divided: bool = False
    name: ClassVar[str]
    arrays: ClassVar[tuple[str, ...]] = ()

    @property
    def is_wanted(self) -> bool:
        """Whether the options ask for the part."""
        return True

    @property
    def needs_vectors(self) -> bool:
        """Whether the part replaces vectors of tokens, whatever the methods and removals are."""
        return False

    def check(self, request: Request) -> None:
        """Check the options before any heavy work, and raise UsageError if they are wrong."""
        return

    def begin(self, execution: Execution) -> Self:
        """Return the part ready to measure, with what all texts share; raise errors before any heavy work."""
        return self

    @abstractmethod
    def measure(self, text: StudiedText, advance: Advance) -> Mapping[str, Any]:
        """Return what is measured on one text, as values of JSON or arrays: an interrupted run continues with them.

        They arrive in `result` as values of JSON: arrays as lists, NaN as None; of a corpus, `arrays` are arrays.

        advance  receives the shares of the work that are done; they add up to 1
        """

    @abstractmethod
    def result(self, measured: Sequence[Mapping[str, Any]]) -> PartResult:
        """Return the result of the measures of all texts, in the order of the texts; `text` is the number of a text."""

    def drawings(self, result: Any, captions: Mapping[str, Any]) -> Iterable[Drawing]:
        """Return the pictures of a result of this part.

        captions  the arguments `model` and `note` of functions that draw
        """
        return ()

    def terminal(self, result: Any) -> Iterable[RenderableType]:
        """Return what is printed on a terminal: one or two tables that fit into 80 columns."""
        return ()

    def details(self, result: Any) -> Iterable[RenderableType]:
        """Return further tables, which are printed with --verbose only."""
        return ()
