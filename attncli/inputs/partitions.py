"""Division of a text into named segments: by its parts (pair, chat roles), by paragraph or line, or by given spans."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from attncli.data import Array, Input, Kind, Partition, Spans, TextSpan, Tokens
from attncli.errors import UsageError, did_you_mean

DIVISIONS = ("auto", "segment", "paragraph", "line")
SPECIAL, REST, GENERATED, PROMPT = "special", "rest", "generated", "prompt"
BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_BREAKS = {"paragraph": (BLANK_LINE, "¶"), "line": (re.compile(r"\n\s*"), "line ")}
_PASSAGE_WIDTH = 40

Sides = tuple[Partition, Partition]
"""The segments of the queries and of the keys."""


def partitions(one: Input, kind: Kind, by: str = "auto", spans: Spans | None = None) -> Sides:
    """Return the segments of the queries and of the keys of a text.

    by     segment: a and b of a pair, the roles of a chat, the generated part; paragraph: between blank lines; line;
           auto: segments if the text has several, else paragraphs
    spans  if given, replaces `by`: the segments of the input of the encoder or the decoder-only model

    Special tokens are in the segment `special`, generated tokens in `generated`, tokens outside all spans in `rest`.
    """
    check_division(by)
    division = _choose_division(one) if by == "auto" else by
    source = _divide_by_spans(one.source, spans) if spans is not None else _divide(one.source, _name(one), division)
    if one.target is None:
        return source, source
    target = _divide(one.target, "target", "segment" if spans is not None else division)
    queries = source if kind == "encoder" else target
    return queries, target if kind == "decoder" else source


def check_division(by: str) -> None:
    """Raise UsageError with close names if `by` is not a way to divide a text."""
    if by not in DIVISIONS:
        raise UsageError(f"unknown --by '{by}': {did_you_mean(by, DIVISIONS)}")


def check_has_segments(inputs: Sequence[Input], sides: Sequence[Sides]) -> None:
    """Raise UsageError if no text has two segments besides special tokens: there is no attention between segments."""
    if any(len(_ordinary_names(part)) > 1 for parts in sides for part in parts):
        return
    texts = "the text has" if len(inputs) == 1 else "each text has"
    raise UsageError(
        f"{texts} one segment ({', '.join(_ordinary_names(sides[0][0])) or SPECIAL}), so there is no attention between "
        "segments: give --pair, --chat, --generate, a text with blank lines, --by line, or spans with --segments FILE"
    )


def _ordinary_names(part: Partition) -> list[str]:
    return [name for name in part.names if name != SPECIAL]


def _name(one: Input) -> str:
    return "text" if one.target is None else "source"


def _choose_division(one: Input) -> str:
    """Return segment if the text has several parts, else paragraph if it has several paragraphs, else segment."""
    segments = {name for name in one.source.segments if name}
    if len(segments - {PROMPT, GENERATED}) > 1:
        return "segment"
    paragraphs = _ordinary_names(_divide(one.source, _name(one), "paragraph"))
    return "paragraph" if len(paragraphs) > max(1, len(segments)) else "segment"


def _divide(tokens: Tokens, name: str, division: str) -> Partition:
    """Divide by the segments of the tokens, and these by paragraph or line; `name` is for tokens without segment."""
    keys: list[str | tuple[str, int]] = []
    blocks = _block_numbers(tokens, division)
    for segment, special, block in zip(tokens.segments, tokens.special.tolist(), blocks.tolist(), strict=True):
        segment_name = segment or name
        if special:
            keys.append(SPECIAL)
        else:
            keys.append(segment_name if division == "segment" or segment == GENERATED else (segment_name, block))
    return _partition(_name_blocks(keys, division))


def _block_numbers(tokens: Tokens, division: str) -> Array:
    """Return for each token the number of its paragraph or line; tokens without offsets belong to the one before."""
    if division == "segment":
        return np.zeros(len(tokens), np.int64)
    ends = [match.end() for match in _BREAKS[division][0].finditer(tokens.text)]
    numbers = np.searchsorted(ends, tokens.offsets[:, 0], side="right")
    filled: Array = np.maximum.accumulate(np.where(tokens.offsets[:, 0] >= 0, numbers, 0))
    return filled


def _name_blocks(keys: Sequence[str | tuple[str, int]], division: str) -> list[str]:
    """Name paragraphs and lines by their number in their segment; add the segment name if there are several."""
    blocks = list(dict.fromkeys(key for key in keys if isinstance(key, tuple)))
    several = len({segment for segment, _ in blocks}) > 1
    counts: dict[str, int] = {}
    names: dict[str | tuple[str, int], str] = {}
    for block in blocks:
        segment = block[0]
        counts[segment] = counts.get(segment, 0) + 1
        names[block] = f"{segment + ' ' if several else ''}{_BREAKS[division][1]}{counts[segment]}"
    return [key if isinstance(key, str) else names[key] for key in keys]


def _partition(token_names: Sequence[str]) -> Partition:
    names = order_segment_names(token_names)
    numbers = {name: number for number, name in enumerate(names)}
    return Partition(names, np.array([numbers[name] for name in token_names], dtype=np.int64))


def order_segment_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in order, but `generated`, `rest` and `special` last.

    >>> order_segment_names(["special", "b", "rest", "a"])
    ('b', 'a', 'rest', 'special')
    """
    unique, last = dict.fromkeys(names), (GENERATED, REST, SPECIAL)
    return (*(name for name in unique if name not in last), *(name for name in last if name in unique))


def _divide_by_spans(tokens: Tokens, spans: Spans) -> Partition:
    owners: list[str] = [GENERATED if name == GENERATED else "" for name in tokens.segments]
    for name, segment_spans in spans.items():
        for position in (position for span in segment_spans for position in _tokens_in_span(tokens, name, span)):
            if owners[position] not in ("", name):
                raise UsageError(
                    f"segments '{owners[position]}' and '{name}' both have token {position} "
                    f"({tokens.pieces[position]!r}): let each token belong to one"
                )
            owners[position] = name
    special = tokens.special.tolist()
    return _partition([SPECIAL if special[position] else owner or REST for position, owner in enumerate(owners)])


def _tokens_in_span(tokens: Tokens, name: str, span: TextSpan) -> list[int]:
    """Return the positions of the ordinary tokens that overlap a span."""
    if span.unit == "tokens":
        _check_inside(name, span, len(tokens), "tokens")
        positions = np.arange(span.start, span.end)
    else:
        start, end = _character_range(tokens, name, span)
        starts, ends = tokens.offsets.T
        positions = np.flatnonzero((starts >= 0) & (starts < end) & (ends > start))
    ordinary: list[int] = [position for position in positions.tolist() if not tokens.special[position]]
    if not ordinary:
        raise UsageError(f"segment '{name}': {_describe(span)} contains no token: give a span with words in it")
    return ordinary


def _character_range(tokens: Tokens, name: str, span: TextSpan) -> tuple[int, int]:
    if span.unit == "characters":
        _check_inside(name, span, len(tokens.text), "characters")
        return span.start, span.end
    count = tokens.text.count(span.passage)
    if count != 1:
        times = "does not occur" if not count else f"occurs {count} times"
        raise UsageError(
            f"segment '{name}': {_describe(span)} {times} in the text: give a passage that occurs once, word for word, "
            "or [start, end] in characters"
        )
    start = tokens.text.index(span.passage)
    return start, start + len(span.passage)


def _check_inside(name: str, span: TextSpan, length: int, unit: str) -> None:
    if span.end > length:
        raise UsageError(f"segment '{name}': {_describe(span)} ends after the text, which has {length} {unit}")


def _describe(span: TextSpan) -> str:
    if span.unit == "passage":
        passage = span.passage if len(span.passage) <= _PASSAGE_WIDTH else f"{span.passage[:_PASSAGE_WIDTH]}…"
        return f"{passage!r}"
    return f"{span.unit} {span.start} to {span.end}"
