"""Named segments of a text: the spans that make them, and the segment of each token."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attncli.data.tokens import Array, Tokens, read_only

SPECIAL, REST, GENERATED = "special", "rest", "generated"
RESERVED_NAMES = (SPECIAL, REST, GENERATED)
Positions = tuple[int, ...]
NamedPositions = Mapping[str, Positions]
"""The positions of the tokens of each segment that a user can name; segments may overlap."""


@dataclass(frozen=True)
class TextSpan:
    """One span of a text: the characters or tokens from `start` up to, not including, `end`; or a quoted passage."""

    unit: Literal["characters", "tokens", "passage"]
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

    @classmethod
    def of_names(cls, token_names: Sequence[str]) -> "Partition":
        """Return the segments for the name of the segment of each token."""
        names = order_segment_names(token_names)
        numbers = {name: number for number, name in enumerate(names)}
        return cls(names, np.array([numbers[name] for name in token_names], dtype=np.int64))

    @classmethod
    def of_tokens(cls, tokens: Tokens, unnamed: str = "") -> "Partition":
        """Return the segments that tokens name themselves, and `special`; tokens of no segment get `unnamed`."""
        pairs = zip(tokens.segments, tokens.special.tolist(), strict=True)
        return cls.of_names([SPECIAL if is_special else segment or unnamed for segment, is_special in pairs])

    def positions(self) -> dict[str, Positions]:
        """Return the positions of the tokens of each named segment."""
        return {
            name: tuple(np.flatnonzero(self.numbers == number).tolist())
            for number, name in enumerate(self.names)
            if name
        }


def ordinary_positions(tokens: Tokens) -> Positions:
    """Return the positions of all tokens that are not special."""
    return tuple(np.flatnonzero(~tokens.special).tolist())


def order_segment_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in order, but `generated`, `rest` and `special` last.

    >>> order_segment_names(["special", "b", "rest", "a"])
    ('b', 'a', 'rest', 'special')
    """
    unique, last = dict.fromkeys(names), (GENERATED, REST, SPECIAL)
    return (*(name for name in unique if name not in last), *(name for name in last if name in unique))
