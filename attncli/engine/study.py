"""Base classes of all analyses: a study has options, consumes attention and reports its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar

from attncli.engine.report import Formats, Report
from attncli.options import SelectionOptions, typed
from attncli.vocabulary import CORPUS_TEXTS

if TYPE_CHECKING:  # the help of the command line needs no torch
    from rich.console import RenderableType

    from attncli.data import Text
    from attncli.data.part_states import PartState
    from attncli.engine.checkpoints import Checkpoint
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution, Source
    from attncli.engine.request import Request, RunOptions
    from attncli.stream import Sink

ResultT = TypeVar("ResultT")
SinkT = TypeVar("SinkT", bound="Sink")


@dataclass(frozen=True)
class Study(ABC, Generic[ResultT]):
    """One analysis with its options: `HeadsStudy(HeadsOptions(clusters=4))`.

    A subclass sets its name and its option group, computes (`run`) and returns what is written (`report`). It writes
    nothing, shows no progress, and does not depend on the source of attention, a forward pass or a saved run:
    `Execution` and `publish` take care of these.

    name     the command, the document `<name>.json` and the folder `outputs/<name>`
    group    the dataclass of its options
    formats  which file formats it writes
    prints   output to a pipe: the first table as CSV, or the path of every drawing
    reads    whether it reads the user's texts
    any_axes whether it takes layers whose rows or keys stand for several tokens or for none
    uncompiled  its passes that `--compile` leaves as they are, such as "passes with gradients"
    sharded  whether it can be computed of a corpus, shard by shard: it then has `shard` and `merge`
    shard_texts  number of texts of a shard: fewer if a text takes long, as an interruption loses a shard
    corpus_from  number of texts that are read at once, if a file has no more: the texts of a larger one are a corpus
    formats_of_corpus  which of the formats it writes of a corpus; None for all
    help     Markdown with a section `# NAME` for each page of `attncli explain`; our own studies have a file help.md
    """

    options: Any

    name: ClassVar[str]
    group: ClassVar[type]
    formats: ClassVar[Formats] = Formats()
    prints: ClassVar[Literal["table", "paths"]] = "table"
    reads: ClassVar[bool] = True
    any_axes: ClassVar[bool] = False
    uncompiled: ClassVar[str] = ""
    sharded: ClassVar[bool] = False
    shard_texts: ClassVar[int] = 512
    corpus_from: ClassVar[int] = CORPUS_TEXTS
    formats_of_corpus: ClassVar[Formats | None] = None
    help: ClassVar[str] = ""

    @property
    def command(self) -> str:
        """The command that runs the study, and its folder: its name, unless several studies share a command."""
        return self.name

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study for what the command line selects.

        Raise UsageError if its options do not go with the selection or with a saved run.
        """
        return self

    def of_checkpoint(self, checkpoint: Checkpoint) -> Self:
        """Return the study for one checkpoint of a pattern of models; the same if nothing in it depends on that."""
        return self

    def run_options(self) -> RunOptions:
        """Return the options of the forward pass that the study needs, in addition to the selection."""
        return {}

    def resolved(self) -> dict[str, Any]:
        """Return the options that change the result, as plain values; they enter the digest."""
        return asdict(self.options)

    def typed(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by their names on the command line."""
        return typed(self.options)

    def resolved_with_formats(self, formats: tuple[str, ...]) -> dict[str, Any]:
        """Return `resolved` with the file formats, which enter the digest too."""
        return {**self.resolved(), "format": formats}

    def check(self, request: Request) -> None:
        """Check the options and the request before any heavy work, and raise UsageError if they are wrong."""
        return

    @abstractmethod
    def run(self, execution: Execution) -> tuple[Collected, ResultT]:
        """Return the run that was read, and the result."""

    def needs_texts(self) -> str:
        """Return the option that needs all texts of a corpus at once; "" if there is none."""
        return ""

    def other_models(self) -> tuple[str, ...]:
        """Return the names or folders of the models that it reads besides that of the execution."""
        return ()

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        """Return the run of some texts of a corpus, and what is kept of them for `merge`."""
        raise NotImplementedError(f"{self.name} reads no corpus")

    def merge(self, states: Iterable[PartState], run: Collected, execution: Execution) -> tuple[Collected, ResultT]:
        """Return the run of a corpus, which lists no texts, and the result, from the states of all its shards.

        states     in the order of the shards; they are read one by one, so that few are in memory, and as often as
                   the result needs them until it is written
        execution  has the model and the first text
        """
        raise NotImplementedError(f"{self.name} reads no corpus")

    @abstractmethod
    def report(self, result: ResultT, run: Collected) -> Report:
        """Return what is written: the document, the tables, the drawings and the notes."""

    def terminal(self, result: ResultT, run: Collected) -> Iterable[RenderableType]:
        """Return what is printed on a terminal, mostly one or two tables that fit into 80 columns."""
        return ()

    def details(self, result: ResultT, run: Collected) -> Iterable[RenderableType]:
        """Return further tables, which are printed with --verbose only."""
        return ()

    def shown_texts(self, result: ResultT, run: Collected) -> Mapping[Any, Text]:
        """Return the texts that the tables on a terminal are about, by number or name; lines above the tables."""
        return {text.index: text.text for text in run.inputs} if self.reads else {}


class StreamStudy(Study[ResultT], Generic[SinkT, ResultT]):
    """A study whose result comes from one sink that receives all attention once."""

    @abstractmethod
    def sink(self, source: Source) -> SinkT:
        """Return the consumer of the attention of a source."""

    @abstractmethod
    def result(self, sink: SinkT, execution: Execution) -> ResultT:
        """Return the result of a sink that has received all attention; `execution` can run further passes."""

    def run(self, execution: Execution) -> tuple[Collected, ResultT]:
        """Return the run that was read, and the result of the sink."""
        run, sink = execution.stream(self.sink)
        return run, self.result(sink, execution)
