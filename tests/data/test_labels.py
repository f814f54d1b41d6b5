"""Labels of tokens: readable, one line, without hidden characters, and of limited width."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from attncli.data import Scheme, Tokens
from attncli.data.labels import label, label_with_position, labels

SCHEMES: tuple[Scheme, ...] = ("plain", "wordpiece", "bytelevel", "metaspace")


@pytest.mark.parametrize(
    ("piece", "scheme", "expected"),
    [
        ("##ing", "wordpiece", "##ing"),
        ("Ġthe", "bytelevel", "·the"),
        ("Ġ", "bytelevel", "·"),
        ("ĠĠĠĠ", "bytelevel", "····"),
        ("Ċ", "bytelevel", "\\n"),
        ("ĉ", "bytelevel", "\\t"),
        ("Ã©", "bytelevel", "é"),
        ("æ³¨", "bytelevel", "注"),
        ("Ġâ", "bytelevel", "·⟨E2⟩"),
        ("âĢ", "bytelevel", "⟨E2 80⟩"),
        ("ðŁ¤Ĺ", "bytelevel", "🤗"),
        ("<\uff5cend▁of▁text\uff5c>", "bytelevel", "<\uff5cend▁of▁text\uff5c>"),
        ("▁the", "metaspace", "·the"),
        ("a▁b", "metaspace", "a b"),
        ("▁▁▁", "metaspace", "···"),
        ("<0x0A>", "metaspace", "\\n"),
        ("<0xE2>", "metaspace", "⟨E2⟩"),
        ("<0x41>", "metaspace", "A"),
        ("▁the", "plain", "▁the"),
        ("", "plain", "⟨empty⟩"),
        (" ", "plain", "·"),
        ("\0", "plain", "\\x00"),
        ("\x1b[31m", "plain", "\\x1b[31m"),
        ("\u202eabc", "plain", "⟨U+202E⟩abc"),
        ("\u200d", "plain", "⟨U+200D⟩"),
        ("a\u200db", "plain", "a⟨U+200D⟩b"),
        ("👩\u200d👧", "plain", "👩\u200d👧"),
        ("👩\u200d", "plain", "👩⟨U+200D⟩"),
        ("\u00a0", "plain", "⟨U+00A0⟩"),
        ("\ue000", "plain", "⟨U+E000⟩"),
        ("\ud800", "plain", "⟨U+D800⟩"),
        ("\u0301", "plain", "◌\u0301"),
        ("a" + "\u0301" * 9, "plain", "a" + "\u0301" * 3),
        ("a" * 300, "plain", "a" * 19 + "…"),
        ("長" * 60, "plain", "長" * 9 + "…"),
        ("$a$", "plain", "$a$"),
    ],
)
def test_label_of_a_piece(piece: str, scheme: Scheme, expected: str) -> None:
    assert label(piece, scheme) == expected


def test_labels_of_special_tokens_are_their_pieces() -> None:
    pieces = ("Ġ<s>", "Ġthe")
    numbers = np.arange(2)
    tokens = Tokens(pieces, numbers, numbers == 0, np.zeros((2, 2)), numbers, ("", ""), scheme="bytelevel")
    assert labels(tokens) == ["Ġ<s>", "·the"]


def hidden(text: str) -> list[str]:
    """Return the characters that a reader cannot see: control and format characters, except joiners inside a word."""
    return [
        char
        for at, char in enumerate(text)
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        and not (char in "\u200c\u200d" and 0 < at < len(text) - 1)
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_piece_becomes_one_visible_line(piece: str, scheme: Scheme) -> None:
    text_label = label(piece, scheme)
    assert text_label.strip()
    assert not hidden(text_label)
    assert len(text_label.splitlines()) == 1


@given(piece=st.text(st.characters(), max_size=40), scheme=st.sampled_from(SCHEMES), width=st.integers(2, 30))
def test_any_text_becomes_one_visible_line_of_bounded_width(piece: str, scheme: Scheme, width: int) -> None:
    text_label = label(piece, scheme, width)
    assert text_label.strip()
    assert not hidden(text_label)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text_label)
    marks = sum(unicodedata.combining(char) > 0 or char in "\u200c\u200d\ufe0e\ufe0f" for char in text_label)
    assert len(text_label) - marks + wide <= width


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_pieces_in_the_byte_alphabet_of_gpt2_have_the_label_of_their_text(text: str) -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    pieces = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    assert label("".join(piece for piece, _ in pieces), "bytelevel", 200) == label(text, "plain", 200)


def test_position_follows_labels_in_right_to_left_scripts() -> None:
    assert label_with_position("cat", 12) == "cat 12"
    assert label_with_position("קשב", 12) == "קשב\u200e 12"
