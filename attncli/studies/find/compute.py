"""Attention from the query tokens to the key tokens in every head, computed from the stream of rows.

Of a text only its chosen rows are measured, each when it comes; the baseline of position comes from sums by offset. No
map of all tokens is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from attncli.data import Array, Input, Kind, Partition, Rows, Selection
from attncli.data.focus import positions_of, title_name
from attncli.data.segments import REST
from attncli.data.surfaces import token_texts
from attncli.stream.position_baseline import PositionBaseline
from attncli.stream.protocol import selected
from attncli.stream.retrieval import BaselinedRetrieval, retrieval_columns
from attncli.stream.sums import Sums, add_sums, join_heads
from attncli.studies.find.pairs import PairKey, PairNames, Pairs
from attncli.studies.find.ranking import rank_heads
from attncli.studies.find.result import HeadRow, RankedHeads, most_frequent, retrieval_scores
from attncli.studies.find.rows import NUMBERS, ChosenTokens, sums_of_block

KEY = "key"
"""The name of the key tokens as a passage that written tokens may be copied from."""
LayerOfText = tuple[Kind, int, int]
"""The kind, the layer and the text."""


@dataclass
class _OpenText:
    """The sums of one layer of one text while its rows come, by the heads of a block; see `sums_of_block`."""

    parts: dict[tuple[int, ...], Sums] = field(default_factory=dict)

    def add(self, heads: tuple[int, ...], sums: Sums) -> None:
        self.parts[heads] = add_sums(self.parts.get(heads), sums)


class _KeyMass:
    """A sink that sums the weights of the chosen rows on the key tokens, of all heads of a layer."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self._mass: dict[int, Array] = {}

    def add(self, rows: Rows) -> None:
        for entry, text in enumerate(rows.texts):
            pair = self._pairs.by_text[text, rows.kind]
            chosen = ChosenTokens.of(rows, entry, pair)
            mass = rows.weights[entry][:, chosen.rows][..., chosen.keys].sum((1, 2), dtype=torch.float64)
            self._mass[text] = self._mass.get(text, 0.0) + mass.cpu().numpy()

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Keep the sums for `pop`."""

    def pop(self) -> dict[int, Array]:
        """Remove the sums of a layer and return them: [head] by text."""
        mass, self._mass = self._mass, {}
        return mass


class FindSink:
    """A sink that measures the chosen rows of each text: `result` ranks all heads by their weight.

    inputs  texts that are streamed
    heads   heads that are searched
    pairs   chosen tokens by text and kind
    """

    def __init__(self, inputs: Sequence[Input], heads: Selection, names: PairNames, pairs: Pairs) -> None:
        self._inputs = {text.index: text for text in inputs}
        self._heads = {key: numbers for key, numbers in heads.items() if key[0] in pairs.kinds}
        self._names, self.pairs = names, pairs
        self._drawn = {kind: min(text for text, other in pairs.by_text if other == kind) for kind in pairs.kinds}
        self._open: dict[LayerOfText, _OpenText] = {}
        self._position = _KeyMass(pairs)
        held_out = {key: pair.rows for key, pair in pairs.by_text.items()}
        self._baseline = PositionBaseline(self._position, held_out, fill=True)
        self._means: dict[tuple[Kind, int], dict[int, dict[str, Array]]] = {}
        self._drawn_rows: dict[tuple[Kind, int], Array] = {}
        predicted = {key: pair for key, pair in pairs.by_text.items() if pair.rows_as == "predicted"}
        written = {key: positions_of(pair.query) for key, pair in predicted.items()}
        passages = {key: _passage(self._inputs[key[0]], key[1], pair.keys) for key, pair in predicted.items()}
        self._retrieval = BaselinedRetrieval(inputs, written, passages)

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None or all((text, part.kind) not in self.pairs.by_text for text in part.texts):
            return
        self._retrieval.add(part)
        if part.kind != "cross":
            self._baseline.add(part)
        cache: dict[Any, Any] = part.visibility.cache
        for entry, text in enumerate(part.texts):
            pair = self.pairs.by_text.get((text, part.kind))
            if pair is None:
                continue
            if (self, entry) not in cache:
                cache[self, entry] = ChosenTokens.of(part, entry, pair)
            chosen: ChosenTokens = cache[self, entry]
            if len(chosen.rows):
                opened = self._open.setdefault((part.kind, part.layer, text), _OpenText())
                opened.add(part.heads, sums_of_block(part, entry, pair, chosen, self._drawn[part.kind] == text))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Reduce the rows of these texts to their means."""
        self._retrieval.end_layer(kind, layer)
        self._baseline.end_layer(kind, layer)
        positional = self._position.pop()
        for key in [key for key in self._open if key[:2] == (kind, layer)]:
            text = key[2]
            _, tensors = join_heads(self._open.pop(key).parts.items())
            sums = {name: values[0].cpu().numpy() for name, values in tensors.items()}
            means = self._means_of_text((text, kind), sums["chosen"])
            if text in positional:
                means["weight_positional"] = positional[text] / means["queries"]
            self._means.setdefault((kind, layer), {})[text] = means
            if "total" in sums:
                self._drawn_rows[kind, layer] = sums["total"] / means["queries"][:, None]

    def _means_of_text(self, key: PairKey, chosen: Array) -> dict[str, Array]:
        """Return the numbers of each head [head] in one text: means over its chosen rows [head, row, `NUMBERS`]."""
        text, kind = key
        rows = dict(zip(NUMBERS, np.moveaxis(chosen, -1, 0), strict=True))
        real, seen = rows["real"] > 0, rows["seen"] > 0
        names = np.array(token_texts(self._inputs[text].sides(kind)[1]), dtype=object)
        tops = [
            most_frequent(names[positions[is_real]].tolist()) if is_real.any() else (None, np.nan)
            for positions, is_real in zip(rows["top"].astype(np.int64), real, strict=True)
        ]
        with np.errstate(invalid="ignore", divide="ignore"):
            queries = np.where(real.any(1), real.sum(1), np.nan)
            return {
                "queries": queries,
                "weight": rows["mass"].sum(1) / queries,
                "weight_uniform": rows["uniform"].sum(1) / queries,
                "weight_positional": np.full(len(queries), np.nan),
                "rank": rows["rank"].sum(1) / seen.sum(1),
                "keys": rows["keys"].sum(1) / seen.sum(1),
                "top": np.array([name for name, _ in tops], dtype=object),
                "top_weight": rows["top_weight"].sum(1) / queries,
                "top_share": np.array([share for _, share in tops]),
            }

    def result(self) -> RankedHeads:
        """Return all heads, ordered by weight."""
        ranking = rank_heads(self._means, self._heads)
        coords = ranking.scores["weight"].coords
        heads = zip(*(coords[name][1].tolist() for name in ("kind", "layer", "head")), strict=True)
        retrieval = retrieval_columns(self._retrieval.result(), [(*head, KEY) for head in heads])
        return RankedHeads(
            *self._shown_names(),
            scores={**ranking.scores, **retrieval_scores(retrieval, coords)},
            std=ranking.std,
            top=ranking.top,
            leave_one_out=ranking.leave_one_out,
            row=self._row(*ranking.first),
            rows_as={kind: pair.rows_as for (_, kind), pair in self.pairs.by_text.items()},
        )

    def _shown_names(self) -> tuple[str, str]:
        """Return the names of query and key; of a position, if there is one text, the token that it is."""
        query, key = self._names.query, self._names.key
        if len(self.pairs.by_text) > 1:
            return query, key
        text, kind = next(iter(self.pairs.by_text))
        queries, keys = self._inputs[text].sides(kind)
        return title_name(queries, query), title_name(keys, key)

    def _row(self, kind: Kind, layer: int, head: int) -> HeadRow:
        """Return the row of one head in the first text."""
        text = self._drawn[kind]
        pair = self.pairs.by_text[text, kind]
        weights = self._drawn_rows[kind, layer][sorted(self._heads[kind, layer]).index(head)]
        keys = self._inputs[text].sides(kind)[1]
        return HeadRow(kind, layer, head, text, weights, keys, tuple(pair.rows.tolist()), tuple(pair.keys.tolist()))


def _passage(text: Input, kind: Kind, keys: Array) -> Partition:
    """Return the key tokens of a text as a passage, and the rest."""
    count = len(text.sides(kind)[1])
    return Partition((KEY, REST), 1 - np.isin(np.arange(count), keys))
