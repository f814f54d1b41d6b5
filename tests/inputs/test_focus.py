"""Finding the tokens of a word: all matches, one of them, a part of a word; and errors for words without a match."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hostile import HOSTILE

from attncli.data import Tokens
from attncli.errors import UsageError
from attncli.inputs.focus import FocusMatch, find_focus, find_one_focus

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
        ("7", {"it": (7,)}),
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


def test_a_part_of_a_word_does_not_match() -> None:
    with pytest.raises(UsageError, match="'sai' does not occur in the text: did you mean 'said'"):
        find_focus(tokens(), "sai")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("zzz", "'zzz' does not occur in the text: there are [CLS], It, said, :, didn, ', t, it, ,, IT, ?, 注, …"),
        ("18", "--focus 18 is outside the text: it has 18 tokens, 0-17"),
        ("-19", "--focus -19 is outside the text: it has 18 tokens, 0-17"),
        ("it#4", "'it' occurs 3 times, so there is no it#4: counted from 1"),
        ("said#2", "'said' occurs once, so there is no said#2: counted from 1"),
        ("it#0", "'it' occurs 3 times, so there is no it#0: counted from 1"),
        ("", "--focus is empty: give a word of the text, the position of a token, or all"),
        (" ", "--focus is empty: give a word of the text, the position of a token, or all"),
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
