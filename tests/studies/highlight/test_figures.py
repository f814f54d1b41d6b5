"""Attention on the text itself: the text is complete, colours are weights, hostile text does no harm."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from highlights import OURS, Read, line, of
from hostile import HOSTILE
from matplotlib.patches import Rectangle
from pictures import faults, shown, words

from attncli.data import Scheme, Tokens
from attncli.errors import UsageError
from attncli.plotting.highlight_colours import (
    DARK_PAGE,
    LEVELS,
    LIGHT_PAGE,
    colour_level,
    contrast,
    level_colours,
    readable_ink,
)
from attncli.plotting.render import render
from attncli.studies.highlight import figures as view
from attncli.studies.highlight.html import embedded, page, stylesheet
from attncli.studies.highlight.passage import TextCell, right_to_left, strongest_tokens, text_cells, weighted_cells


def tokens(
    text: str, spans: list[tuple[int, int]], special: tuple[int, ...] = (), scheme: Scheme = "wordpiece"
) -> Tokens:
    n = len(spans)
    pieces = tuple(text[a:b] if a >= 0 else "[CLS]" for a, b in spans)
    is_special = [at in special for at in range(n)]
    return Tokens(pieces, np.arange(n), is_special, spans, np.arange(n), ("",) * n, text, scheme)


SENTENCE = tokens("It  is\n\nwarm-er now", [(-1, -1), (0, 2), (4, 6), (8, 12), (12, 15), (16, 19)], (0,))


def written(cells: list[TextCell]) -> str:
    return "".join(cell.text for cell in cells)


# ------------------------------------------------------------------------------------------- cells of the text


def test_the_text_comes_back_as_it_was() -> None:
    assert written(text_cells(SENTENCE)) == "[CLS] It  is\n\nwarm-er now"


def test_a_special_token_of_a_chat_template_is_shown_once() -> None:
    chat = "[CLS]It\n[CLS]is"
    spans = [(-1, -1), (5, 7), (7, 8), (-1, -1), (13, 15)]
    assert written(text_cells(tokens(chat, spans, (0, 3)))) == "[CLS] It\\n\n[CLS] is"


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("a\tb", [(0, 1), (2, 3)], "a b"),
        ("a\r\nb", [(0, 1), (3, 4)], "a\nb"),
        ("a\u00a0b\u3000c", [(0, 1), (2, 3), (4, 5)], "a b\u3000c"),
        ("the cat", [(0, 3), (3, 7)], "the cat"),  # a byte-level piece takes the space before it
        ("a b", [(0, 1), (1, 2), (2, 3)], "a b"),  # a space that is a token
        ("a\nb", [(0, 1), (1, 2), (2, 3)], "a\\n\nb"),
        ("a\u202eb", [(0, 1), (2, 3)], "a⟨U+202E⟩b"),
        ("a\u202eb", [(0, 1), (1, 3)], "a⟨U+202E⟩b"),
        ("one two three", [(0, 3)], "one …"),
        ("one  ", [(0, 3)], "one"),
        (f"a{'x' * 90}b", [(0, 1), (91, 92)], "a … b"),
        ("שלום it", [(0, 4), (5, 7)], "שלום it"),
    ],
)
def test_spaces_and_signs(text: str, spans: list[tuple[int, int]], expected: str) -> None:
    assert written(text_cells(tokens(text, spans))) == expected


def test_several_tokens_of_one_character_are_shown_once_with_their_sum() -> None:
    emoji = tokens("a🤗", [(0, 1), (1, 2), (1, 2), (1, 2)])
    cells = text_cells(emoji)
    assert [(cell.text, cell.positions) for cell in cells] == [("a", (0,)), ("🤗", (1, 2, 3))]
    lit = line([0.1, 0.2, 0.3, 0.4])
    assert weighted_cells(of(emoji, lit), lit, cells)[1].weight == pytest.approx(0.9)
    assert weighted_cells(of(emoji, lit, direction="to"), lit, cells)[1].weight == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("pieces", "scheme", "by_words", "expected"),
    [
        (["the", "##re", "is"], "wordpiece", False, "there is"),
        (["Ġthe", "re", "Ġis"], "bytelevel", False, "there is"),
        (["▁the", "▁", "x"], "metaspace", False, "the x"),
        (["there", "is"], "bytelevel", True, "there is"),
        (["a", "", "b"], "plain", False, "a ⟨empty⟩ b"),
    ],
)
def test_tokens_without_a_place_in_a_text(pieces: list[str], scheme: Scheme, by_words: bool, expected: str) -> None:
    n = len(pieces)
    none = np.full((n, 2), -1)
    made = Tokens(tuple(pieces), np.arange(n), np.zeros(n), none, np.arange(n), ("",) * n, scheme=scheme)
    assert written(text_cells(made, by_words)) == expected


def test_the_direction_is_that_of_the_first_letter() -> None:
    assert right_to_left(text_cells(tokens("1 שלום it", [(0, 1), (2, 6), (7, 9)])))
    assert not right_to_left(text_cells(tokens("it שלום", [(0, 2), (3, 7)])))
    assert not right_to_left(text_cells(tokens("123", [(0, 3)])))


# ------------------------------------------------------------------------------------------- colours


def test_no_weight_is_the_page_and_each_level_is_darker_than_the_last() -> None:
    assert (level_colours()[0], level_colours(dark=True)[0], len(level_colours())) == (LIGHT_PAGE, DARK_PAGE, LEVELS)
    for ramp, end in ((level_colours(), LIGHT_PAGE), (level_colours(dark=True), DARK_PAGE)):
        apart = [contrast(colour, end) for colour in ramp]
        assert all(one < other for one, other in pairwise(apart))


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read_on_every_colour(dark: bool) -> None:
    assert min(contrast(colour, readable_ink(colour)) for colour in level_colours(dark)) >= 4.5


def test_levels_are_weights_and_each_token_has_its_state() -> None:
    lit = line([0.5, 0.25, np.nan, 0.0, 0.1, 1.0], positions=(1,), visible=[True, True, True, True, True, False])
    cells = [cell for cell in weighted_cells(of(SENTENCE, lit), lit, text_cells(SENTENCE)) if cell.positions]
    masked = replace(lit, visible=lit.visible & np.isfinite(lit.weights))  # as maps are that come from the stream
    again = weighted_cells(of(SENTENCE, masked), masked, text_cells(SENTENCE))
    assert [cell.state for cell in again if cell.positions] == [cell.state for cell in cells]
    assert [cell.state for cell in cells] == ["drawn", "drawn", "undefined", "drawn", "drawn", "unseen"]
    assert [cell.level for cell in cells[:2]] == [LEVELS - 1, colour_level(0.25, 0.5)]
    assert [cell.focus for cell in cells] == [False, True, False, False, False, False]
    assert [cell.special for cell in cells] == [True, *[False] * 5]
    assert strongest_tokens(cells) == [("[CLS]", "0.500"), ("It", "0.250"), ("-er", "0.100"), ("warm", "0")]


def test_the_strongest_tokens_with_equal_text_get_their_position() -> None:
    twice = tokens("a b a", [(0, 1), (2, 3), (4, 5)])
    lit = line([0.1, 0.5, 0.4])
    found = strongest_tokens(weighted_cells(of(twice, lit), lit, text_cells(twice)))
    assert found == [("b", "0.500"), ("a (2)", "0.400"), ("a (0)", "0.100")]


# ------------------------------------------------------------------------------------------- HTML


def test_the_page_is_one_file_that_runs_and_loads_nothing() -> None:
    html = page(of(SENTENCE, line([0.1] * 6)), model="some/model")
    css = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert css
    assert css[1] == stylesheet()
    hash_ = base64.b64encode(hashlib.sha256(css[1].encode()).digest()).decode()
    assert f"""content="default-src 'none'; style-src 'sha256-{hash_}'">""" in html
    read = Read.page(html)
    assert {tag for tag, _ in read.elements} <= OURS
    assert not {name for _, given in read.elements for name in given} & {"style", "src", "href", "onclick"}
    assert "url(" not in css[1]
    assert "@import" not in css[1]


def test_a_token_has_its_weight_as_a_tooltip_and_the_focus_is_not_marked_by_colour_alone() -> None:
    read = Read.page(page(of(SENTENCE, line([0.1, 0.677, 0.2, 0.0, 0.3, 0.05], positions=(2,)))))
    by_text = {text: (look.split(), tooltip) for text, look, tooltip in read.tokens}
    assert by_text["It"] == (["t", f"c{LEVELS - 1}"], "0.677 · It · token 1")
    assert by_text["is"][0][:2] == ["t", "focus"]
    assert by_text["is"][1] == "0.200 · is · token 2 · focus"
    assert by_text["[CLS]"][0][:2] == ["t", "special"]
    assert read.texts == ["[CLS] It  is\n\nwarm-er now"]
    focus = re.search(r"\.focus \{(.*?)\}", stylesheet())
    assert focus
    assert "outline" in focus[1]
    assert "underline" in focus[1]


def test_the_legend_names_what_occurs() -> None:
    seen = page(of(SENTENCE, line([0.1] * 6)))
    some = page(of(SENTENCE, line([0.1] * 5 + [np.nan], visible=[True] * 4 + [False, True])))
    assert "masked" not in seen
    assert ">masked key<" in some
    assert ">undefined<" in some
    assert "query for which the focus is masked" in page(
        of(SENTENCE, line([0.1] * 6, visible=[False] + [True] * 5), direction="to")
    )


def test_dark_and_light_pages_have_a_class_for_each_level() -> None:
    css = stylesheet()
    light, dark = css.split("@media screen and (prefers-color-scheme: dark)")
    for ramp, part in ((level_colours(), light), (level_colours(dark=True), dark)):
        for at, colour in enumerate(ramp):
            assert f".c{at} {{ background: {colour}; color: {readable_ink(colour)}; }}" in part


def test_in_cross_attention_the_focus_is_marked_in_its_own_text() -> None:
    other = tokens("rot", [(0, 3)])
    read = Read.page(page(of(SENTENCE, line([0.1] * 6, positions=(0,), focus="rot"), kind="cross", focused=other)))
    assert read.texts == ["rot", "[CLS] It  is\n\nwarm-er now"]
    assert [text for text, look, _ in read.tokens if "focus" in look.split()] == ["rot"]


def test_text_from_the_right_is_marked_so() -> None:
    hebrew = tokens("שלום it", [(0, 4), (5, 7)])
    assert '<p class="text" dir="rtl">' in page(of(hebrew, line([0.1, 0.2])))
    assert '<p class="text" dir="ltr">' in page(of(SENTENCE, line([0.1] * 6)))


def hostile(scheme: Scheme, special: bool) -> Tokens:
    n = len(HOSTILE)
    return Tokens(
        tuple(HOSTILE), np.arange(n), [special] * n, np.full((n, 2), -1), np.arange(n), ("",) * n, scheme=scheme
    )


@pytest.mark.parametrize(
    ("scheme", "special"),
    [("plain", False), ("plain", True), ("bytelevel", True), ("metaspace", False), ("wordpiece", True)],
)
def test_hostile_tokens_are_text_and_nothing_else(scheme: Scheme, special: bool) -> None:
    made = hostile(scheme, special)
    names = [*HOSTILE[:4], "</title><script>", "\u202e"]
    lines = [line([0.5] * len(made), positions=(at,), focus=name) for at, name in enumerate(names)]
    html = page(of(made, *lines), model="</style><script>alert(1)</script>", note="\u202e<b>")
    read = Read.page(html)
    assert {tag for tag, _ in read.elements} <= OURS
    assert len(read.tokens) == len(HOSTILE) * len(lines)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", html)
    assert Read.page(embedded(html)).elements[0][1]["srcdoc"] == html


def test_hostile_text_between_tokens_is_text_too() -> None:
    for piece in HOSTILE:
        text = f"a{piece}b"
        html = page(of(tokens(text, [(0, 1), (len(text) - 1, len(text))]), line([0.1, 0.2])))
        assert {tag for tag, _ in Read.page(html).elements} <= OURS
        whole = page(of(tokens(text, [(0, len(text))]), line([0.1])))
        assert {tag for tag, _ in Read.page(whole).elements} <= OURS


# ------------------------------------------------------------------------------------------- pictures


def boxes(figure: view.Figure) -> list[Rectangle]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def test_the_picture_has_the_text_the_scale_and_the_numbers() -> None:
    figure = view.draw(of(SENTENCE, line([0.1, 0.677, 0.2, 0.0, 0.3, 0.05], positions=(2,))), model="some/model")
    texts = words(figure)
    assert {"[CLS]", "It", "is", "warm", "-er", "now", "some/model", "from it (token 2)"} <= texts
    assert {"0", "0.338", "0.677", "attention weight from the marked word (fraction)"} <= texts
    assert any(text.startswith("strongest:   It 0.677   -er 0.300") for text in texts)
    assert not faults(figure)


def test_long_text_wraps_inside_the_page() -> None:
    text = " ".join(f"word{at}" for at in range(200)) + " " + "a" * 500
    spans = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    figure = view.draw(of(tokens(text, spans), line([0.1] * len(spans))))
    placed = [text.get_position() for text in shown(figure) if text.get_text().startswith("word")]
    assert len({down for _, down in placed}) > 10
    assert all(0 < left < view.WIDTH for left, _ in placed)
    assert not faults(figure)


def test_a_picture_too_tall_for_viewers_is_refused_with_advice() -> None:
    lines = [line([0.1] * 6)] * 500
    with pytest.raises(
        UsageError, match=r"the picture would be 61,\d+ pixels high, of at most 60,000: .*--format html"
    ):
        view.draw(of(tokens("a\n\nb c d e f", [(0, 1), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12)]), *lines[:310]))


def test_runs_against_the_direction_of_the_text_are_reversed() -> None:
    mixed = tokens("it שלום עולם is", [(0, 2), (3, 7), (8, 12), (13, 15)])
    left = {text.get_text(): text.get_position()[0] for text in shown(view.draw(of(mixed, line([0.1] * 4))))}
    assert left["it"] < left["עולם"] < left["שלום"] < left["is"]
    turned = tokens("שלום it is עולם", [(0, 4), (5, 7), (8, 10), (11, 15)])
    left = {text.get_text(): text.get_position()[0] for text in shown(view.draw(of(turned, line([0.1] * 4))))}
    assert left["עולם"] < left["it"] < left["is"] < left["שלום"]


@pytest.mark.parametrize("format", ["png", "svg"])
def test_hostile_tokens_in_pictures(format: str) -> None:
    figure = view.draw(of(hostile("plain", False), line([0.5] * len(HOSTILE), focus="$\\foo$ [/INST]")), model="$a$")
    assert not any(text.get_parse_math() for text in shown(figure) if "$" in text.get_text())
    data = render(figure, format)
    if format == "svg":
        ElementTree.fromstring(data)


def test_a_picture_is_the_same_each_time() -> None:
    first, second = (render(view.draw(of(SENTENCE, line([0.1] * 6))), "svg") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("weights", [[0.0], [np.nan], [1.0]])
def test_one_token_alone(weights: list[float]) -> None:
    one = tokens("a", [(0, 1)])
    assert not faults(view.draw(of(one, line(weights))))
    assert Read.page(page(of(one, line(weights)))).texts == ["a"]
