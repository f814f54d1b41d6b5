"""Finding tokens by word, position, range and segment: all matches, one of them; and errors where there is none."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hostile import HOSTILE

from attncli.data import Input, Partition, Text, Tokens
from attncli.data.focus import FocusMatch, find_focus, find_one_focus, name_note, resolved_name, title_name
from attncli.errors import UsageError
from attncli.inputs.partitions import named_segments

TEXT = "It said: didn't it, IT? 注意力 unbelievable"
PIECES = (
    *("[CLS]", "it", "said", ":", "didn", "'", "t", "it", ",", "it", "?"),
    *("注", "意", "力", "un", "##believ", "##able", "[SEP]"),
)
SPANS = (
    *((-1, -1), (0, 2), (3, 7), (7, 8), (9, 13), (13, 14), (14, 15), (16, 18), (18, 19), (20, 22), (22, 23)),
    *((24, 25), (25, 26), (26, 27), (28, 30), (30, 36), (36, 40), (-1, -1)),
)
WORDS = (-1, *range(10), 10, 11, 12, 13, 13, 13, -1)


def tokens() -> Tokens:
    n = len(PIECES)
    special = [piece.startswith("[") for piece in PIECES]
    return Tokens(PIECES, np.arange(n), special, SPANS, WORDS, ("",) * n, TEXT, "wordpiece")


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("said", {"said": (2,)}),
        ("it", {"It#1": (1,), "it#2": (7,), "IT#3": (9,)}),  # all are the piece `it`
        ("It", {"It": (1,)}),
        ("it#2", {"it#2": (7,)}),
        ("IT", {"IT": (9,)}),
        ("SAID", {"said": (2,)}),
        ("didn't", {"didn't": (4, 5, 6)}),
        ("didn", {"didn": (4,)}),
        ("unbelievable", {"unbelievable": (14, 15, 16)}),
        ("##believ", {"believ": (15,)}),
        ("注意", {"注意": (11, 12)}),
        ("意", {"意": (12,)}),
        ("[CLS]", {"[CLS]": (0,)}),
        ("[sep]", {"[SEP]": (17,)}),
        ("7", {"it#2": (7,)}),
        ("15", {"believ": (15,)}),
        ("2-4", {"2-4": (2, 3, 4)}),
        ("-3--1", {"15-17": (15, 16, 17)}),
        ("14--1", {"14-17": (14, 15, 16, 17)}),
        ("7-7", {"it#2": (7,)}),
        ("special", {"special": (0, 17)}),
        ("-1", {"[SEP]": (17,)}),
        ("-18", {"[CLS]": (0,)}),
        ("it, IT", {"it, IT": (7, 8, 9)}),
        (",", {",": (8,)}),
    ],
)
def test_all_matches_of_a_word_are_found(query: str, matches: dict[str, tuple[int, ...]]) -> None:
    assert {match.name: match.positions for match in find_focus(tokens(), query)} == matches


def test_all_matches_every_token_by_itself() -> None:
    found = find_focus(tokens(), "all")
    assert [match.positions for match in found] == [(at,) for at in range(len(PIECES))]
    assert len({match.name for match in found}) == len(PIECES)


def test_the_name_of_a_match_finds_this_match() -> None:
    for query in ("it", "said", "didn't", "[CLS]", "注意"):
        for match in find_focus(tokens(), query):
            assert find_one_focus(tokens(), match.name).positions == match.positions


def chat(roles: str = "s u u u a a") -> Tokens:
    """Return `<s> tell user a generated a` with a segment for each token but the first, which is special."""
    names = {"s": "", "u": "user", "a": "assistant", "g": "generated", "1": "a", "2": "b"}
    segments = tuple(names[role] for role in roles.split())
    plain = Tokens.plain(["<s>", "tell", "user", "a", "generated", "a"])
    return replace(plain, segments=segments, special=np.arange(6) == 0)


def test_a_segment_is_one_match_without_special_tokens() -> None:
    assert find_focus(chat(), "assistant") == (FocusMatch("assistant", (4, 5)),)
    assert find_focus(chat("u u u u g g"), "generated") == (FocusMatch("generated", (4, 5)),)
    assert find_focus(chat("u u u u g g"), "user") == (FocusMatch("user", (1, 2, 3)),)
    assert find_focus(chat("s u a u a u"), "user") == (FocusMatch("user", (1, 3, 5)),)


def test_a_position_goes_before_a_segment_and_a_segment_before_a_word() -> None:
    assert find_focus(chat(), "user")[0].positions == (1, 2, 3)
    assert find_focus(chat(), "user#1")[0].positions == (2,)
    assert find_focus(chat(), "a#2")[0].positions == (5,)
    assert find_focus(chat(), "User")[0].positions == (2,)
    assert find_focus(chat("s 1 1 1 2 2"), "a")[0].positions == (1, 2, 3)
    numbered = replace(Tokens.plain(["3", "4", "2-3", "1"]), segments=("1", "1", "2-3", "2-3"))
    assert [find_focus(numbered, name)[0].positions for name in ("1", "2-3", "4", "2-3#1")] == [
        (1,),
        (2, 3),
        (1,),
        (2,),
    ]


def test_a_segment_that_is_a_word_too_has_a_note() -> None:
    segments = Partition.of_tokens(chat()).positions()
    note = "'user' is the segment 'user' of the text: for the word give user#1"
    assert name_note(chat(), "user", segments) == note
    assert [name_note(chat(), name, segments) for name in ("assistant", "tell", "2")] == ["", "", ""]


@pytest.mark.parametrize(
    ("pieces", "wanted", "note"),
    [
        (["in", "1984", "or", "3"], "3", ""),  # the token 3 is the word
        (["in", "3", "or", "4"], "3", "'3' is token 3 of the text: for the word give 3#1"),
        (["1", "or", "1"], "0", ""),
        (["1", "1", "1"], "1", "'1' is token 1 of the text: for the word give 1#1"),
        (["2-3", "or", "4", "1"], "2-3", "'2-3' is tokens 2-3 of the text: for the word give 2-3#1"),
        (["-2", "or", "-2"], "-2", "'-2' is token 1 of the text: for the word give -2#1"),
    ],
)
def test_a_position_that_is_a_word_too_has_a_note(pieces: list[str], wanted: str, note: str) -> None:
    text = Tokens.plain(pieces)
    assert name_note(text, wanted, {}) == note
    if note:
        (match,) = find_focus(text, note.split()[-1])
        assert pieces[match.positions[0]] == wanted


def test_a_digit_of_a_longer_number_is_no_word_that_a_note_names() -> None:
    spans = ((0, 2), (2, 4), (5, 6))
    text = Tokens(("19", "84", "2"), np.arange(3), [False] * 3, spans, (0, 0, 1), ("",) * 3, "1984 2", "plain")
    assert name_note(text, "2", {}) == ""
    digits = replace(text, pieces=("1", "84", "2"), offsets=np.array(((0, 1), (1, 4), (5, 6))))
    assert name_note(digits, "1", {}) == ""


def test_tokens_that_the_model_wrote_are_named_as_written() -> None:
    pieces = ("Maria", "Ġsees", "ĠMaria", "ĠMaria", "Ċ")
    spans = ((0, 5), (5, 10), (10, 16), (-1, -1), (-1, -1))
    text = Tokens(pieces, np.arange(5), [False] * 5, spans, range(5), ("",) * 5, "Maria sees Maria", "bytelevel")
    matches = find_focus(text, "Maria")
    assert [(match.name, match.positions) for match in matches] == [
        ("Maria#1", (0,)),
        ("Maria#2", (2,)),
        ("Maria#3", (3,)),
    ]
    assert [find_focus(text, match.name) for match in matches] == [(match,) for match in matches]
    assert find_focus(text, "4")[0].name == "Ċ"


def test_given_segments_replace_those_of_the_tokens() -> None:
    documents = {"doc1": (1, 2), "doc2": (3, 4)}
    assert find_focus(chat(), "doc2", segments=documents) == (FocusMatch("doc2", (3, 4)),)
    with pytest.raises(UsageError, match=re.escape("generated; segments: doc1, doc2")):
        find_focus(chat(), "assistant", segments=documents)


def test_the_sides_of_an_encoder_decoder_have_names() -> None:
    source, target = Tokens.plain(["one", "two"]), Tokens.plain(["eins", "zwei", "."])
    text = Input(0, Text("one two", target="eins zwei ."), source, target)
    queries, keys = named_segments(text, "cross")
    assert find_focus(target, "target", segments=queries)[0].positions == (0, 1, 2)
    assert find_focus(source, "source", segments=keys)[0].positions == (0, 1)
    plain = Input(0, Text("text two"), Tokens.plain(["text", "two"]))
    assert find_focus(plain.source, "text", segments=named_segments(plain, "encoder")[0])[0].positions == (0,)


def test_negative_positions_are_named_from_the_start() -> None:
    assert [resolved_name(tokens(), name) for name in ("-1", "-3--1", "7", "it#2")] == ["17", "15-17", "7", "it#2"]
    titles = [title_name(tokens(), name) for name in ("-1", "-3--1", "7", "15", "it")]
    assert titles == ["[SEP]", "tokens 15-17", "it#2", "believ (token 15)", "it"]


def test_a_part_of_a_word_does_not_match() -> None:
    with pytest.raises(UsageError, match="'sai' does not occur in the text: did you mean 'said'"):
        find_focus(tokens(), "sai")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "zzz",
            "'zzz' does not occur in the text: there are [CLS], It, said, :, didn, ', t, it, ,, IT, ?, 注, …; "
            "segments: special",
        ),
        ("18", "--focus 18 is outside the text: it has 18 tokens, 0-17"),
        ("-19", "--focus -19 is outside the text: it has 18 tokens, 0-17"),
        ("7-18", "--focus 7-18 is outside the text: it has 18 tokens, 0-17"),
        ("7-3", "--focus 7-3 ends before it begins: write the earlier token first"),
        ("specia", "'specia' does not occur in the text: did you mean 'special'?"),
        ("it#4", "'it' occurs 3 times, so there is no it#4: counted from 1"),
        ("said#2", "'said' occurs once, so there is no said#2: counted from 1"),
        ("it#0", "'it' occurs 3 times, so there is no it#0: counted from 1"),
        ("", "--focus is empty: give a word of the text, the position of a token, a segment or all"),
        (" ", "--focus is empty: give a word of the text, the position of a token, a segment or all"),
    ],
)
def test_a_word_without_match_is_an_error(query: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        find_focus(tokens(), query)


def test_several_matches_are_refused_where_one_is_needed() -> None:
    message = "'it' must match once in the text, it has 3: It#1 is token 1, it#2 is token 7, IT#3 is token 9"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        find_one_focus(tokens(), "it")


def test_a_number_past_the_end_is_a_word() -> None:
    years = Tokens.plain(["in", "1984", "all", "all"])
    assert find_focus(years, "1984") == (FocusMatch("1984", (1,)),)
    assert find_focus(years, "all#2") == (FocusMatch("all#2", (3,)),)
    assert len(find_focus(years, "all")) == 4


@pytest.mark.parametrize("piece", [text for text in HOSTILE if text.strip() and text not in ("0", "-1")])
def test_any_token_is_found_by_its_piece(piece: str) -> None:
    assert find_focus(Tokens.plain(["x1", piece, "y1"]), piece)[0].positions == (1,)
