"""The address has the state of the page; every key does what the help says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from opened import VIEWS, Made, Open


def test_a_link_opens_the_state_that_it_was_copied_from(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("minilm").html)
    address = "view=head&layer=3&head=1&query=10&pinned=7,10&words=1&special=drop&theme=dark"
    page = opened.go(address)
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.keyboard.press("Escape")
    assert opened.state() == {
        "view": "head",
        "layer": "3",
        "head": "1",
        "words": "1",
        "special": "drop",
        "theme": "dark",
    }


def test_a_new_address_changes_the_view(made: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(made("minilm").html).go("view=head")
    page.evaluate("location.hash = 'view=model&layer=2'")
    page.wait_for_selector("body[data-drawn=model]")


def test_an_invalid_address_shows_the_start(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("encoder").html)
    page = opened.go("view=<b>&kind=cross&layer=99&head=-3&query=9999&special=maybe")
    assert page.locator("body").get_attribute("data-drawn") == "head"
    assert page.locator("select[name=layer]").input_value() == "2"
    page.keyboard.press("ArrowDown")
    assert opened.state() == {"view": "head", "layer": "3"}


@pytest.mark.parametrize(
    ("start", "keys", "becomes"),
    [
        ("", ["ArrowRight"], {"head": "9"}),
        ("head=0", ["ArrowLeft"], {"head": "11"}),
        ("layer=5", ["ArrowDown"], {"layer": "0"}),
        ("", ["ArrowUp"], {"layer": "1"}),
        ("", ["j", "j"], {"query": "1"}),
        ("query=3", ["k"], {"query": "2"}),
        ("", ["J"], {"key": "0", "direction": "to"}),
        ("key=2", ["K"], {"key": "1", "direction": "to"}),
        ("query=3", ["d"], {"key": "3", "direction": "to"}),
        ("", ["a"], {"heads": "0,1,2,3,4,5,6,7,8,9,10,11"}),
        ("query=3", ["w"], {"words": "1"}),
        ("", ["s"], {"special": "drop"}),
        ("", ["x"], {"sinks": "drop"}),
        ("", ["l"], {"scale": "log"}),
        ("", ["t"], {"theme": "dark"}),
        ("query=3", ["Escape"], {}),
    ],
)
def test_a_key_does_what_it_says(
    start: str, keys: list[str], becomes: dict[str, str], made: Callable[[str], Made], open_page: Open
) -> None:
    opened = open_page(made("minilm").html)
    page = opened.go(start)
    for key in keys:
        page.keyboard.press(key)
    assert opened.state() == {"view": "head", **becomes}


def test_numbers_choose_views(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("encoder").html)
    page = opened.go()
    for number, view in enumerate(VIEWS, 1):
        page.keyboard.press(str(number))
        assert opened.state()["view"] == view


def test_help_shows_every_key(made: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(made("encoder").html).go()
    page.keyboard.press("?")
    dialog = page.locator("dialog[open]")
    assert dialog.locator("kbd").count() == 1 + 7 + 16
    page.keyboard.press("Escape")
    assert not page.locator("dialog[open]").count()


def test_tokens_are_reached_and_pinned_by_keyboard_alone(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("minilm").html)
    page = opened.go("layer=3&head=1")
    page.locator(".tokens.query .token").first.focus()
    page.locator(".status", has_text=re.compile(r"^\[CLS\] attends to")).wait_for()
    page.keyboard.press("Enter")
    assert opened.state()["query"] == "0"
    # drawing again keeps the keyboard focus
    assert page.evaluate("document.activeElement.dataset.keep") == "query-0"
