"""From some words of a text to what heads see from them, or to how they are seen: without whole maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array, Attention, Direction, Input, Kind, Tokens
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.focus import ALL, FocusMatch, describe_matches, find_focus
from attncli.vocabulary import DIRECTIONS

MOST_LINES = 256
MOST_TOKENS = 50_000
"""Of all lines of one page: what is drawn in a minute or two."""


@dataclass(frozen=True)
class FocusRequest:
    """What is looked at.

    wanted     a word (all its places), `it#2`, a position, `[CLS]` or `all`
    direction  from it (it is among the queries) or to it (it is among the keys)
    """

    wanted: str
    direction: Direction = "from"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise UsageError(f"unknown --direction '{self.direction}': {did_you_mean(self.direction, DIRECTIONS)}")

    def side(self, sides: tuple[Tokens, Tokens]) -> Tokens:
        """The tokens among which the focus is."""
        return sides[0] if self.direction == "from" else sides[1]


@dataclass(frozen=True, eq=False)
class FocusMatches:
    """Where the focus is in each text and kind that has it, and what to say of it."""

    at: Mapping[tuple[int, Kind], tuple[FocusMatch, ...]]
    notes: tuple[str, ...]

    @property
    def positions(self) -> Mapping[tuple[int, Kind], Array]:
        """Of its tokens, ascending."""
        return {place: all_positions(found) for place, found in self.at.items()}


def all_positions(found: Iterable[FocusMatch]) -> Array:
    """The positions of several places, ascending, each once."""
    return np.unique([at for one in found for at in one.positions])


def find_in_inputs(inputs: Sequence[Input], kinds: Mapping[Kind, int], focus: FocusRequest) -> FocusMatches:
    """Find the focus in texts; where none has it, or there would be too many lines to show, a `UsageError`.

    kinds  how many maps there are of each kind
    """
    at: dict[tuple[int, Kind], tuple[FocusMatch, ...]] = {}
    errors: list[tuple[str, UsageError]] = []
    for one in inputs:
        for kind in kinds:
            where = f"text {one.index}, {kind}" if len(inputs) > 1 else kind
            try:
                at[one.index, kind] = find_focus(focus.side(one.sides(kind)), focus.wanted)
            except UsageError as error:
                errors.append((where, error))
    if not at and errors:
        raise errors[0][1]
    for one in inputs:
        _check_size(at, one, kinds, focus)
    return FocusMatches(at, (*(f"{where} is left out: {error}" for where, error in errors), *_several(at, focus)))


def _several(at: Mapping[tuple[int, Kind], tuple[FocusMatch, ...]], focus: FocusRequest) -> Iterator[str]:
    """How to choose one of several places, said once."""
    found = next((found for found in at.values() if len(found) > 1), None)
    if found is not None and focus.wanted != ALL:
        one = found[-1].name
        yield f"'{focus.wanted}' is shown in all its places, {describe_matches(found)}: --focus '{one}' shows one"


def _check_size(
    at: Mapping[tuple[int, Kind], tuple[FocusMatch, ...]], one: Input, kinds: Mapping[Kind, int], focus: FocusRequest
) -> None:
    for kind, maps in kinds.items():
        found = at.get((one.index, kind), ())
        lines = maps * len(found)
        tokens = len(one.sides(kind)[1 if focus.direction == "from" else 0])
        if lines > MOST_LINES or lines * tokens > MOST_TOKENS:
            one_place = f"one place, such as --focus '{found[len(found) // 2].name}', " if len(found) > 1 else ""
            raise UsageError(
                f"{lines} lines of {tokens} tokens are more than a page can show (at most {MOST_LINES} lines and "
                f"{MOST_TOKENS:,} tokens): choose {one_place}--layer and --head, "
                "--aggregate mean or a shorter text"
            )


def find_in_maps(maps: Sequence[Attention], inputs: Sequence[Input], focus: FocusRequest) -> FocusMatches:
    """The same of kept maps, which must be whole."""
    for attention in maps:
        if not attention.whole:
            raise UsageError(
                "highlights need whole maps, these show "
                f"{'cells of several tokens' if attention.pool != 'none' else 'a part of the text'}: "
                "run the model again"
            )
    counts: dict[Kind, int] = {}
    for attention in maps:
        counts[attention.kind] = sum(len(layer.weights) for layer in attention.layers)
    return find_in_inputs(inputs, counts, focus)
