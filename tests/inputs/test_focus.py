"""What a person means by a word: all its places, one of them, a part of it; and what is said of what is not there."""

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
    ("wanted", "places"),
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
def test_a_word_is_found_where_it_stands(wanted: str, places: dict[str, tuple[int, ...]]) -> None:
    assert {one.name: one.positions for one in find_focus(tokens(), wanted)} == places


def test_all_is_every_token_by_itself() -> None:
    found = find_focus(tokens(), "all")
    assert [one.positions for one in found] == [(at,) for at in range(len(PIECES))]
    assert len({one.name for one in found}) == len(PIECES)


def test_each_name_finds_the_same_place_again() -> None:
    for wanted in ("it", "said", "didn't", "[CLS]", "注意"):
        for one in find_focus(tokens(), wanted):
            assert find_one_focus(tokens(), one.name).positions == one.positions


def test_a_part_of_a_word_is_no_word() -> None:
    with pytest.raises(UsageError, match="'sai' does not occur in the text: did you mean 'said'"):
        find_focus(tokens(), "sai")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("zzz", "'zzz' does not occur in the text: there are [CLS], It, said, :, didn, ', t, it, ,, IT, ?, 注, …"),
        ("18", "--focus 18 lies outside of the text: it has 18 tokens, 0-17"),
        ("-19", "--focus -19 lies outside of the text: it has 18 tokens, 0-17"),
        ("it#4", "'it' occurs 3 times, so there is no it#4: counted from 1"),
        ("said#2", "'said' occurs once, so there is no said#2: counted from 1"),
        ("it#0", "'it' occurs 3 times, so there is no it#0: counted from 1"),
        ("", "--focus is empty: give a word of the text, the position of a token, or all"),
        (" ", "--focus is empty: give a word of the text, the position of a token, or all"),
    ],
)
def test_what_is_not_there_is_an_error(wanted: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        find_focus(tokens(), wanted)


def test_one_place_is_asked_for_where_there_are_several() -> None:
    said = "'it' is meant to be one place of the text, it has 3: It#1 is token 1, it#2 is token 7, IT#3 is token 9"
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        find_one_focus(tokens(), "it")


def test_a_number_past_the_end_is_a_word() -> None:
    years = Tokens.plain(["in", "1984", "all", "all"])
    assert find_focus(years, "1984") == (FocusMatch("1984", (1,)),)
    assert find_focus(years, "all#2") == (FocusMatch("all#2", (3,)),)
    assert len(find_focus(years, "all")) == 4


@pytest.mark.parametrize("piece", [each for each in HOSTILE if each.strip() and each not in ("0", "-1")])
def test_any_token_is_found_by_its_piece(piece: str) -> None:
    assert find_focus(Tokens.plain(["x1", piece, "y1"]), piece)[0].positions == (1,)
