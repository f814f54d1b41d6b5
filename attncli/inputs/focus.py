"""Which tokens a person means by a word: `it`, `it#2`, `7`, `[CLS]`, `all` against the tokens of a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Tokens
from attncli.data.words import merged_words, word_groups
from attncli.errors import UsageError, did_you_mean

ALL = "all"
_NUMBERED = re.compile(r"(.+)#(\d{1,9})", re.DOTALL)
_INDEX = re.compile(r"-?\d{1,9}")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Scripts that put no spaces between words: there a word may begin and end anywhere."""
_IN_A_WORD = f"[^\\W{_UNSPACED}]"
_NAMES_IN_AN_ERROR = 12


@dataclass(frozen=True)
class FocusMatch:
    """One place of a text that is meant: a word, a part of one, or a special token.

    name       as it stands in the text; `it#2` where the same was found in several places
    positions  of its tokens, in order
    """

    name: str
    positions: tuple[int, ...]


def find_focus(tokens: Tokens, wanted: str, called: str = "--focus") -> tuple[FocusMatch, ...]:
    """All places of a text that `wanted` means, in order; a `UsageError` with close names where there is none.

    it        a word, in all its places, also where it is several tokens (`didn't`); as it is written if the text has
              that, else in any case
    it#2      the second of them
    7, -1     the token of this position, counted from 0, from the end where negative; where the text is shorter, the
              word
    [CLS]     a special token, or a piece as the vocabulary has it (`##ing`)
    all       every token, each by itself
    Errors call it as `called` says.

    >>> text = Tokens.plain(["It", "is", "what", "it", "is"])
    >>> find(text, "is")
    (Focus(name='is#1', positions=(1,)), Focus(name='is#2', positions=(4,)))
    >>> find(text, "is#2"), find(text, "-2")
    ((Focus(name='is#2', positions=(4,)),), (Focus(name='it', positions=(3,)),))
    """
    if not wanted.strip():
        raise UsageError(f"{called} is empty: give a word of the text, the position of a token, or all")
    if wanted == ALL:
        return _named(tokens, [(at,) for at in range(len(tokens))])
    if _INDEX.fullmatch(wanted) and -len(tokens) <= (at := int(wanted)) < len(tokens):
        at %= len(tokens)
        return (FocusMatch(_name(tokens, (at,)), (at,)),)
    if places := _places(tokens, wanted):
        return _named(tokens, places)
    if (numbered := _NUMBERED.fullmatch(wanted)) and _places(tokens, numbered[1]):
        return (_nth(tokens, numbered[1], int(numbered[2])),)
    raise UsageError(_missing(tokens, wanted, called))


def find_one_focus(tokens: Tokens, wanted: str, called: str = "--focus") -> FocusMatch:
    """The one place that is meant; a `UsageError` that says how to choose where there are several."""
    found = find_focus(tokens, wanted, called)
    if len(found) > 1:
        raise UsageError(f"'{wanted}' is meant to be one place of the text, {describe_matches(found)}")
    return found[0]


def describe_matches(found: Sequence[FocusMatch]) -> str:
    """How to choose one of several places.

    >>> choosing(find(Tokens.plain(["is", "it", "is"]), "is"))
    'it has 2: is#1 is token 0, is#2 is token 2'
    """
    told = [f"{one.name} is token {one.positions[0]}" for one in found[:4]]
    return f"it has {len(found)}: {', '.join(told)}{', …' if len(found) > 4 else ''}"


def _nth(tokens: Tokens, word: str, number: int) -> FocusMatch:
    found = _named(tokens, _places(tokens, word))
    if number > len(found):
        found = _named(tokens, _places(tokens, word, in_any_case=True))
    if 1 <= number <= len(found):
        return found[number - 1]
    times = "once" if len(found) == 1 else f"{len(found)} times"
    raise UsageError(f"'{word}' occurs {times}, so there is no {word}#{number}: counted from 1")


def _places(tokens: Tokens, word: str, in_any_case: bool = False) -> list[tuple[int, ...]]:
    """Where a word stands: as it is written, else in any case."""
    for same in (str.casefold,) if in_any_case else (str, str.casefold):
        if places := _in_text(tokens, word, same) | _among_names(tokens, word, same):
            return sorted(places)
    return []


def _in_text(tokens: Tokens, word: str, same: Callable[[str], str]) -> set[tuple[int, ...]]:
    """The tokens that lie on each occurrence of a word in the text."""
    word = word.strip()
    begins = "" if re.match(f"[{_UNSPACED}]", word) else f"(?<!{_IN_A_WORD})" if re.match(r"\w", word) else ""
    ends = f"(?!{_IN_A_WORD})" if re.search(rf"[^\W{_UNSPACED}]$", word) else ""
    flags = re.IGNORECASE if same is str.casefold else 0
    starts, stops = tokens.offsets[:, 0], tokens.offsets[:, 1]
    found = set()
    for match in re.finditer(begins + re.escape(word) + ends, tokens.text, flags):
        on = np.flatnonzero((starts >= 0) & (starts < match.end()) & (stops > match.start()))
        if len(on):
            found.add(tuple(on.tolist()))
    return found


def _among_names(tokens: Tokens, word: str, same: Callable[[str], str]) -> set[tuple[int, ...]]:
    """Words without a place in the text, and pieces as the vocabulary has them."""
    wanted = same(word)
    pieces = {(at,) for at, piece in enumerate(tokens.pieces) if same(piece) == wanted}
    covered = {at for at in range(len(tokens)) if tokens.offsets[at, 0] >= 0}
    words = {each for each, name in _words(tokens) if same(name) == wanted and not covered & set(each)}
    inside = {place for place in pieces if any(set(place) < set(each) for each in words)}
    return words | (pieces - inside)


def _words(tokens: Tokens) -> Iterator[tuple[tuple[int, ...], str]]:
    """The positions of each word, and its name."""
    members: dict[int, list[int]] = {}
    for at, place in enumerate(word_groups(tokens).tolist()):
        members.setdefault(place, []).append(at)
    for place, name in enumerate(merged_words(tokens).pieces):
        yield tuple(members[place]), name


def _named(tokens: Tokens, places: Sequence[tuple[int, ...]]) -> tuple[FocusMatch, ...]:
    """Each with its name in the text, numbered where several have the same."""
    names = [_name(tokens, place) for place in places]
    totals: dict[str, int] = {}
    for name in names:
        totals[name.casefold()] = totals.get(name.casefold(), 0) + 1
    counts: dict[str, int] = {}
    found = []
    for name, place in zip(names, places, strict=True):
        number = counts[name.casefold()] = counts.get(name.casefold(), 0) + 1
        found.append(FocusMatch(f"{name}#{number}" if totals[name.casefold()] > 1 else name, place))
    return tuple(found)


def _name(tokens: Tokens, positions: tuple[int, ...]) -> str:
    """What stands there: in the text, else the pieces."""
    spans = tokens.offsets[list(positions)]
    if (spans >= 0).all() and (written := tokens.text[spans[:, 0].min() : spans[:, 1].max()].strip()):
        return written
    if len(positions) == 1:
        return tokens.pieces[positions[0]]
    return next(name for each, name in _words(tokens) if each == positions)


def _missing(tokens: Tokens, wanted: str, called: str) -> str:
    names = [name for _, name in _words(tokens) if name.strip()]
    if _INDEX.fullmatch(wanted):
        return f"{called} {wanted} lies outside of the text: it has {len(tokens)} tokens, 0-{len(tokens) - 1}"
    known = list(dict.fromkeys(names))
    hint = did_you_mean(wanted, known)
    if not hint.startswith("did"):
        hint = did_you_mean(wanted.casefold(), [name.casefold() for name in known])
    if not hint.startswith("did"):
        more = ", …" if len(known) > _NAMES_IN_AN_ERROR else ""
        hint = f"there are {', '.join(known[:_NAMES_IN_AN_ERROR])}{more}"
    return f"'{wanted}' does not occur in the text: {hint}"
