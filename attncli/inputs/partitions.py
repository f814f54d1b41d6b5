"""Which segment of a text each token belongs to: as the text came, by paragraph or line, or as spans say."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from attncli.data import Array, Input, Kind, Partition, Spans, TextSpan, Tokens
from attncli.errors import UsageError, did_you_mean

WAYS = ("auto", "segment", "paragraph", "line")
SPECIAL, REST, GENERATED, PROMPT = "special", "rest", "generated", "prompt"
BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_BREAKS = {"paragraph": (BLANK_LINE, "¶"), "line": (re.compile(r"\n\s*"), "line ")}
_SHOWN = 40

Sides = tuple[Partition, Partition]


def partitions(one: Input, kind: Kind, by: str = "auto", spans: Spans | None = None) -> Sides:
    """The segments of the queries and of the keys of a text.

    by     segment: a and b of a pair, the roles of a chat, what the model wrote; paragraph: between blank lines; line;
           auto: segments where the text has several, else paragraphs
    spans  instead, the stretches of what an encoder or a decoder-only model reads
    Special tokens are the segment `special`, what the model wrote is `generated`, what no span covers is `rest`.
    """
    check_division(by)
    way = _way(one) if by == "auto" else by
    source = _spanned(one.source, spans) if spans is not None else _named(one.source, _first_name(one), way)
    if one.target is None:
        return source, source
    target = _named(one.target, "target", "segment" if spans is not None else way)
    queries = source if kind == "encoder" else target
    return queries, target if kind == "decoder" else source


def check_division(by: str) -> None:
    """A `UsageError` with close names unless there is such a way to divide a text."""
    if by not in WAYS:
        raise UsageError(f"unknown --by '{by}': {did_you_mean(by, WAYS)}")


def check_has_segments(inputs: Sequence[Input], found: Sequence[Sides]) -> None:
    """A `UsageError` where no text has more than one segment beside special tokens: nothing goes between."""
    if any(len(_told(side)) > 1 for sides in found for side in sides):
        return
    text = "the text has" if len(inputs) == 1 else "each text has"
    raise UsageError(
        f"{text} one segment ({', '.join(_told(found[0][0])) or SPECIAL}), and nothing to look at between segments: "
        "give --pair, --chat, --generate, a text with blank lines, --by line, or spans with --segments FILE"
    )


def _told(side: Partition) -> list[str]:
    return [name for name in side.names if name != SPECIAL]


def _first_name(one: Input) -> str:
    return "text" if one.target is None else "source"


def _way(one: Input) -> str:
    """Segments where the text came in several, else paragraphs where it has several, else segments again."""
    own = {name for name in one.source.segments if name}
    if len(own - {PROMPT, GENERATED}) > 1:
        return "segment"
    paragraphs = _told(_named(one.source, _first_name(one), "paragraph"))
    return "paragraph" if len(paragraphs) > max(1, len(own)) else "segment"


def _named(tokens: Tokens, name: str, way: str) -> Partition:
    """By the names that tokens came with; `name` for those that have none."""
    keys: list[str | tuple[str, int]] = []
    cut = _stretches(tokens, way)
    for segment, special, stretch in zip(tokens.segments, tokens.special.tolist(), cut.tolist(), strict=True):
        own = segment or name
        if special:
            keys.append(SPECIAL)
        else:
            keys.append(own if way == "segment" or own == GENERATED else (own, stretch))
    return _partition(_numbered(keys, way))


def _stretches(tokens: Tokens, way: str) -> Array:
    """[token] in which paragraph or line of its text it begins; what has no place belongs to the one before."""
    if way == "segment":
        return np.zeros(len(tokens), np.int64)
    ends = [found.end() for found in _BREAKS[way][0].finditer(tokens.text)]
    found = np.searchsorted(ends, tokens.offsets[:, 0], side="right")
    last: Array = np.maximum.accumulate(np.where(tokens.offsets[:, 0] >= 0, found, 0))
    return last


def _numbered(keys: Sequence[str | tuple[str, int]], way: str) -> list[str]:
    """Paragraphs and lines by their number in their segment, which is named only where there are several."""
    stretches = list(dict.fromkeys(key for key in keys if isinstance(key, tuple)))
    several = len({segment for segment, _ in stretches}) > 1
    counts: dict[str, int] = {}
    names: dict[str | tuple[str, int], str] = {}
    for key in stretches:
        segment = key[0]
        counts[segment] = counts.get(segment, 0) + 1
        names[key] = f"{segment + ' ' if several else ''}{_BREAKS[way][1]}{counts[segment]}"
    return [key if isinstance(key, str) else names[key] for key in keys]


def _partition(found: Sequence[str]) -> Partition:
    names = ordered(dict.fromkeys(found))
    numbers = {name: at for at, name in enumerate(names)}
    return Partition(names, np.array([numbers[name] for name in found], dtype=np.int64))


def ordered(names: Sequence[str] | dict[str, None]) -> tuple[str, ...]:
    """In their order, but for what is written behind the text and what is left over.

    >>> ordered(["special", "b", "rest", "a"])
    ('b', 'a', 'rest', 'special')
    """
    last = (GENERATED, REST, SPECIAL)
    return (*(name for name in names if name not in last), *(name for name in last if name in names))


def _spanned(tokens: Tokens, spans: Spans) -> Partition:
    owners: list[str] = [GENERATED if name == GENERATED else "" for name in tokens.segments]
    for name, stretches in spans.items():
        for span in stretches:
            for at in _covered(tokens, name, span):
                if owners[at] not in ("", name):
                    raise UsageError(
                        f"segments '{owners[at]}' and '{name}' both have token {at} ({tokens.pieces[at]!r}): "
                        "let each token belong to one"
                    )
                owners[at] = name
    special = tokens.special.tolist()
    return _partition([SPECIAL if special[at] else owner or REST for at, owner in enumerate(owners)])


def _covered(tokens: Tokens, name: str, span: TextSpan) -> list[int]:
    """The tokens of a span, special ones left out."""
    if span.unit == "tokens":
        _check_inside(name, span, len(tokens), "tokens")
        found = np.arange(span.start, span.end)
    else:
        start, end = _characters(tokens, name, span)
        first, last = tokens.offsets.T
        found = np.flatnonzero((first >= 0) & (first < end) & (last > start))
    kept: list[int] = [at for at in found.tolist() if not tokens.special[at]]
    if not kept:
        raise UsageError(f"segment '{name}': no token lies on {_shown(span)}: give a span with words in it")
    return kept


def _characters(tokens: Tokens, name: str, span: TextSpan) -> tuple[int, int]:
    if span.unit == "characters":
        _check_inside(name, span, len(tokens.text), "characters")
        return span.start, span.end
    count = tokens.text.count(span.passage)
    if count != 1:
        times = "does not occur" if not count else f"occurs {count} times"
        raise UsageError(
            f"segment '{name}': {_shown(span)} {times} in the text: give it word for word, and more of it where it is "
            "not the only one, or [start, end] in characters"
        )
    start = tokens.text.index(span.passage)
    return start, start + len(span.passage)


def _check_inside(name: str, span: TextSpan, length: int, unit: str) -> None:
    if span.end > length:
        raise UsageError(f"segment '{name}': {_shown(span)} ends behind the text, which has {length} {unit}")


def _shown(span: TextSpan) -> str:
    if span.unit == "passage":
        passage = span.passage if len(span.passage) <= _SHOWN else f"{span.passage[:_SHOWN]}…"
        return f"{passage!r}"
    return f"{span.unit} {span.start} to {span.end}"
