"""The text view and the highlight keep scripts whole: direction, joined letters, marks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from opened import SVG, Made, Open

import attncli

ARABIC = "السَّلَامُ عليكم، كيف حالك اليوم؟"
MIXED = "The word كتاب means book."
HINDI = "हिन्दी में क्षमता"
# the width of the text in its element, and of the same text without elements
WIDTHS = """text => {
  const plain = text.cloneNode();
  for (const node of text.childNodes) if (!node.matches?.(".chip, .special")) plain.append(node.textContent);
  const chips = [...text.querySelectorAll(".chip, .special")];
  for (const chip of chips) chip.style.display = "none";
  const width = host => {
    const range = document.createRange();
    range.selectNodeContents(host);
    return range.getBoundingClientRect().width;
  };
  const before = width(text);
  for (const chip of chips) chip.style.display = "";
  text.after(plain);
  const after = width(plain);
  plain.remove();
  return [before, after];
}"""


@pytest.fixture(scope="module")
def pages(minilm: Path) -> Callable[[str], Made]:
    """The page of a text in all-MiniLM-L6-v2, whose tokenizer splits these scripts into letters."""
    model, pages = attncli.load(str(minilm)), {}

    def make(text: str) -> Made:
        if text not in pages:
            run = model.run(text, layer=[0, 1])
            pages[text] = Made(run, run.view().html)
        return pages[text]

    return make


def test_text_from_the_right_starts_at_the_right(pages: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(pages(ARABIC).html).go("view=text")
    text = page.locator(".text")
    assert text.evaluate("text => getComputedStyle(text).direction") == "rtl"
    assert text.inner_text() == f"[CLS]{ARABIC}[SEP]"
    lefts = page.locator(".piece").evaluate_all("all => all.map(one => one.getBoundingClientRect().left)")
    assert len(lefts) > 20
    assert lefts == sorted(lefts, reverse=True)


@pytest.mark.parametrize("text", [ARABIC, MIXED, HINDI])
@pytest.mark.parametrize("focus", ["", "&query=3"])
def test_letters_join_as_if_no_token_had_an_element(
    text: str, focus: str, pages: Callable[[str], Made], open_page: Open
) -> None:
    page = open_page(pages(text).html).go(f"view=text{focus}")
    with_elements, without = page.locator(".text").evaluate(WIDTHS)
    assert with_elements == pytest.approx(without, abs=1)


def test_marks_stay_with_their_letter(pages: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(pages(HINDI).html).go("view=text")
    assert page.locator(".piece:not(.chip)").all_inner_texts() == ["हि", "न्दी", "में", "क्ष", "म", "ता"]


def test_a_cell_of_several_tokens_has_the_sum_of_their_weights(open_page: Open) -> None:
    run = attncli.load("demo:decoder").run("naïve 注意")
    opened = open_page(run.view().html)
    query = len(run.attention().queries) - 1
    page = opened.go(f"view=text&layer=1&head=2&query={query}")
    row = run.attention().sel(layer=1, head=2).values[query]
    for cell in page.locator(".piece").all():
        places = [int(place) for place in (cell.get_attribute("data-at") or "").split(",")]
        shown = float((cell.get_attribute("title") or "").rsplit(": ", 1)[1])
        assert shown == pytest.approx(float(row[places].sum()), abs=float(row.max()) / 255 + 6e-4)
    shared = page.locator(".piece", has_text="注")
    places = shared.get_attribute("data-at") or ""
    assert "," in places
    shared.click()
    assert opened.state()["pinned"] == f"{places},{query}"


def test_a_token_is_chosen_by_the_keyboard(pages: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(pages(MIXED).html)
    page = opened.go("view=text")
    page.locator(".piece").nth(2).press("Enter")
    assert opened.state()["query"] == "2"
    assert page.evaluate("document.activeElement.dataset.keep") == "piece-2"


def test_the_picture_has_each_line_as_one_text(pages: Callable[[str], Made], open_page: Open) -> None:
    root = open_page(pages(ARABIC).html).svg("view=text")
    (line,) = (text for text in root.iter(f"{SVG}text") if text.get("direction") == "rtl")
    assert line.text == ARABIC


def test_a_name_from_the_right_leaves_the_sentence_in_order(pages: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(pages(ARABIC).html).go("view=text&layer=0&head=1&query=1")
    assert page.locator(".status").inner_text().startswith("attention from \u2068\u0627\u2069: ")


@pytest.mark.parametrize("text", [ARABIC, HINDI])
def test_letters_join_in_a_highlight(text: str, pages: Callable[[str], Made], open_page: Open) -> None:
    highlight = pages(text).run.highlight(text.split()[0], layer=1, head=1)
    opened = open_page(highlight.html)
    opened.page.goto(opened.url)
    # the focus of a script whose letters do not join is bold, with a margin
    plain = "all => all.forEach(one => Object.assign(one.style, {margin: 0, fontWeight: 'inherit'}))"
    opened.page.locator(".text .focus:not(.cursive)").evaluate_all(plain)
    with_elements, without = opened.page.locator(".text").first.evaluate(WIDTHS)
    assert with_elements == pytest.approx(without, abs=1)
    assert "◌" not in opened.page.locator(".text").first.inner_text()
