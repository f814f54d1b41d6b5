"""The query tokens and the key tokens of each text, found by the names that the user gave."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attncli.data import Array, Input, Kind, RowsAs, Spans
from attncli.data.focus import ALL, FocusMatch, describe_matches, positions_of
from attncli.data.pair_weights import rows_that_count
from attncli.engine.focus import FocusRequest
from attncli.errors import UsageError
from attncli.inputs.rows_as import rows_as_of, rows_of

PairKey = tuple[int, Kind]
"""The number of a text and the kind of attention."""


@dataclass(frozen=True)
class PairNames:
    """What the user asks for.

    query, key  names of tokens, as `find_focus` reads them
    spans       spans of segments by number of the text, if the user gave a file of segments
    rows_as     which rows stand for the query tokens; None for the default of their name
    """

    query: str
    key: str
    spans: Mapping[int, Spans] | None = None
    rows_as: RowsAs | None = None

    @property
    def ends(self) -> tuple[FocusRequest, FocusRequest]:
        """The query and the key as requests for tokens of a text."""
        return (
            FocusRequest(self.query, "from", "--query", self.spans, self.rows_as),
            FocusRequest(self.key, "to", "--key", self.spans),
        )


@dataclass(frozen=True, eq=False)
class Pair:
    """The chosen tokens of one text and kind of attention.

    query, key  all occurrences of both names
    rows        positions of the rows that count, ascending; with `rows_as` predicted, those before the query tokens
    keys        positions of the key tokens, ascending
    before      number of query tokens that come before all keys in a decoder, which masks the keys for them
    """

    query: tuple[FocusMatch, ...]
    key: tuple[FocusMatch, ...]
    rows: Array
    keys: Array
    rows_as: RowsAs
    before: int = 0


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of all texts that have both ends, in order of text and kind, and notes for the user."""

    by_text: Mapping[PairKey, Pair]
    notes: tuple[str, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(dict.fromkeys(kind for _, kind in self.by_text))


def find_pairs(inputs: Sequence[Input], kinds: Sequence[Kind], names: PairNames, words: bool = False) -> Pairs:
    """Return the chosen tokens of each text and kind.

    words  whether tokens are words
    Raise UsageError if no text has both ends, or if no query can see a key.
    """
    pairs: dict[PairKey, Pair] = {}
    errors: dict[PairKey, UsageError] = {}
    for text in inputs:
        for kind in kinds:
            try:
                pairs[text.index, kind] = _pair(text, kind, names, words)
            except UsageError as error:
                errors[text.index, kind] = error
    if not pairs:
        raise _no_pair(errors)
    by_index = {text.index: text for text in inputs}
    end_notes = (note for end in names.ends for index, kind in pairs for note in end.notes(by_index[index], kind))
    notes = [
        *_left_out(errors, len(inputs), len(kinds)),
        *dict.fromkeys(filter(None, end_notes)),
        *_occurrences(pairs, names),
    ]
    return Pairs(pairs, tuple(notes))


def _pair(text: Input, kind: Kind, names: PairNames, words: bool) -> Pair:
    queries, keys = (end.matches(text, kind) for end in names.ends)
    rows_as = rows_as_of(names.query, kind, names.rows_as, words=words)
    positions = rows_of(text.sides(kind)[0], positions_of(queries), rows_as)
    key_positions = positions_of(keys)
    rows = rows_that_count(kind, positions, key_positions)
    if not len(rows):
        raise UsageError(
            f"'{names.key}' comes after '{names.query}', which a decoder masks: no head can see it. "
            "Give a key before the query, or exchange --query and --key"
        )
    return Pair(queries, keys, rows, key_positions, rows_as, len(positions) - len(rows))


def _no_pair(errors: Mapping[PairKey, UsageError]) -> UsageError:
    """Return the error for texts of which none has both ends: what is wrong with each kind of the first one."""
    first = next(iter(errors))[0]
    kinds: dict[str, list[Kind]] = {}
    for (text, kind), error in errors.items():
        if text == first:
            kinds.setdefault(str(error), []).append(kind)
    if len(kinds) == 1:
        return UsageError(next(iter(kinds)))
    return UsageError("; ".join(f"{' and '.join(of_message)}: {message}" for message, of_message in kinds.items()))


def _left_out(errors: Mapping[PairKey, UsageError], texts: int, kinds: int) -> Iterator[str]:
    """Yield one note about all texts and kinds that lack an end; the reason is that of the first."""
    if not errors:
        return
    (index, kind), error = next(iter(errors.items()))
    reason = str(error).split(": ")[0]
    if texts == 1:
        yield f"{' and '.join(of for _, of in errors)} attention is left out: {reason}"
    elif kinds == 1:
        yield f"{len(errors)} of {texts} texts are left out, the first is text {index}: {reason}"
    else:
        yield f"a kind of {len(errors)} texts is left out, the first is {kind} of text {index}: {reason}"


def _occurrences(pairs: Mapping[PairKey, Pair], names: PairNames) -> Iterator[str]:
    """Yield notes about names with several occurrences, and about queries that cannot see any key."""
    for name, end, how in ((names.query, "query", "the mean over them"), (names.key, "key", "their sum")):
        several = next((matches for pair in pairs.values() if len(matches := getattr(pair, end)) > 1), None)
        if several is not None and name != ALL:
            choice = f"--{end} '{name}#{len(several)}' is one of them"
            yield f"'{name}' counts with all its occurrences, {describe_matches(several)}: weights are {how}; {choice}"
    before = sum(pair.before for pair in pairs.values())
    if before:
        yield f"{before} query tokens come before all keys, which a decoder masks: they do not count"
