"""Cells of a text: tokens that split a letter and its marks, or a character, share one."""

from __future__ import annotations

import numpy as np
import pytest

from attncli.data import Scheme, Tokens
from attncli.data.text_cells import place_pieces, split_cells

ALEF = "\u0627"


def tokens(text: str, spans: list[tuple[int, int]]) -> Tokens:
    n = len(spans)
    return Tokens(("x",) * n, np.arange(n), np.zeros(n), spans, np.arange(n), ("",) * n, text, "bytelevel")


def shown(found: Tokens, words: bool = False) -> list[tuple[str, tuple[int, ...]]]:
    cells = split_cells(found, words)
    texts = ["" if start < 0 else cells.text[start:end] for start, end in cells.spans.tolist()]
    return list(zip(texts, cells.positions, strict=True))


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("the cat", [(0, 3), (3, 7)], [("the", (0,)), (" cat", (1,))]),
        # an Arabic letter with two marks, of which one is a token and one was removed by the tokenizer
        ("سَّل", [(0, 1), (1, 2), (3, 4)], [("سَّ", (0, 1)), ("ل", (2,))]),
        ("שָׁל", [(0, 1), (3, 4)], [("שָׁ", (0,)), ("ל", (1,))]),
        # an Indic syllable of three characters
        ("क्षम", [(0, 1), (1, 2), (2, 3), (3, 4)], [("क्ष", (0, 1, 2)), ("म", (3,))]),
        # the second token ends one syllable and starts the next
        ("क्षमता", [(0, 2), (2, 5), (5, 6)], [("क्षमता", (0, 1, 2))]),
        ("👩‍👩‍👧!", [(0, 2), (2, 5), (5, 6)], [("👩‍👩‍👧", (0, 1)), ("!", (2,))]),
        ("🤗", [(0, 1), (0, 1)], [("🤗", (0, 1))]),
        # only the mark is a token
        ("e\u0301x", [(1, 2), (2, 3)], [("e\u0301", (0,)), ("x", (1,))]),
        ("ab", [(-1, -1), (0, 1), (0, 0), (1, 2)], [("", (0,)), ("a", (1,)), ("", (2,)), ("b", (3,))]),
        ("", [], []),
    ],
)
def test_tokens_that_split_a_character_share_a_cell(
    text: str, spans: list[tuple[int, int]], expected: list[tuple[str, tuple[int, ...]]]
) -> None:
    assert shown(tokens(text, spans)) == expected


def generated(pieces: list[str], scheme: Scheme, special: tuple[int, ...] = ()) -> Tokens:
    """Return pieces after the text "ab", which is one token."""
    n = len(pieces) + 1
    spans = [(0, 2), *[(-1, -1)] * len(pieces)]
    is_special = [at in special for at in range(n)]
    return Tokens(("ab", *pieces), np.arange(n), is_special, spans, np.arange(n), ("",) * n, "ab", scheme)


@pytest.mark.parametrize(
    ("pieces", "scheme", "expected"),
    [
        # the two bytes of alef, then lam with its space
        (["Ø§", "ĠÙ", "Ħ"], "bytelevel", ["ab", ALEF, " ل"]),
        (["<0xD8>", "<0xA7>", "▁x"], "metaspace", ["ab", ALEF, " x"]),
        # an incomplete character
        (["Ø", "x"], "bytelevel", ["ab", "\udcd8", "x"]),
        (["c", "d</w>"], "suffix", ["ab", "c", "d "]),
        # the text around these is not known
        (["un", "##do"], "wordpiece", ["ab", "", ""]),
    ],
)
def test_pieces_without_offsets_share_their_characters(pieces: list[str], scheme: Scheme, expected: list[str]) -> None:
    assert [text for text, _ in shown(generated(pieces, scheme))] == expected


def test_special_tokens_and_words_have_no_part_of_the_text() -> None:
    found = generated(["Ø§", "</s>"], "bytelevel", special=(2,))
    assert shown(found) == [("ab", (0,)), (ALEF, (1,)), ("", (2,))]
    assert shown(found, words=True)[1] == ("", (1,))


def test_text_that_no_token_covers_does_not_stand_before_generated_text() -> None:
    found = generated(["Ġc"], "bytelevel")
    text, offsets = place_pieces(Tokens(**{**vars(found), "text": "ab and what was cut off"}))
    assert (text, offsets.tolist()) == ("ab c", [[0, 2], [2, 4]])
