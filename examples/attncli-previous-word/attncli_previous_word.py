"""Attention to the word before: an example of a study that another package adds to attncli."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attncli.engine.report import Drawing, Report, table_document
from attncli.engine.study import StreamStudy
from attncli.errors import UsageError
from attncli.options import option
from attncli.terminal import add_row, blank_table

# NumPy, torch and matplotlib are imported inside functions: `attncli --help` stays fast
if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from rich.table import Table

    from attncli.data import Array, Input, Kind, Rows
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution, Source
    from attncli.engine.request import Request


@dataclass(frozen=True)
class PreviousWordOptions:
    """Options of the command that no other command has."""

    back: int = option("Words", "how many words back (default: 1)", metavar="N", default=1)


@dataclass(frozen=True)
class PreviousWord:
    """The result: columns kind, layer, head, rows, mass and uniform_mass, one row per head."""

    columns: Mapping[str, Array]


class PreviousWordSink:
    """Sums the attention to the previous word; it never holds more than one block of rows."""

    def __init__(self, inputs: Sequence[Input], back: int) -> None:
        self._inputs = {text.index: text for text in inputs}
        self._back = back
        self._sums: dict[tuple[Kind, int, int], np.ndarray] = {}

    def add(self, rows: Rows) -> None:
        """Add one block: some query tokens x all keys that they can see, of some heads and a batch of texts."""
        import torch

        if rows.kind == "cross":  # words of the source and of the target do not follow each other
            return
        numbers = [torch.as_tensor(self._inputs[text].sides(rows.kind)[0].words.copy()) for text in rows.texts]
        words = torch.nn.utils.rnn.pad_sequence(numbers, batch_first=True, padding_value=-1)
        wanted = words.gather(1, rows.query_positions.cpu().clamp(min=0)) - self._back
        keys = words.gather(1, rows.key_positions.cpu().clamp(min=0))
        on_word = (keys[:, None] == wanted[..., None]) & (wanted[..., None] >= 0)
        on_word = on_word[:, None] & rows.visible_pairs.cpu()  # [batch, 1 or head, row, key]
        counted = on_word.any(-1) & rows.real.cpu()
        mass = (rows.weights.cpu().double() * on_word).sum(-1)
        uniform = on_word.sum(-1) / rows.visible_count.cpu().clamp(min=1)
        numbers = torch.stack([counted.expand_as(mass), mass * counted, (uniform * counted).expand_as(mass)])
        for head, sums in zip(rows.heads, numbers.sum((1, 3)).T.numpy(), strict=True):
            place = rows.kind, rows.layer, head
            self._sums[place] = self._sums.get(place, 0) + sums

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Do nothing: sums need no end."""

    def result(self) -> PreviousWord:
        """Return the mean over all tokens of all texts that have such a word."""
        import numpy as np

        places = sorted(self._sums)
        rows, mass, uniform = np.array([self._sums[place] for place in places]).reshape(-1, 3).T
        names = zip(("kind", "layer", "head"), zip(*places, strict=True), strict=False)
        columns = {name: np.array(values, dtype=object if name == "kind" else int) for name, values in names}
        with np.errstate(invalid="ignore"):  # a head without such tokens is undefined
            means = {"mass": mass / rows, "uniform_mass": uniform / rows}
        return PreviousWord({**columns, "rows": rows.astype(int), **means})


@dataclass(frozen=True)
class PreviousWordStudy(StreamStudy[PreviousWordSink, PreviousWord]):
    """Measure how much attention goes to the word before.

    Writes previous-word.json, previous-word.csv and previous-word.png (see attncli explain previous-word.json).

    Example: attncli previous-word --text "The cat sat on the mat." --back 2
    """

    options: PreviousWordOptions = field(default_factory=PreviousWordOptions)
    name = "previous-word"
    group = PreviousWordOptions
    help = """
# previous-word.json

Attention to the word before, written by previous-word. Schema: attncli.previous-word/1.

- `heads`: kind, layer, head, rows, mass and uniform_mass of each head
- `rows`: the number of tokens that have a word --back words before them
- `mass`: the mean weight on the tokens of that word, from 0 to 1
- `uniform_mass`: a baseline: the same under uniform attention
"""

    def check(self, request: Request) -> None:
        """Raise UsageError if the options are wrong."""
        if self.options.back < 1:
            raise UsageError(f"expected --back from 1 up, got {self.options.back}")

    def sink(self, source: Source) -> PreviousWordSink:
        """Return the consumer of the attention of a source."""
        return PreviousWordSink(source.inputs, self.options.back)

    def result(self, sink: PreviousWordSink, execution: Execution) -> PreviousWord:
        """Return the result of a sink that has seen all attention."""
        return sink.result()

    def report(self, result: PreviousWord, run: Collected) -> Report:
        """Return what is written."""
        document = table_document(self.name, run, heads=result.columns)
        picture = Drawing(self.name, lambda: _figure(result, run.info.title))
        return Report(run.info, document, {self.name: result.columns}, [picture])

    def terminal(self, result: PreviousWord, run: Collected) -> Iterator[Table]:
        """Return what a person sees."""
        table = blank_table("attention to the word before", ["kind"], [*result.columns][1:])
        for row in zip(*result.columns.values(), strict=True):
            add_row(table, [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row])
        yield table


def _figure(result: PreviousWord, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="share under uniform attention", ylabel="share of attention")
    axes.scatter(result.columns["uniform_mass"], result.columns["mass"])
    return figure
