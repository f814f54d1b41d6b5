"""The named segments of a text: spans as a user gives them, and the segment of each token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attncli.data.tokens import Array, read_only

Unit = Literal["characters", "tokens", "passage"]


@dataclass(frozen=True)
class TextSpan:
    """One span of a text: the characters or tokens from `start` up to, not including, `end`; or a quoted passage."""

    unit: Unit
    start: int = 0
    end: int = 0
    passage: str = ""


Spans = Mapping[str, tuple[TextSpan, ...]]
"""The spans of each segment of a text, by segment name."""


@dataclass(frozen=True, eq=False)
class Partition:
    """The segment of each token on one side of a map.

    names    segment names in text order; the segments of all remaining tokens come last
    numbers  [token] index into `names`
    """

    names: tuple[str, ...]
    numbers: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", read_only(self.numbers, np.int64))
