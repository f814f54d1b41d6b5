"""Tokens that a user names: `it`, `it#2`, `7`, `14-21`, `[CLS]`, `generated`, `all`, found in a text."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data.labels import escape_invisible, piece_text
from attncli.data.segments import NamedPositions, Partition, Positions
from attncli.data.surfaces import has_bytes, token_texts
from attncli.data.tokens import Array, Tokens
from attncli.data.words import UNSPACED, merged_words, word_groups
from attncli.errors import UsageError, did_you_mean

ALL = "all"
_NUMBERED = re.compile(r"(.+)#(\d{1,9})", re.DOTALL)
_POSITION = re.compile(r"(-?\d{1,9})(?:-(-?\d{1,9}))?")
_WORD_CHARACTER = f"[^\\W{UNSPACED}]"
"""In scripts without spaces between words a match may begin and end anywhere."""


@dataclass(frozen=True)
class FocusMatch:
    """One match in a text: a word, a part of a word, a special token, a range of tokens or a segment.

    name       text of the match; with a number (`it#2`) if several matches have the same text. Of a range its
               positions from the start (`14-21`), of a segment its name
    positions  positions of its tokens, in order
    """

    name: str
    positions: Positions


def find_focus(
    tokens: Tokens, wanted: str, option: str = "--focus", segments: NamedPositions | None = None
) -> tuple[FocusMatch, ...]:
    """Return all matches of `wanted` in text order; raise UsageError that lists what there is if there is none.

    7, -1      the token at this position, counted from 0 or from the end
    14-21      these tokens as one match, both ends included; `-3--1` are the last three
    generated  a segment as one match, without special tokens: user, assistant, a, b, prompt, special, …
    it         a word, at all its positions, also if it is several tokens (`didn't`); the exact case is preferred
    it#2       the second match of `it`; never a segment
    [CLS]      a special token, or a vocabulary piece (`##ing`)
    all        every token, each as one match

    The first that the text has is taken, in this order. Error messages name the option that the user typed, `option`.
    `segments` are the positions of segments by name, by default of those that the tokens name.

    >>> text = Tokens.plain(["It", "is", "what", "it", "is"])
    >>> [(match.name, match.positions) for match in find_focus(text, "is")]
    [('is#1', (1,)), ('is#2', (4,))]
    >>> find_focus(text, "is#2"), find_focus(text, "-3--2")
    ((FocusMatch(name='is#2', positions=(4,)),), (FocusMatch(name='2-3', positions=(2, 3)),))
    """
    if not wanted.strip():
        raise UsageError(f"{option} is empty: give a word of the text, the position of a token, a segment or all")
    if wanted == ALL:
        return _name_matches(tokens, [(position,) for position in range(len(tokens))])
    span = _span(tokens, wanted)
    if span is not None and span[0] <= span[1]:
        return (_match_of_span(tokens, *span),)
    named = Partition.of_tokens(tokens).positions() if segments is None else segments
    if wanted in named:
        return (FocusMatch(wanted, named[wanted]),)
    if matches := _find_word(tokens, wanted):
        return _name_matches(tokens, matches)
    if (numbered := _NUMBERED.fullmatch(wanted)) and _find_word(tokens, numbered[1]):
        return (_nth_match(tokens, numbered[1], int(numbered[2])),)
    raise _no_match(tokens, wanted, option, list(named), span)


def resolved_name(tokens: Tokens, wanted: str) -> str:
    """Return `wanted` with positions counted from the start, for file names; other names as they are.

    >>> text = Tokens.plain(["It", "is", "what", "it", "is"])
    >>> resolved_name(text, "-1"), resolved_name(text, "-3--2"), resolved_name(text, "it#2")
    ('4', '2-3', 'it#2')
    """
    span = _span(tokens, wanted)
    return wanted if span is None else "-".join(map(str, dict.fromkeys(span)))


def title_name(tokens: Tokens, wanted: str) -> str:
    """Return `wanted` for a title: of a position the token, of a range its positions from the start.

    >>> text = Tokens.plain(["It", "is", "what", "it", "is"])
    >>> title_name(text, "-1"), title_name(text, "-3--2"), title_name(text, "it#2")
    ('is#2', 'tokens 2-3', 'it#2')
    """
    span = _span(tokens, wanted)
    if span is None:
        return wanted
    if span[0] < span[1]:
        return f"tokens {resolved_name(tokens, wanted)}"
    named = _named_token(tokens, span[0])
    return named.name if named else f"{_match_text(tokens, span[:1])} (token {span[0]})"


def name_note(tokens: Tokens, wanted: str, segments: NamedPositions) -> str:
    """Return a note if `wanted` is taken as a position or a segment although it is a word of the text too, else "".

    >>> name_note(Tokens.plain(["in", "1", "day"]), "0", {}), name_note(Tokens.plain(["2", "or", "1"]), "1", {})
    ('', "'1' is token 1 of the text: for the word give 1#1")
    """
    span = _span(tokens, wanted)
    if span is not None:
        number = _number_of_word(tokens, wanted, tuple(range(span[0], span[1] + 1)))
        tokens_of_span = f"token{'s' if span[0] < span[1] else ''} {resolved_name(tokens, wanted)}"
        return f"'{wanted}' is {tokens_of_span} of the text: for the word give {wanted}#{number}" if number else ""
    if wanted not in segments or not _find_word(tokens, wanted):
        return ""
    return f"'{wanted}' is the segment '{wanted}' of the text: for the word give {wanted}#1"


def _number_of_word(tokens: Tokens, word: str, taken: Positions) -> int:
    """Return the number that selects the first whole word `word`; 0 if there is none, or only at positions `taken`.

    A piece inside a longer word, as a digit of a year, is not meant by a number.
    """
    matches = _find_word(tokens, word)
    whole = _find_in_text(tokens, word, str) | {positions for positions, name in _words(tokens) if name == word}
    return next((number for number, positions in enumerate(matches, 1) if positions in whole - {taken}), 0)


def _span(tokens: Tokens, wanted: str) -> tuple[int, int] | None:
    """Return the first and last position, counted from the start; None unless the text has both."""
    match = _POSITION.fullmatch(wanted)
    ends = [] if match is None else [int(match[1]), int(match[2] or match[1])]
    if not ends or not all(-len(tokens) <= end < len(tokens) for end in ends):
        return None
    first, last = (end % len(tokens) for end in ends)
    return first, last


def _match_of_span(tokens: Tokens, first: int, last: int) -> FocusMatch:
    """Return a range of tokens, or one token with the name that finds it, where it has one."""
    if first < last:
        return FocusMatch(f"{first}-{last}", tuple(range(first, last + 1)))
    return _named_token(tokens, first) or FocusMatch(_match_text(tokens, (first,)), (first,))


def _named_token(tokens: Tokens, position: int) -> FocusMatch | None:
    """Return a token as the match of a word; None if it is only a part of a word."""
    name = _match_text(tokens, (position,))
    same = _name_matches(tokens, _find_word(tokens, name, ignore_case=True)) if name.strip() else ()
    return next((match for match in same if match.positions == (position,)), None)


def _no_match(
    tokens: Tokens, wanted: str, option: str, segments: Sequence[str], span: tuple[int, int] | None
) -> UsageError:
    """Return the error for a focus that the text does not have."""
    if span is not None:
        return UsageError(f"{option} {wanted} ends before it begins: write the earlier token first")
    if _POSITION.fullmatch(wanted):
        return UsageError(f"{option} {wanted} is outside the text: it has {len(tokens)} tokens, 0-{len(tokens) - 1}")
    words = [*dict.fromkeys(name for _, name in _words(tokens) if name.strip())]
    known = [*segments, *words]
    hints = did_you_mean(wanted, known), did_you_mean(wanted.casefold(), [name.casefold() for name in known])
    listed = f"there are {', '.join(map(escape_invisible, words[:12]))}{', …' if len(words) > 12 else ''}"
    listed += f"; segments: {', '.join(segments)}" if segments else ""
    hint = next((hint for hint in hints if hint.startswith("did")), listed)
    return UsageError(f"'{wanted}' does not occur in the text: {hint}")


def find_one_focus(
    tokens: Tokens, wanted: str, option: str = "--focus", segments: NamedPositions | None = None
) -> FocusMatch:
    """Return the only match of `wanted`; if there are several, raise UsageError that lists them."""
    matches = find_focus(tokens, wanted, option, segments)
    if len(matches) > 1:
        raise UsageError(f"'{wanted}' must match once in the text, {describe_matches(matches)}")
    return matches[0]


def positions_of(matches: Iterable[FocusMatch]) -> Array:
    """Return the token positions of several matches, ascending and without repetition."""
    return np.unique([position for match in matches for position in match.positions])


def describe_matches(matches: Sequence[FocusMatch]) -> str:
    """Return the number of matches and the name and position of the first ones, for an error message.

    >>> describe_matches(find_focus(Tokens.plain(["is", "it", "is"]), "is"))
    'it has 2: is#1 is token 0, is#2 is token 2'
    """
    names = [f"{match.name} is token {match.positions[0]}" for match in matches[:4]]
    return f"it has {len(matches)}: {', '.join(names)}{', …' if len(matches) > 4 else ''}"


def _nth_match(tokens: Tokens, word: str, number: int) -> FocusMatch:
    matches = _name_matches(tokens, _find_word(tokens, word))
    if number > len(matches):
        matches = _name_matches(tokens, _find_word(tokens, word, ignore_case=True))
    if 1 <= number <= len(matches):
        return matches[number - 1]
    times = "once" if len(matches) == 1 else f"{len(matches)} times"
    raise UsageError(f"'{word}' occurs {times}, so there is no {word}#{number}: counted from 1")


def _find_word(tokens: Tokens, word: str, ignore_case: bool = False) -> list[Positions]:
    """Return the positions of each occurrence of a word: in its exact case if it has any, else in any case."""
    for fold in (str.casefold,) if ignore_case else (str, str.casefold):
        if matches := _find_in_text(tokens, word, fold) | _find_in_pieces(tokens, word, fold):
            return sorted(matches)
    return []


def _find_in_text(tokens: Tokens, word: str, fold: Callable[[str], str]) -> set[Positions]:
    word = word.strip()
    begins = "" if re.match(f"[{UNSPACED}]", word) else f"(?<!{_WORD_CHARACTER})" if re.match(r"\w", word) else ""
    ends = f"(?!{_WORD_CHARACTER})" if re.search(rf"[^\W{UNSPACED}]$", word) else ""
    flags = re.IGNORECASE if fold is str.casefold else 0
    starts, stops = tokens.offsets[:, 0], tokens.offsets[:, 1]
    matches = set()
    for match in re.finditer(begins + re.escape(word) + ends, tokens.text, flags):
        overlap = np.flatnonzero((starts >= 0) & (starts < match.end()) & (stops > match.start()))
        if len(overlap):
            matches.add(tuple(overlap.tolist()))
    return matches


def _find_in_pieces(tokens: Tokens, word: str, fold: Callable[[str], str]) -> set[Positions]:
    """Return the positions of words without offsets and of vocabulary pieces that are equal to `word`."""
    folded = fold(word)
    pieces = {(position,) for position, piece in enumerate(tokens.pieces) if fold(piece) == folded}
    in_text = {position for position in range(len(tokens)) if tokens.offsets[position, 0] >= 0}
    words = {found for found, name in _words(tokens) if fold(name) == folded and not in_text & set(found)}
    inside_words = {piece for piece in pieces if any(set(piece) < set(found) for found in words)}
    return words | (pieces - inside_words)


def _words(tokens: Tokens) -> Iterator[tuple[Positions, str]]:
    """Yield the positions of the tokens of each word, and the word."""
    members: dict[int, list[int]] = {}
    for position, word in enumerate(word_groups(tokens).tolist()):
        members.setdefault(word, []).append(position)
    for word, name in enumerate(merged_words(tokens).pieces):
        yield tuple(members[word]), name


def _name_matches(tokens: Tokens, matches: Sequence[Positions]) -> tuple[FocusMatch, ...]:
    """Return each match with its text as name, numbered if several have the same text in any case."""
    names = [_match_text(tokens, positions) for positions in matches]
    totals, counts = Counter(name.casefold() for name in names), Counter[str]()
    named = []
    for name, positions in zip(names, matches, strict=True):
        counts[name.casefold()] += 1
        number = f"#{counts[name.casefold()]}" if totals[name.casefold()] > 1 else ""
        named.append(FocusMatch(name + number, positions))
    return tuple(named)


def _match_text(tokens: Tokens, positions: Positions) -> str:
    """Return the text of some tokens; without offsets, that of their piece or word."""
    spans = tokens.offsets[list(positions)]
    if (spans >= 0).all() and (text := tokens.text[spans[:, 0].min() : spans[:, 1].max()].strip()):
        return text
    if len(positions) == 1:
        piece, (text,) = tokens.pieces[positions[0]], token_texts(tokens.take(positions))
        return text if text.strip() and not has_bytes(piece_text(piece, tokens.scheme)) else piece
    return next(name for word, name in _words(tokens) if word == positions)
