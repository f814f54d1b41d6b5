"""How much each token counts for a prediction, beside the attention of the same tokens on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array, Kind, Tokens


@dataclass(frozen=True)
class PageMethod:
    """A method of attribution.

    signed    whether its shares can be below 0
    baseline  what replaced tokens; None for a method without one
    """

    name: str
    signed: bool
    baseline: str | None = None


@dataclass(frozen=True)
class PageOutput:
    """A prediction.

    score        the number that is explained
    probability  its probability; None for a number
    rows         positions of the rows of each kind of attention from which it is computed
    """

    name: str
    score: float
    probability: float | None
    rows: Mapping[Kind, Sequence[int]]


@dataclass(frozen=True, eq=False)
class PageAttribution:
    """The shares of the tokens of one text.

    text     number of the text
    explain  what was asked for, such as next
    score    which number of the prediction is explained
    sides    the tokens of each side, source and target, by name
    shares   [method, output, token] of all sides, one after the other; NaN for what a prediction does not read
    """

    text: int
    explain: str
    score: str
    sides: Mapping[str, Tokens]
    methods: Sequence[PageMethod]
    outputs: Sequence[PageOutput]
    shares: Array

    def document(self, sides: Mapping[str, int], blob: int) -> dict[str, Any]:
        """Return the `Attribution` of the schema.

        sides  numbers of the sides in the document
        blob   number of the binary part with `shares`, as float32
        """
        return {
            "text": self.text,
            "explain": self.explain,
            "score": self.score,
            "sides": [{"name": name, "side": number} for name, number in sides.items()],
            "methods": [vars(method) for method in self.methods],
            "outputs": [
                {**vars(output), "rows": {kind: list(rows) for kind, rows in output.rows.items()}}
                for output in self.outputs
            ],
            "shares": blob,
        }

    @property
    def size(self) -> float:
        """Bytes of the shares in a page."""
        return self.shares.size * np.dtype(np.float32).itemsize * 4 / 3
