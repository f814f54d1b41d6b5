"""The page of a highlight in a real browser: its policy allows its styles and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from highlights import line, of
from hostile import HOSTILE
from opened import Made, Open

from attncli.data import Tokens
from attncli.plotting.highlight_colours import DARK_PAGE, LEVELS, LIGHT_PAGE, level_colours
from attncli.studies.highlight.html import page as html_of


def rgb(colour: str) -> str:
    red, green, blue = (int(colour[first : first + 2], 16) for first in (1, 3, 5))
    return f"rgb({red}, {green}, {blue})"


def background(locator: Any) -> str:
    return str(locator.evaluate("node => getComputedStyle(node).backgroundColor"))


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_weights_by_day_and_by_night(dark: bool, made: Callable[[str], Made], open_page: Open) -> None:
    run = made("minilm").run
    opened = open_page(run.highlight("it", layer=3, head=1).html, color_scheme="dark" if dark else "light")
    opened.page.goto(opened.url)
    assert background(opened.page.locator("body")) == rgb(DARK_PAGE if dark else LIGHT_PAGE)
    animal = opened.page.get_by_text("animal", exact=True).first
    assert background(animal) == rgb(level_colours(dark)[LEVELS - 1])
    assert animal.get_attribute("title") == "0.677 · animal · token 2"
    assert opened.page.locator(".text").inner_text() == f"[CLS] {run.inputs[0].text.text} [SEP]"


@pytest.mark.parametrize("width", [400, 1200])
def test_hostile_tokens_do_nothing_and_no_page_is_wider_than_its_window(width: int, open_page: Open) -> None:
    opened = open_page(html_of(of(Tokens.plain(HOSTILE), line([0.5] * len(HOSTILE)))), width=width)
    opened.page.goto(opened.url)
    assert opened.page.locator(".text span.t").count() == len(HOSTILE)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
