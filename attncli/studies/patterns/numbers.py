"""The numbers behind the classes of heads, over one or many texts."""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from attncli import registry
from attncli.data import Array, Columns, Input, Kind, Metric, Scores, Selection, Tokens
from attncli.data.part_states import PartState
from attncli.data.surfaces import token_texts
from attncli.metrics.sink_position import sink_position
from attncli.stream import Measure, SinkGroup
from attncli.stream.head_distance import HeadDistances, differentiation
from attncli.stream.rigidity import RigiditySink
from attncli.stream.segment_mass import SegmentMass
from attncli.studies.patterns.result import NUMBERS, HeadKey, head_keys

Table = dict[str, Scores]
LayerDistances = Mapping[tuple[Kind, int], Array]
"""The distances between the heads of each kind and layer: [head, head], √nat."""
SEGMENT_MASS = "segment_mass"
RIGIDITY_SOURCE = "explained variance of a held-out text"
_FULL_STOPS, _COMMAS = ".\u3002\uff0e\u0964\u06d4", ",\uff0c\u3001\u060c"
"""Latin, Chinese, full-width, Devanagari and Arabic marks."""
_MARKS = {**dict.fromkeys(_FULL_STOPS, "full stop"), **dict.fromkeys(_COMMAS, "comma")}
_MORE: dict[str, object] = {"rigidity": RigiditySink, "differentiation": differentiation}
_FIRST, _OTHER = "first token", "other"


def sink_rows(columns: Columns) -> torch.Tensor:
    """Which share of the rows can see the key of sink?

    Formula   |{i: k ∈ S_i}| / n, k the key of sink_position
    Axes      sums over rows [batch, head, key] → [batch, head]
    Unit      1, from 0 to 1; 1 where every row sees every key
    """
    position = sink_position(columns)
    visible = columns.visible_rows.expand_as(columns.mass) / columns.rows[..., None]
    share = visible.gather(-1, position.nan_to_num().long()[..., None])[..., 0]
    return torch.where(position.isnan(), torch.nan, share)


SINK_ROWS = Metric(sink_rows, "column")


def class_metrics() -> list[Metric]:
    """Return the metrics that the classes need."""
    names = [name for name in NUMBERS if name not in (SEGMENT_MASS, SINK_ROWS.name)]
    return [*(registry.module("metrics", name).METRIC for name in names), SINK_ROWS]


def number_questions() -> dict[str, str]:
    """Return the questions that the numbers of heads answer, rigidity, and `differentiation` of layers."""
    questions = {metric.name: metric.question for metric in class_metrics()}
    sources: dict[str, object] = {SEGMENT_MASS: SegmentMass, **_MORE}
    questions |= {name: (inspect.getdoc(source) or "").splitlines()[0] for name, source in sources.items()}
    return {name: questions[name] for name in (*NUMBERS, *_MORE)}


class NumbersSink(SinkGroup):
    """A sink for the numbers behind the classes.

    distances  whether the distances between heads are measured too
    """

    def __init__(self, inputs: Sequence[Input], heads: Selection, *, distances: bool = True) -> None:
        self._inputs = tuple(inputs)
        self._measure = Measure(class_metrics(), heads=heads, per_text=True)
        self._segments, self._distances = SegmentMass(inputs), HeadDistances(heads)
        self._absorbed: dict[HeadKey, Counter[str]] = {}
        super().__init__(self._measure, self._segments, *([self._distances] if distances else []))

    def state(self) -> PartState:
        """Return the sums over texts."""
        return {
            "measure": self._measure.state(),
            "segments": self._segments.state(),
            "distances": self._distances.state(),
            "sink_keys": [{"head": list(key), "names": dict(names)} for key, names in self._counted_keys().items()],
        }

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another sink for the same heads."""
        self._measure.absorb(state["measure"])
        self._segments.absorb(state["segments"])
        self._distances.absorb(state["distances"])
        for entry in state["sink_keys"]:
            kind, layer, head = entry["head"]
            self._absorbed.setdefault((kind, layer, head), Counter()).update(entry["names"])

    def heads(self) -> tuple[Table, Table, Table]:
        """Return the numbers of each head; if there are several texts their standard deviation, and shares of texts."""
        measured, segments = self._measure.result(self._inputs), self._segments.result()
        tables: list[Table] = []
        for number, scores in enumerate((measured.heads, measured.std)):
            table = dict(scores)
            if table:
                sink = table["sink"]
                values = np.array([segments.get(key, (np.nan, np.nan))[number] for key in head_keys(sink)])
                table[SEGMENT_MASS] = Scores(
                    SEGMENT_MASS, values, sink.dims, sink.coords, "1", (0.0, 1.0), "Kovaleva et al. 2019"
                )
            tables.append({name: table[name] for name in NUMBERS if name in table})
        return tables[0], tables[1], dict(measured.share)

    def distances(self) -> LayerDistances:
        return self._distances.result()

    def sink_keys(self) -> dict[HeadKey, tuple[str, float]]:
        """Return the name of the key of `sink` of each head, and the share of the texts with it.

        Of several texts it is the most frequent name; of equally frequent ones the first in the alphabet.
        """
        return {key: _most_frequent(counted) for key, counted in self._counted_keys().items()}

    def _counted_keys(self) -> dict[HeadKey, Counter[str]]:
        """Return how often each name is that of the key of `sink` of each head."""
        counts = {key: Counter(counted) for key, counted in self._absorbed.items()}
        inputs = {text.index: text for text in self._inputs}
        names: dict[tuple[int, Kind], list[str]] = {}
        for text, (kind, layer, heads), positions in self._measure.values_by_text("sink_position"):
            if (text, kind) not in names:
                names[text, kind] = _key_names(inputs[text].sides(kind)[1])
            key_names = names[text, kind]
            for head, position in zip(heads, positions.tolist(), strict=True):
                counted = counts.setdefault((kind, layer, head), Counter())
                if not np.isnan(position):
                    counted[key_names[int(position)]] += 1
        return counts


def _most_frequent(counted: Counter[str]) -> tuple[str, float]:
    """Return the most frequent name and its share; an empty name if there is none."""
    name = min(counted, key=lambda name: (-counted[name], name), default="")
    return name, counted[name] / max(1, counted.total())


def _key_names(tokens: Tokens) -> list[str]:
    """Return what each key is: a special token by its name, first token, full stop, comma or other."""
    names = [_MARKS.get(text, _OTHER) for text in token_texts(tokens)]
    names[:1] = [_FIRST] * len(names[:1])
    for position in np.flatnonzero(tokens.special).tolist():
        names[position] = tokens.pieces[position]
    return names
