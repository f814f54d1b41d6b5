"""The segment of each token, for every way to divide a text, and errors for invalid spans."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE

from attncli.data import Input, Text, Tokens
from attncli.errors import UsageError
from attncli.inputs.partitions import as_spans, partitions
from attncli.inputs.sentences import sentence_ends

TEXT = "Who sat?\n\nThe cat sat.\nIt ran.\n \nA dog"


def tokens(text: str, segments: tuple[str, ...] | None = None, generated: int = 0) -> Tokens:
    """Return [CLS], the words of a text, [SEP], and `generated` more tokens."""
    words = [(match[0], match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    pieces = ["[CLS]", *(word for word, _, _ in words), "[SEP]", *(f"w{at}" for at in range(generated))]
    n = len(pieces)
    offsets = np.full((n, 2), -1)
    offsets[1 : len(words) + 1] = [span for _, *span in words]
    special = np.zeros(n, bool)
    special[[0, len(words) + 1]] = True
    token_segments = segments or (
        ("prompt",) * (n - generated) + ("generated",) * generated if generated else ("",) * n
    )
    return Tokens(tuple(pieces), np.arange(n), special, offsets, np.arange(n), token_segments, text)


def names(side: Tokens, by: str = "auto", spans: Any = None) -> list[str]:
    found, _ = partitions(Input(0, Text(side.text), side), "encoder", by, None if spans is None else as_spans(spans)[0])
    return [found.names[at] for at in found.numbers.tolist()]


def test_blank_lines_separate_paragraphs() -> None:
    assert names(tokens(TEXT)) == ["special", *["¶1"] * 2, *["¶2"] * 5, *["¶3"] * 2, "special"]
    assert names(tokens(TEXT), "paragraph") == names(tokens(TEXT))


def test_line_breaks_separate_lines() -> None:
    expected = ["special", *["line 1"] * 2, *["line 2"] * 3, *["line 3"] * 2, *["line 4"] * 2, "special"]
    assert names(tokens(TEXT), "line") == expected


def test_sentences_end_as_unicode_says() -> None:
    sides = tokens('He paid $3.50 (twice!) "U.S.A. etc. too?" A\nline break ends.')
    expected = [*[1] * 4, *[2] * 3, 3, *[4] * 3]
    assert names(sides, "sentence")[1:-1] == [f"sentence {number}" for number in expected]
    assert sentence_ends("a? b") == [3, 4]
    assert sentence_ends("Pay 3.5 EUR. Now.") == [13, 17]
    assert not sentence_ends("")


def test_a_token_belongs_to_the_sentence_of_its_first_letter() -> None:
    with_spaces = replace(tokens("No. Yes."), offsets=np.array([[-1, -1], [0, 3], [3, 8], [-1, -1]]))
    assert names(with_spaces, "sentence") == ["special", "sentence 1", "sentence 2", "special"]


def test_segments_are_preferred_to_paragraphs_and_name_them() -> None:
    segments = ("", *["user"] * 4, *["system"] * 5, "")
    assert names(tokens(TEXT, segments)) == ["special", *["user"] * 4, *["system"] * 5, "special"]
    expected = ["special", *["user ¶1"] * 2, *["user ¶2"] * 2, *["system ¶1"] * 3, *["system ¶2"] * 2, "special"]
    assert names(tokens(TEXT, segments), "paragraph") == expected


def test_generated_tokens_are_a_segment_next_to_the_paragraphs_of_the_prompt() -> None:
    assert names(tokens(TEXT, generated=2))[-3:] == ["special", "generated", "generated"]
    assert names(tokens(TEXT, generated=2))[1] == "¶1"
    assert names(tokens("one two", generated=1)) == ["special", "prompt", "prompt", "special", "generated"]
    assert names(tokens("one two", generated=1), "line")[1] == "line 1"


def test_special_tokens_and_the_rest_come_last() -> None:
    (spans,) = as_spans({"b": ["dog"], "a": ["cat"]})
    found, _ = partitions(Input(0, Text(TEXT), tokens(TEXT)), "encoder", spans=spans)
    assert found.names == ("a", "b", "rest", "special")


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ({"a": ["The cat"]}, {3: "a", 4: "a"}),
        ({"a": ["e cat s"]}, {3: "a", 4: "a", 5: "a"}),
        ({"a": [[0, 3], [10, 13]], "b": ["dog"]}, {1: "a", 3: "a", 9: "b"}),
        ({"a": [{"tokens": [0, 3]}]}, {1: "a", 2: "a"}),
        ([{"a": [(4, 8)]}], {2: "a"}),
    ],
)
def test_spans_cover_tokens(spans: Any, expected: dict[int, str]) -> None:
    found = names(tokens(TEXT), spans=spans)
    assert {at: name for at, name in enumerate(found) if name not in ("rest", "special")} == expected
    assert (found[0], found[-1]) == ("special", "special")


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ({"a": ["cow"]}, "segment 'a': 'cow' does not occur in the text: give a passage that occurs once"),
        ({"a": ["at"]}, "segment 'a': 'at' occurs 3 times in the text"),
        ({"a": [[8, 10]]}, "segment 'a': characters 8 to 10 contains no token: give a span with words in it"),
        ({"a": [[0, 99]]}, f"segment 'a': characters 0 to 99 ends after the text, which has {len(TEXT)} characters"),
        ({"a": [{"tokens": [3, 12]}]}, "tokens 3 to 12 ends after the text, which has 11 tokens"),
        ({"a": ["cat"], "b": ["The cat"]}, r"segments 'a' and 'b' both have token 4 \('cat'\)"),
    ],
)
def test_invalid_spans_are_refused(spans: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        names(tokens(TEXT), spans=spans)


def test_an_encoder_and_a_decoder_have_their_own_segments() -> None:
    one = Input(0, Text("x"), tokens("one two"), tokens("eno", generated=2))
    queries, keys = partitions(one, "cross")
    assert (queries.names, keys.names) == (("prompt", "generated", "special"), ("source", "special"))
    assert [side.names for side in partitions(one, "encoder")] == [keys.names] * 2
    assert [side.names for side in partitions(one, "decoder")] == [queries.names] * 2


def test_an_unknown_division_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown --divide 'paragraf': did you mean 'paragraph'"):
        names(tokens("a"), "paragraf")


def test_hostile_names_and_passages() -> None:
    segment_names = [name for name in HOSTILE if name.strip() and "\n" not in name]
    text = " ".join(f"word{at}" for at in range(len(segment_names)))
    spans = {name: [{"tokens": [at + 1, at + 2]}] for at, name in enumerate(dict.fromkeys(segment_names))}
    assert names(tokens(text), spans=spans)[1:-1] == segment_names
