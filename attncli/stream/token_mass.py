"""How much attention goes to each special token by name, and to punctuation."""

import unicodedata
from collections.abc import Iterable, Sequence

import torch

from attncli.data import KINDS, Input, Kind, Rows, Scores, Selection, Tokens
from attncli.data.part_states import PartState, widened
from attncli.data.surfaces import token_texts
from attncli.stream.protocol import selected
from attncli.stream.sums import HeadTable, OpenLayers, OverTexts

PUNCTUATION = "punctuation"
SOURCE = "Clark et al. 2019"


class TokenMass:
    """How much attention goes to the keys of each name: `[CLS]`, `[SEP]`, `</s>`, …, and `punctuation`?

    Formula   mean over the rows i of Σ_{j with the name} A_ij; over texts the mean of those
    Unit      1, from 0 to 1; the special tokens together are `special_mass`
    Undefined in texts whose keys have no such token
    Source    Clark et al. 2019

    A special token has its own name; punctuation are other tokens of which every character is punctuation. Only one sum
    per key and head is kept while a layer streams.

    inputs  the texts that will be streamed
    """

    def __init__(self, inputs: Sequence[Input], *, by_tokens: bool = False, heads: Selection | None = None) -> None:
        self._heads = heads
        self._names_of: dict[tuple[int, Kind], list[str]] = {}
        of_side: dict[int, list[str]] = {}
        for text in inputs:
            for kind in KINDS:
                keys = text.sides(kind)[1]
                if id(keys) not in of_side:
                    of_side[id(keys)] = token_names(keys)
                self._names_of[text.index, kind] = of_side[id(keys)]
        self.names = _ordered_names(name for names in of_side.values() for name in names if name)
        self._open, self._table, self._by_tokens = OpenLayers(), HeadTable(by_rows=by_tokens), by_tokens

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None or not self.names:
            return
        heads = part.weights.shape[1]
        real = part.real.to(part.weights.dtype)[:, :, None].expand(-1, heads, -1, -1)
        received = (real @ part.weights).squeeze(2).double()
        rows_count = part.real.sum(2).double().expand(-1, heads)
        self._open.add(part, {"mass": received @ self._members(part), "rows": rows_count})

    def end_layer(self, kind: Kind, layer: int) -> None:
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            means = (total["mass"] / total["rows"][..., None]).cpu().numpy()
            counts = total["rows"][..., None].expand(total["mass"].shape).cpu().numpy()
            for entry, text in enumerate(opened.texts):
                names = set(self._names_of.get((text, kind), ()))
                means[entry][:, [name not in names for name in self.names]] = float("nan")
            self._table.add((kind, layer, heads), means, sum(opened.query_lengths), counts)

    def state(self) -> PartState:
        """Return the names and the sums over texts."""
        return {"names": list(self.names), "table": self._table.state()}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another sink, which may have other names."""
        names = _ordered_names((*self.names, *state["names"]))
        if names != self.names:
            own, self.names, self._table = self.state(), names, HeadTable(by_rows=self._by_tokens)
            self._table.absorb(_with_names(own, names))
        self._table.absorb(_with_names(state, names))

    def scores(self, what: OverTexts) -> dict[str, Scores]:
        """Return a table per name with an entry per head, ordered by kind, layer and head."""
        coords, values = self._table.rows(what, (len(self.names),))
        unit, extent = ("rows", (0.0, None)) if what == "count" else ("1", (0.0, 1.0))
        return {
            column_name(name): Scores(column_name(name), values[:, index], ("head",), coords, unit, extent, SOURCE)
            for index, name in enumerate(self.names)
        }

    def _members(self, rows: Rows) -> torch.Tensor:
        """Return which keys of a block have which name: [batch, key, name] float64."""
        padding = max(rows.key_lengths)
        table = torch.zeros((len(rows.texts), padding + 1, len(self.names)), dtype=torch.float64)
        numbers = {name: number for number, name in enumerate(self.names)}
        for entry, text in enumerate(rows.texts):
            for position, name in enumerate(self._names_of.get((text, rows.kind), ())):
                if name:
                    table[entry, position, numbers[name]] = 1
        index = torch.where(rows.key_positions < 0, padding, rows.key_positions)[..., None]
        return table.to(index.device).gather(1, index.expand(-1, -1, len(self.names)))


def _ordered_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names without repetition, with punctuation last."""
    used = dict.fromkeys(names)
    return (*(name for name in used if name != PUNCTUATION), *([PUNCTUATION] if PUNCTUATION in used else []))


def _with_names(state: PartState, names: Sequence[str]) -> PartState:
    """Return the table of a state with a column for each of these names."""
    index, size = [names.index(name) for name in state["names"]], len(names)
    groups = [
        {
            **group,
            "shape": [*group["shape"][:-1], size],
            "values": {name: widened(values, size, index) for name, values in group["values"].items()},
        }
        for group in state["table"]["groups"]
    ]
    return {"groups": groups}


def column_name(name: str) -> str:
    """Return the name of the column of the attention to the tokens of a name.

    >>> column_name("[SEP]")
    '[SEP]_mass'
    """
    return f"{name}_mass"


def token_names(tokens: Tokens) -> list[str]:
    """Return the name of each token: that of a special token, `punctuation`, or "" for all others."""
    return [
        piece if special else PUNCTUATION if is_punctuation(text) else ""
        for piece, special, text in zip(tokens.pieces, tokens.special.tolist(), token_texts(tokens), strict=True)
    ]


def is_punctuation(text: str) -> bool:
    """Return whether a text is punctuation only, without outer spaces.

    >>> is_punctuation("…»"), is_punctuation("a."), is_punctuation("$"), is_punctuation(" ")
    (True, False, False, False)
    """
    text = text.strip()
    return bool(text) and all(unicodedata.category(character).startswith("P") for character in text)
