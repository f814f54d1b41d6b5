"""A page is safe whatever its tokens contain, accessible, and fits its window."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile import HOSTILE
from opened import AXE, VIEWS, Made, Open

import attncli


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    count = len(HOSTILE)
    weights = np.random.default_rng(0).dirichlet(np.ones(count), (2, 2, count)).astype(np.float32)
    np.save(folder / "maps.npy", weights)
    (folder / "labels.json").write_text(json.dumps(HOSTILE))
    return attncli.open(folder / "maps.npy", labels=folder / "labels.json", axes="layer,head,query,key").view().html


@pytest.mark.parametrize("view", VIEWS)
def test_hostile_tokens_are_only_text(view: str, hostile_page: str, open_page: Open) -> None:
    opened = open_page(hostile_page)
    page = opened.go(f"view={view}&query=9&key=8")
    assert page.locator("main script, main img, main b, main iframe").count() == 0
    assert page.locator("script").count() == page.locator("body > script").count()
    name = ("SVG", "PNG", "CSV")[VIEWS.index(view) % 3]
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"{name} file").click()
    assert Path(waiting.value.path()).stat().st_size > 0


def test_every_token_is_shown(hostile_page: str, open_page: Open) -> None:
    page = open_page(hostile_page).go("view=head")
    shown = page.locator(".tokens.query bdi").all_inner_texts()
    assert len(shown) == len(HOSTILE)
    assert all(text.strip() for text in shown)


def test_the_policy_stops_foreign_scripts_and_images(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("encoder").html)
    page = opened.go()
    script = "Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'})"
    image = "Object.assign(new Image(), {src: 'https://example.org/x.png'})"
    for element in (script, image):
        with page.expect_console_message(lambda said: "Content Security Policy" in said.text):
            page.evaluate(f"document.body.append({element})")
    assert page.evaluate("window.ran") is None
    messages = [message for message in opened.complaints if message.startswith("console")]
    opened.complaints.clear()
    assert len(messages) >= 2
    assert all("Content Security Policy" in message for message in messages)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_accessible(view: str, theme: str, made: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(made("encoder").html).go(f"view={view}&layer=3&head=1&query=10&key=2&theme={theme}")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    # themes differ in their colours alone
    rules = "{}" if theme == "light" else "{runOnly: ['color-contrast']}"
    violations = page.evaluate(
        f"axe.run({rules}).then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html).slice(0, 3)]))"
    )
    assert violations == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_narrow_screen_scrolls_down_only(view: str, made: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(made("minilm").html, width=400).go(f"view={view}&layer=3&head=1&query=10&key=2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_page_without_a_run_says_so(open_page: Open) -> None:
    empty = (Path(attncli.__file__).parent / "page" / "assets" / "page.html").read_text(encoding="utf-8")
    opened = open_page(empty)
    opened.page.goto(opened.url)
    assert "attncli view" in opened.page.locator("[role=alert]").inner_text()


def test_a_page_of_another_version_says_so(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("encoder").html.replace("attncli.page/1", "attncli.page/9", 1))
    opened.page.goto(opened.url)
    assert "attncli.page/9" in opened.page.locator("[role=alert]").inner_text()
