"""The parts of a text that have names: spans as a user gives them, and the segment of each token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attncli.data.tokens import Array, read_only

Unit = Literal["characters", "tokens", "passage"]


@dataclass(frozen=True)
class TextSpan:
    """One stretch of a text: its first character or token and the one behind the last, or the passage itself."""

    unit: Unit
    start: int = 0
    end: int = 0
    passage: str = ""


Spans = Mapping[str, tuple[TextSpan, ...]]
"""The stretches of each segment of a text, by its name."""


@dataclass(frozen=True, eq=False)
class Partition:
    """Which segment each token of a side belongs to.

    names   in the order of the text, those that stand for what is left over last
    places  [token] the number of its name
    """

    names: tuple[str, ...]
    places: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", read_only(self.places, np.int64))
