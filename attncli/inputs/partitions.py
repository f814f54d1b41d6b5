"""Division of a text into named segments: by its parts, such as chat roles, by paragraph, line, sentence or spans."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from attncli.data import Array, Input, Kind, Partition, Spans, TextSpan, Tokens
from attncli.data.segments import GENERATED, RESERVED_NAMES, REST, SPECIAL, NamedPositions, ordinary_positions
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.sentences import sentence_ends
from attncli.inputs.text_files import check_text, display_name, read_json, type_name
from attncli.vocabulary import DIVISIONS

PROMPT, TEXT = "prompt", "text"
BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_BREAKS = {"paragraph": BLANK_LINE, "line": re.compile(r"\n\s*")}
_MARKS = {"paragraph": "¶", "line": "line ", "sentence": "sentence "}
_PASSAGE_WIDTH = 40
_SPAN = '"a passage", [start, end] in characters or {"tokens": [start, end]}'
_OBJECT = f"an object of segments, each a list of {_SPAN}"

Sides = tuple[Partition, Partition]
"""The segments of the queries and of the keys."""


def partitions(one: Input, kind: Kind, divide: str = "auto", spans: Spans | None = None) -> Sides:
    """Return the segments of the queries and of the keys of a text.

    divide  segment: a and b of a pair, the roles of a chat, the generated part; paragraph: between blank lines; line;
            sentence; auto: segments if the text has several, else paragraphs
    spans   if given, replaces `divide`: the segments of the input of the encoder or the decoder-only model

    Special tokens are in the segment `special`, generated tokens in `generated`, tokens outside all spans in `rest`.
    """
    check_division(divide)
    division = _choose_division(one) if divide == "auto" else divide
    source = _divide_by_spans(one.source, spans) if spans is not None else _divide(one.source, _name(one), division)
    if one.target is None:
        return source, source
    target = _divide(one.target, "target", "segment" if spans is not None else division)
    queries = source if kind == "encoder" else target
    return queries, target if kind == "decoder" else source


def named_segments(one: Input, kind: Kind, spans: Spans | None = None) -> tuple[NamedPositions, NamedPositions]:
    """Return the positions of the segments that a user can name, of the queries and of the keys of a text.

    These are the parts of the input (a and b of a pair, chat roles, prompt, generated), or given spans, and the special
    tokens; of an encoder-decoder also the whole source and target. A text without parts has no name: it is `all`.
    """
    queries, keys = (part.positions() for part in partitions(one, kind, "segment", spans))
    if one.target is None:
        for segments in (queries, keys) if spans is None else ():
            segments.pop(TEXT, None)
        return queries, keys
    names = ("source" if kind == "encoder" else "target", "target" if kind == "decoder" else "source")
    whole = [{name: ordinary_positions(side)} for name, side in zip(names, one.sides(kind), strict=True)]
    return {**whole[0], **queries}, {**whole[1], **keys}


def spans_by_text(inputs: Sequence[Input], spans: Sequence[Spans]) -> dict[int, Spans]:
    """Return the spans of each text by its number; raise UsageError if they are not one for each text."""
    if len(spans) != len(inputs):
        raise UsageError(
            f"there are segments for {len(spans)} texts and {len(inputs)} texts: give a list with an object for each"
        )
    return {text.index: of_text for text, of_text in zip(inputs, spans, strict=True)}


def check_division(divide: str) -> None:
    """Raise UsageError with close names if `divide` is not a way to divide a text."""
    if divide not in DIVISIONS:
        raise UsageError(f"unknown --divide '{divide}': {did_you_mean(divide, DIVISIONS)}")


def check_has_segments(inputs: Sequence[Input], sides: Sequence[Sides]) -> None:
    """Raise UsageError if no text has two segments besides special tokens: there is no attention between segments."""
    if any(len(_ordinary_names(part)) > 1 for parts in sides for part in parts):
        return
    texts = "the text has" if len(inputs) == 1 else "each text has"
    raise UsageError(
        f"{texts} one segment ({', '.join(_ordinary_names(sides[0][0])) or SPECIAL}), so there is no attention between "
        "segments: give --pair, --chat, --generate, a text with blank lines, --divide line or sentence, "
        "or spans with --segments FILE"
    )


def _ordinary_names(part: Partition) -> list[str]:
    return [name for name in part.names if name != SPECIAL]


def _name(one: Input) -> str:
    return TEXT if one.target is None else "source"


def _choose_division(one: Input) -> str:
    """Return segment if the text has several parts, else paragraph if it has several paragraphs, else segment."""
    segments = {name for name in one.source.segments if name}
    if len(segments - {PROMPT, GENERATED}) > 1:
        return "segment"
    paragraphs = _ordinary_names(_divide(one.source, _name(one), "paragraph"))
    return "paragraph" if len(paragraphs) > max(1, len(segments)) else "segment"


def _divide(tokens: Tokens, name: str, division: str) -> Partition:
    """Divide by the segments of the tokens, and these by paragraph, line or sentence; `name` is for other tokens.

    Paragraphs, lines and sentences are named by their number in their segment, after the segment name if there are
    several.
    """
    by_name = Partition.of_tokens(tokens, name)
    if division == "segment":
        return by_name
    segments, special = tokens.segments, tokens.special.tolist()
    names = [by_name.names[number] for number in by_name.numbers.tolist()]
    mark, blocks = _MARKS[division], _blocks(tokens, division)
    divided = [not is_special and segment != GENERATED for segment, is_special in zip(segments, special, strict=True)]
    numbers: dict[str, dict[int, int]] = {}
    for segment_name, block, is_divided in zip(names, blocks.tolist(), divided, strict=True):
        if is_divided:
            of_segment = numbers.setdefault(segment_name, {})
            of_segment.setdefault(block, len(of_segment) + 1)
    for position in np.flatnonzero(divided):
        number = numbers[names[position]][int(blocks[position])]
        names[position] = f"{names[position] + ' ' if len(numbers) > 1 else ''}{mark}{number}"
    return Partition.of_names(names)


def _blocks(tokens: Tokens, division: str) -> Array:
    """Return the number of the paragraph, line or sentence of each token."""
    text = tokens.text
    ends = (
        sentence_ends(text) if division == "sentence" else [match.end() for match in _BREAKS[division].finditer(text)]
    )
    # a token may begin with the space before a word
    surfaces = [text[start:end] for start, end in tokens.offsets.tolist()]
    spaces = [len(surface) - len(surface.lstrip()) if surface.strip() else 0 for surface in surfaces]
    blocks = np.searchsorted(ends, tokens.offsets[:, 0] + spaces, side="right")
    # a token without offsets belongs to the paragraph, line or sentence of the token before it
    return np.maximum.accumulate(np.where(tokens.offsets[:, 0] >= 0, blocks, 0))


def _divide_by_spans(tokens: Tokens, spans: Spans) -> Partition:
    owners: list[str] = [GENERATED if name == GENERATED else "" for name in tokens.segments]
    for name, segment_spans in spans.items():
        for position in (n for span in segment_spans for n in tokens_in_span(tokens, f"segment '{name}'", span)):
            if owners[position] not in ("", name):
                raise UsageError(
                    f"segments '{owners[position]}' and '{name}' both have token {position} "
                    f"({tokens.pieces[position]!r}): let each token belong to one"
                )
            owners[position] = name
    special = tokens.special.tolist()
    return Partition.of_names(
        [SPECIAL if special[position] else owner or REST for position, owner in enumerate(owners)]
    )


def tokens_in_span(tokens: Tokens, what: str, span: TextSpan) -> list[int]:
    """Return the positions of the ordinary tokens that overlap a span; raise UsageError if there are none.

    what  what has the span, for errors: `segment 'question'`
    """
    start, end, described = span.start, span.end, f"{what}: {span.unit} {span.start} to {span.end}"
    if span.unit == "passage":
        shown = span.passage if len(span.passage) <= _PASSAGE_WIDTH else f"{span.passage[:_PASSAGE_WIDTH]}…"
        described, count = f"{what}: {shown!r}", tokens.text.count(span.passage)
        if count != 1:
            times = "does not occur" if not count else f"occurs {count} times"
            raise UsageError(
                f"{described} {times} in the text: give a passage that occurs once, word for word, or [start, end] in "
                "characters"
            )
        start = tokens.text.index(span.passage)
        end = start + len(span.passage)
    length = len(tokens if span.unit == "tokens" else tokens.text)
    if end > length:
        raise UsageError(f"{described} ends after the text, which has {length} {span.unit}")
    positions = np.arange(len(tokens))
    starts, ends = (positions, positions + 1) if span.unit == "tokens" else tokens.offsets.T
    inside = (starts >= 0) & (starts < end) & (ends > start) & ~tokens.special
    ordinary: list[int] = np.flatnonzero(inside).tolist()
    if not ordinary and span.unit != "tokens" and (tokens.offsets < 0).all():
        raise UsageError(
            f"{described} cannot be found: the positions of these tokens in the text are unknown; give positions of "
            'tokens, {"tokens": [start, end]}'
        )
    if not ordinary:
        raise UsageError(f"{described} contains no token: give a span with words in it")
    return ordinary


def read_spans(path: str | Path) -> tuple[Spans, ...]:
    """Return the segments of each text from a JSON file: an object of name and list of spans, or a list of objects.

    A span is a passage of the text, `[start, end]` in characters or `{"tokens": [start, end]}`; positions count from 0
    and exclude the end. Raises `UsageError` for any other content.
    """
    return as_spans(read_json(path), display_name(path))


def plain_spans(spans: Sequence[Spans]) -> list[dict[str, Any]]:
    """Return the segments of each text as plain values, for the options that a run records."""
    return [{name: [vars(span) for span in of_name] for name, of_name in text.items()} for text in spans]


def as_spans(document: object, where: str = "spans") -> tuple[Spans, ...]:
    """Return the segments of each text from the content of a file of spans; `where` names it in errors."""
    entries = document if _is_sequence(document) else [document]
    if not entries:
        raise UsageError(f"{where}: expected {_OBJECT}, got an empty list")
    texts = []
    for number, entry in enumerate(entries):
        name_of_text = f"{where}, text {number}" if entries is document else where
        if not isinstance(entry, dict) or not entry:
            raise UsageError(f"{name_of_text}: expected {_OBJECT}, got {type_name(entry)}")
        texts.append({name: _segment_spans(name_of_text, name, spans) for name, spans in entry.items()})
    return tuple(texts)


def _is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


def _segment_spans(where: str, name: str, spans: object) -> tuple[TextSpan, ...]:
    check_text(where, name)
    if not name.strip() or name in RESERVED_NAMES:
        raise UsageError(
            f"{where}: {name!r} cannot be the name of a segment ({', '.join(RESERVED_NAMES)} are reserved): choose "
            "another"
        )
    segment = f"{where}, segment {name!r}"
    if not _is_sequence(spans) or not spans:
        raise UsageError(f"{segment}: expected a list of {_SPAN}, got {type_name(spans)}")
    return tuple(parse_span(f"{segment}, span {number}", span) for number, span in enumerate(spans, start=1))


def parse_span(where: str, span: object) -> TextSpan:
    """Return a span from a passage, `[start, end]` or an object with `tokens`; raise UsageError for anything else.

    where  what names the span in errors
    """
    if isinstance(span, str) and span.strip():
        return TextSpan("passage", passage=check_text(where, span))
    in_tokens = isinstance(span, dict) and list(span) == ["tokens"]
    ends = span["tokens"] if isinstance(span, dict) and in_tokens else span
    if not in_tokens and not _is_sequence(ends):
        raise UsageError(f"{where}: expected {_SPAN}, got {span!r:.60}")
    numbers = [end for end in ends if type(end) is int] if _is_sequence(ends) and len(ends) == 2 else []
    if len(numbers) != 2 or not 0 <= numbers[0] < numbers[1]:
        raise UsageError(f"{where}: expected two whole numbers [start, end] with 0 <= start < end, got {ends!r:.60}")
    return TextSpan("tokens" if in_tokens else "characters", numbers[0], numbers[1])
