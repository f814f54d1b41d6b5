"""The focus: tokens of a text whose rows (attention from them) or columns (attention to them) are kept."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array, Attention, Direction, Input, Kind, RowsAs, Spans, Text, Tokens, base_kind, has_scale
from attncli.data.focus import (
    ALL,
    FocusMatch,
    describe_matches,
    find_focus,
    name_note,
    resolved_name,
)
from attncli.data.segments import NamedPositions
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.partitions import named_segments
from attncli.inputs.rows_as import check_rows_as, rows_as_of, rows_of, words_note
from attncli.vocabulary import DIRECTIONS

_MOST_WORDS = 8
MOST_LINES = 256
MOST_TOKENS = 50_000
"""Limits of one page, which is drawn in a minute or two: its lines, and the tokens of all lines."""


@dataclass(frozen=True)
class FocusRequest:
    """The tokens that the user wants to see attention from or to.

    wanted     a word (all its occurrences), `it#2`, a position, a range, a segment, `[CLS]` or `all`: see `find_focus`
    direction  from: the focus is among the queries; to: it is among the keys
    option     the option that names the focus, for error messages
    spans      spans of segments of the user by number of the text, instead of the segments of the text
    rows_as    which rows stand for the queries; None: the default for their name, see `rows_as_of`
    """

    wanted: str
    direction: Direction = "from"
    option: str = "--focus"
    spans: Mapping[int, Spans] | None = None
    rows_as: RowsAs | None = None

    def __post_init__(self) -> None:
        check_rows_as(self.rows_as)
        if self.direction not in DIRECTIONS:
            raise UsageError(f"unknown --direction '{self.direction}': {did_you_mean(self.direction, DIRECTIONS)}")

    @property
    def axis(self) -> int:
        """The side on which the focus is: 0 for the queries, 1 for the keys."""
        return 0 if self.direction == "from" else 1

    def matches(self, text: Input, kind: Kind) -> tuple[FocusMatch, ...]:
        """Return all matches in a text, which may be a segment of it; raise UsageError if there is none.

        Matches without a row are left out, as that of the first token is if rows are read as predicted.
        """
        found = find_focus(self._tokens(text, kind), self.wanted, self.option, self._segments(text, kind))
        with_rows = tuple(match for match in found if len(self.rows(text, kind, match)))
        if not with_rows:
            raise UsageError(f"no row predicts '{found[0].name}': choose another {self.option}, or --rows-as input")
        return with_rows

    def reading(self, text: Input, kind: Kind) -> RowsAs:
        """Return which rows stand for the queries: those of the focus, or all if the focus is among the keys."""
        name = self.wanted if self.direction == "from" else ALL
        return rows_as_of(name, kind, self.rows_as, words=bool(text.sides(kind)[0].merged))

    def rows(self, text: Input, kind: Kind, match: FocusMatch) -> Array:
        """Return the rows that stand for a match, or its columns if the focus is among the keys."""
        positions = np.array(match.positions)
        if self.direction == "to":
            return positions
        return rows_of(self._tokens(text, kind), positions, self.reading(text, kind))

    def notes(self, text: Input, kind: Kind) -> Iterator[str]:
        """Yield notes if the focus is a word of the text too, or if words are the reason how its rows are read."""
        yield name_note(self._tokens(text, kind), self.wanted, self._segments(text, kind))
        if self.direction == "from":
            yield words_note([self.wanted], [kind], self.rows_as, words=bool(self._tokens(text, kind).merged))

    def resolved(self, text: Input, kind: Kind) -> str:
        """Return the focus with positions counted from the start of the text: `17` for `-1`."""
        return resolved_name(self._tokens(text, kind), self.wanted)

    def _tokens(self, text: Input, kind: Kind) -> Tokens:
        return text.sides(kind)[self.axis]

    def _segments(self, text: Input, kind: Kind) -> NamedPositions:
        spans = None if self.spans is None else self.spans.get(text.index)
        return named_segments(text, kind, spans)[self.axis]


@dataclass(frozen=True, eq=False)
class FocusMatches:
    """The occurrences of the focus by text and kind, for those that have any, and notes for the user.

    rows  the rows that stand for them, or their columns if the focus is among the keys; ascending
    """

    matches: Mapping[tuple[int, Kind], tuple[FocusMatch, ...]]
    rows: Mapping[tuple[int, Kind], Array]
    notes: tuple[str, ...]


def missing_name(option: str, purpose: str, texts: Sequence[Text]) -> UsageError:
    """Return the error for an option that must name tokens, with words of the first text.

    purpose  what the option says: "it says which word is the focus"
    """
    words = list(dict.fromkeys(re.findall(r"\w+", texts[0].text if texts else "")))
    message = f"{option} is missing: {purpose}"
    if not words:
        return UsageError(message)
    listed = ", ".join(words[:_MOST_WORDS]) + (", …" if words[_MOST_WORDS:] else "")
    return UsageError(f"{message}, such as {option} {words[0]}; the text has {listed}")


def find_in_inputs(inputs: Sequence[Input], kinds: Mapping[Kind, int], focus: FocusRequest) -> FocusMatches:
    """Return the occurrences of the focus in texts.

    kinds  number of maps of each kind
    Raise UsageError if no text has the focus, or if there are too many lines for one page.
    """
    check_rows_as(focus.rows_as, kinds, words=any(text.source.merged for text in inputs))
    matches: dict[tuple[int, Kind], tuple[FocusMatch, ...]] = {}
    errors: list[tuple[str, UsageError]] = []
    for text in inputs:
        for kind in kinds:
            label = f"text {text.index}, {kind}" if len(inputs) > 1 else kind
            try:
                matches[text.index, kind] = focus.matches(text, kind)
            except UsageError as error:
                errors.append((label, error))
    if not matches and errors:
        raise errors[0][1]
    by_index = {text.index: text for text in inputs}
    for (index, kind), of_text in matches.items():
        other_side = by_index[index].sides(kind)[1 - focus.axis]
        lines, tokens = kinds[kind] * len(of_text), len(other_side)
        if lines > MOST_LINES or lines * tokens > MOST_TOKENS:
            one_match = f"one match, such as --focus '{of_text[len(of_text) // 2].name}', " if len(of_text) > 1 else ""
            raise UsageError(
                f"{lines} lines of {tokens} tokens are more than a page can show (at most {MOST_LINES} lines and "
                f"{MOST_TOKENS:,} tokens): choose {one_match}--layer and --head, --aggregate mean or a shorter text"
            )
    notes = [f"{label} is left out: {error}" for label, error in errors]
    focus_notes = (note for index, kind in matches for note in focus.notes(by_index[index], kind))
    notes += list(dict.fromkeys(filter(None, focus_notes)))
    several = next((of_text for of_text in matches.values() if len(of_text) > 1), None)
    if several is not None and focus.wanted != ALL:
        occurrences = f"'{focus.wanted}' is shown at all its occurrences, {describe_matches(several)}"
        notes.append(f"{occurrences}: --focus '{focus.wanted}#{len(several)}' shows one")
    rows = {
        (index, kind): np.unique(np.concatenate([focus.rows(by_index[index], kind, match) for match in of_text]))
        for (index, kind), of_text in matches.items()
    }
    return FocusMatches(matches, rows, tuple(notes))


def check_tokens(kind: Kind) -> None:
    """Raise UsageError if rows or keys of a kind are not the tokens of the text."""
    if has_scale(kind):
        raise UsageError(
            f"this needs attention between tokens: rows or keys of {kind} stand for several tokens or for none; "
            f"choose {base_kind(kind)}"
        )


def find_in_maps(maps: Sequence[Attention], inputs: Sequence[Input], focus: FocusRequest) -> FocusMatches:
    """Return the occurrences of the focus in kept maps; raise UsageError unless these are full maps."""
    for attention in maps:
        check_tokens(attention.kind)
        if not attention.whole:
            raise UsageError(
                "highlights need full maps, these show "
                f"{'cells of several tokens' if attention.pool != 'none' else 'a part of the text'}: "
                "run the model again"
            )
    counts = {attention.kind: sum(len(layer.weights) for layer in attention.layers) for attention in maps}
    return find_in_inputs(inputs, counts, focus)
