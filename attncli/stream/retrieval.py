"""The retrieval score: does a head attend from where a token is chosen to the same token in a passage?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attncli.data import Array, Input, Kind, Partition, Rows, Selection
from attncli.inputs.rows_as import predicting_rows, rows_of
from attncli.stream.position_baseline import PositionBaseline
from attncli.stream.protocol import selected
from attncli.stream.sums import Moments, OpenLayers, Sums

TextKind = tuple[int, Kind]
HeadPassage = tuple[Kind, int, int, str]
"""Kind, layer, head and the name of a passage."""
RETRIEVAL_COLUMNS = {
    "retrieval": "score",
    "retrieval_uniform": "uniform",
    "retrieval_positional": "positional",
    "retrieval_most": "most",
    "written": "tokens",
}
"""The columns of a table of heads, with the field of `Retrieval` that each shows."""


@dataclass(frozen=True)
class Retrieval:
    """The retrieval score of one head and passage, as the mean over texts.

    score       share of the written tokens whose top key is the same token in the passage
    uniform     the same of uniform weights over the visible keys
    most        share of the written tokens that are in the passage: the largest possible score
    tokens      number of written tokens in all texts
    positional  score of the head's own mean weight at each offset, learned from the other rows; NaN if unknown
    """

    score: float
    uniform: float
    most: float
    tokens: int
    positional: float = math.nan


@dataclass(frozen=True, eq=False)
class _Written:
    """The written tokens of a text and the passages that they may be copied from.

    rows     [n] ascending positions of the rows that predict them
    tokens   [n] numbers of their pieces
    keys     [key + 1] numbers of the pieces of the keys, -1 for padding, the last entry
    passage  [key + 1, passage] 1 if the key is in the passage
    """

    rows: Array
    tokens: torch.Tensor
    keys: torch.Tensor
    passage: torch.Tensor


class RetrievalScore:
    """Does a head attend, where a written token is predicted, to the same token in a passage?

    Formula   mean over the written tokens p of [the top key of row p-1 is the token p, and in the passage]
    Axes      weights [batch, head, row, key] → one number per head and passage; over texts the mean of those
    Unit      1, from 0 to 1
    Undefined in texts without written tokens, and for passages that a text does not have
    Caveat    A head of high score attends to what is copied; whether the output needs it is another question. Keys that
              share the top weight count as equal parts. Only exact copies count: "Paris" and " Paris" are two tokens.
    Source    Wu et al. 2024, Retrieval Head Mechanistically Explains Long-Context Factuality

    inputs    the texts that will be streamed
    written   positions of the written tokens among the queries, by text and kind
    passages  the passage of each key, by text and kind
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        written: Mapping[TextKind, Array],
        passages: Mapping[TextKind, Partition],
        heads: Selection | None = None,
    ) -> None:
        self._heads, self._names = heads, list(dict.fromkeys(name for part in passages.values() for name in part.names))
        texts, numbers = {text.index: text for text in inputs}, dict[str, int]()
        self._written = {
            (index, kind): self._prepare(texts[index], kind, positions, passages[index, kind], numbers)
            for (index, kind), positions in written.items()
            if len(positions)
        }
        self._passages = passages
        self._open = OpenLayers()
        self._moments: dict[tuple[Kind, int, tuple[int, ...]], Moments] = {}

    def _prepare(self, text: Input, kind: Kind, positions: Array, part: Partition, numbers: dict[str, int]) -> _Written:
        queries, keys = text.sides(kind)
        codes, key_codes = (
            np.array([numbers.setdefault(piece, len(numbers)) for piece in tokens.vocabulary_pieces])
            for tokens in (queries, keys)
        )
        rows = predicting_rows(queries)[positions]
        passage = np.zeros((len(keys) + 1, len(self._names)))
        passage[np.arange(len(keys)), [self._names.index(part.names[number]) for number in part.numbers]] = 1
        tensors = (codes[positions[rows >= 0]], np.append(key_codes, -1), passage)
        return _Written(rows[rows >= 0], *map(torch.from_numpy, tensors))

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None:
            return
        of_texts = [self._sums(part, entry, text) for entry, text in enumerate(part.texts)]
        if known := next((sums for sums in of_texts if sums is not None), None):
            nothing = {name: torch.zeros_like(values) for name, values in known.items()}
            filled = [nothing if sums is None else sums for sums in of_texts]
            self._open.add(part, {name: torch.stack([sums[name] for sums in filled]) for name in nothing})

    def _sums(self, rows: Rows, entry: int, text: int) -> Sums | None:
        """Return the sums over the predicting rows of a text that are in the block: [head, passage]; None if none is.

        score, uniform and most as in `Retrieval`; count [head, 1] the number of rows.
        """
        written = self._written.get((text, rows.kind))
        if written is None:
            return None
        positions = rows.query_positions[entry].cpu().numpy()
        in_block = np.flatnonzero(np.isin(positions, written.rows))
        if not len(in_block):
            return None
        device, index = rows.raw.device, torch.from_numpy(in_block).to(rows.raw.device)
        tokens = written.tokens[np.searchsorted(written.rows, positions[in_block])].to(device)
        keys = rows.key_positions[entry] % len(written.keys)  # the last entry for padding
        same = written.keys.to(device)[keys] == tokens[:, None]
        passage = written.passage.to(device)[keys]
        visible, real = rows.visible_pairs[entry][:, index], rows.real[entry][:, index, None].double()
        weights = rows.raw[entry][:, index].masked_fill(~visible, -1)
        top = (weights == weights.amax(-1, keepdim=True)) & visible
        copies = (visible & same).double() @ passage
        heads = len(rows.heads)
        sums = {
            "score": ((top & same).double() @ passage) / top.sum(-1, keepdim=True).clamp_min(1) * real,
            "uniform": (copies / visible.sum(-1, keepdim=True).clamp_min(1) * real).expand(heads, -1, -1),
            "most": ((copies > 0) * real).expand(heads, -1, -1),
            "count": real.expand(heads, -1, -1),
        }
        return {name: values.sum(1) for name, values in sums.items()}

    def end_layer(self, kind: Kind, layer: int) -> None:
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            count = total["count"].where(total["count"] > 0, torch.nan)
            parts = [total[name] / count for name in ("score", "uniform", "most")] + [count.expand_as(total["score"])]
            values = torch.stack(parts, -1).cpu().numpy()
            for entry, text in enumerate(opened.texts):
                if (text, kind) in self._passages:
                    present = self._passages[text, kind].names
                    values[entry][:, [name not in present for name in self._names]] = np.nan
            self._moments.setdefault((kind, layer, heads), Moments(values.shape[1:])).add(values)

    def result(self) -> Mapping[HeadPassage, Retrieval]:
        """Return the scores by kind, layer, head and passage, without passages and heads that have none."""
        found: dict[HeadPassage, Retrieval] = {}
        for (kind, layer, heads), moments in self._moments.items():
            for head, passage in np.argwhere(moments.count[..., 0] > 0).tolist():
                score, uniform, most, tokens = moments.mean[head, passage].tolist()
                count = round(tokens * float(moments.count[head, passage, 0]))
                found[kind, layer, heads[head], self._names[passage]] = Retrieval(score, uniform, most, count)
        return found


class BaselinedRetrieval:
    """A sink for the retrieval score and its baseline of position, with the arguments of `RetrievalScore`.

    The mean weights by position are learned from the other rows: an answer that copies a passage word by word has one
    offset to it, so that its own rows would make any copy look like a matter of position.
    """

    def __init__(
        self, inputs: Sequence[Input], written: Mapping[TextKind, Array], passages: Mapping[TextKind, Partition]
    ) -> None:
        texts = {text.index: text for text in inputs}
        held_out = {
            (index, kind): rows_of(texts[index].sides(kind)[0], positions, "predicted")
            for (index, kind), positions in written.items()
        }
        self._observed, self._positional = (RetrievalScore(inputs, written, passages) for _ in range(2))
        self._baseline = PositionBaseline(self._positional, held_out)

    def add(self, rows: Rows) -> None:
        self._observed.add(rows)
        if rows.kind != "cross":
            self._baseline.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        self._observed.end_layer(kind, layer)
        self._baseline.end_layer(kind, layer)

    def result(self) -> Mapping[HeadPassage, Retrieval]:
        """Return the scores by kind, layer, head and passage, without passages and heads that have none."""
        by_position = self._positional.result()
        return {
            key: replace(found, positional=by_position[key].score if key in by_position else math.nan)
            for key, found in self._observed.result().items()
        }


def retrieval_columns(found: Mapping[Any, Retrieval], cells: Sequence[Any]) -> dict[str, Array]:
    """Return `RETRIEVAL_COLUMNS` for the rows of a table, whose keys in `found` are `cells`; NaN where undefined.

    Nothing if there is no score at all.
    """
    if not found:
        return {}
    undefined = Retrieval(math.nan, math.nan, math.nan, 0)
    rows = [found.get(cell, undefined) for cell in cells]
    columns = {
        name: np.array([getattr(row, field) for row in rows], float) for name, field in RETRIEVAL_COLUMNS.items()
    }
    return columns | {"written": np.where(columns["written"] > 0, columns["written"], np.nan)}
