"""Pages fill windows of every width and fit into them; they follow the theme of the system."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from opened import VIEWS, Made, Open

import attncli
from attncli.page.opening import opening_head

# left and right edge of what a view draws
EDGES = """view => {
  const drawn = [...view.querySelectorAll(":not(.thumb) > canvas, button, .text, .rank, .score, td")];
  const boxes = drawn.map(one => one.getBoundingClientRect()).filter(box => box.width > 0);
  return [Math.min(...boxes.map(box => box.left)), Math.max(...boxes.map(box => box.right))];
}"""
CUT = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of 30 layers."""
    folder = tmp_path_factory.mktemp("deep")
    labels = ["The", "animal", "didn't", "cross", "the", "street", "because", "it", "was"]
    weights = np.random.default_rng(0).dirichlet(np.ones(len(labels)), (30, 2, len(labels)))
    np.save(folder / "maps.npy", weights.astype(np.float32))
    (folder / "labels.json").write_text(json.dumps(labels))
    return attncli.open(folder / "maps.npy", labels=folder / "labels.json", axes="layer,head,query,key").view().html


@pytest.mark.parametrize("width", [1280, 1920])
def test_every_view_fills_a_wide_window(width: int, made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("minilm").html, width=width)
    for view in VIEWS:
        left, right = opened.go(f"view={view}&layer=3&head=1").locator("#view").evaluate(EDGES)
        assert right - left > 0.72 * width, view
        assert right <= width + 1 or view == "numbers"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_flow_of_many_layers_fits(width: int, deep: str, made: Callable[[str], Made], open_page: Open) -> None:
    for html in (deep, made("minilm").html):
        page = open_page(html, width=width).go("view=flow&query=3")
        box = page.locator(".flow-view")
        assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
        assert page.locator(".tokens.query .token").last.evaluate("one => one.getBoundingClientRect().right") <= width
        assert page.locator(".tokens.query .token bdi").evaluate_all(CUT) == [] or width == 390
        names = page.locator(".layers span").evaluate_all("all => all.map(one => one.getBoundingClientRect().left)")
        assert min(np.diff(names)) >= 15


def test_every_head_is_on_a_narrow_screen(made: Callable[[str], Made], open_page: Open) -> None:
    page = open_page(made("minilm").html, width=390).go("view=model")
    assert max(page.locator(".thumb").evaluate_all("all => all.map(one => one.getBoundingClientRect().right)")) <= 390


def test_a_page_opens_on_a_head_that_joins_particular_tokens(made: Callable[[str], Made], open_page: Open) -> None:
    one = made("minilm")
    page = open_page(one.html).go()
    start = opening_head(one.run.attention())
    shown = {name: int(page.locator(f"select[name={name}]").input_value()) for name in ("layer", "head")}
    assert shown == start == {"layer": 2, "head": 8}
    # its strongest line is drawn with at least 80 % of its colour
    alpha = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((_, at) => at % 4 === 3)"
    assert page.locator(".head-view canvas").evaluate(f"c => ({alpha})(c).reduce((a, b) => Math.max(a, b))") > 0.8 * 255


def test_the_theme_follows_the_system_until_the_user_chooses(made: Callable[[str], Made], open_page: Open) -> None:
    opened = open_page(made("encoder").html, color_scheme="light")
    page, html = opened.go("view=matrix"), opened.page.locator("html")
    assert html.get_attribute("data-theme") == "light"
    for scheme in ("dark", "light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_selector(f"html[data-theme={scheme}]")
    page.keyboard.press("t")
    assert opened.state()["theme"] == "light"
    page.emulate_media(color_scheme="light")
    page.emulate_media(color_scheme="dark")
    opened.settle()
    assert html.get_attribute("data-theme") == "light"
