"""The page of queries and keys with two kinds of attention, with some heads of a layer, and under two fingers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_points import made_content, place, some_points
from opened import Open
from playwright.sync_api import Page

from attncli.page.qk_map import KindPoints, QkPageContent, qk_page_html

TARGETS = (["Das", "Tier"], ["die", "Straße"])


def with_cross(content: QkPageContent) -> QkPageContent:
    """Return content that has cross-attention too: of four tokens of targets to all tokens of the texts."""
    (kind,) = content.kinds
    targets = made_content(TARGETS, special=()).inputs
    inputs = [replace(source, target=target.source) for source, target in zip(content.inputs, targets, strict=True)]
    queries = np.array([np.flatnonzero(kind.texts == text)[position] for text in (0, 1) for position in (0, 1)])
    points = np.concatenate([queries, np.arange(kind.queries, 2 * kind.queries)])
    layers = some_points(kind, points, queries)
    columns = {name: getattr(kind, name)[points] for name in ("texts", "positions", "types")}
    return replace(content, inputs=inputs, kinds=[kind, KindPoints("cross", 4, layers=layers, **columns)])


def draw_around(page: Page) -> None:
    """Draw a lasso around the whole map."""
    box = page.locator("canvas[role=application]").bounding_box()
    assert box is not None
    left, top, right, bottom = box["x"] + 2, box["y"] + 2, box["x"] + box["width"] - 2, box["y"] + box["height"] - 2
    page.keyboard.press("l")
    page.mouse.move(left, top)
    page.mouse.down()
    for corner in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(*corner)
    page.mouse.up()


def test_another_kind_has_other_points_and_both_texts(open_page: Open) -> None:
    content = with_cross(made_content())
    cross = content.kinds[1]
    opened = open_page(qk_page_html(content))
    page = opened.go("head=0.0&point=20")
    draw_around(page)
    assert page.locator(".counted li").count() == 20
    page.locator("select[name=kind]").select_option("cross")
    assert opened.state() == {"kind": "cross", "head": "0.0"}
    assert page.locator(".counted").count() == 0
    page.keyboard.press("j")
    assert page.locator(".token-shown h2").inner_text() == "Query Das"
    assert page.locator(".token-shown h3").all_inner_texts() == ["text of queries", "text of keys"]
    sentences = page.locator(".sentence")
    assert sentences.all_inner_texts() == ["Das Tier", "[CLS]The animal was tired , 42[SEP]"]
    assert page.locator(".sentence .chosen").all_inner_texts() == ["Das"]
    shares = "nodes => nodes.map(node => Number(node.style.getPropertyValue('--share')))"
    assert sentences.nth(0).locator(".piece").evaluate_all(shares) == [0, 0]
    shaded = np.flatnonzero(sentences.nth(1).locator(".piece").evaluate_all(shares))
    assert set(shaded.tolist()) == set(cross.layers[0].keys[0, 0].tolist())
    page.keyboard.press("J")
    assert page.locator(".token-shown h2").inner_text() == "Key [CLS]"
    assert page.locator(".sentence .chosen").all_inner_texts() == ["[CLS]"]


def test_columns_are_named_by_their_heads(open_page: Open) -> None:
    content = made_content()
    (kind,) = content.kinds
    layers = [
        replace(layer, heads=[replace(quality, head=head) for quality, head in zip(layer.heads, (2, 5), strict=True)])
        for layer in kind.layers
    ]
    page = open_page(qk_page_html(replace(content, kinds=[replace(kind, layers=layers)]))).go()
    assert page.locator(".cells .number").all_inner_texts() == ["2", "5", "0", "1"]
    page.keyboard.press("2")
    assert page.get_by_role("tab", selected=True).inner_text() == "Head 0.2"


@pytest.mark.parametrize("lasso", [False, True])
def test_two_fingers_zoom_also_while_one_draws_a_lasso(lasso: bool, open_page: Open) -> None:
    content = made_content()
    opened = open_page(qk_page_html(content), has_touch=True)
    page = opened.go("head=0.0")
    canvas = page.locator("canvas[role=application]")
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)

    def touch(event: str, *fingers: tuple[float, float]) -> None:
        places = [{"x": left, "y": top, "id": finger} for finger, (left, top) in enumerate(fingers)]
        session.send("Input.dispatchTouchEvent", {"type": event, "touchPoints": places})

    touch("touchStart", (x - 60, y))
    if lasso:
        touch("touchEnd")
        page.keyboard.press("l")
        touch("touchStart", (box["x"] + 5, box["y"] + 5))
        for corner in ((box["x"] + box["width"] - 5, box["y"] + 5), (x, box["y"] + box["height"] - 5), (x - 60, y)):
            touch("touchMove", corner)
    touch("touchStart", (x - 60, y), (x + 60, y))
    touch("touchMove", (x - 90, y), (x + 90, y))
    touch("touchMove", (x - 120, y), (x + 120, y))
    touch("touchEnd")
    opened.settle()
    # Chromium tells d3-zoom that it need not stop a scrolling, which the canvas does not allow
    opened.complaints[:] = [complaint for complaint in opened.complaints if "cancelable=false" not in complaint]
    assert canvas.get_attribute("data-selected") is None
    points = content.kinds[0].layers[0].points[0]
    away = np.abs(points - (points.min(0) + points.max(0)) / 2).max(1)
    point = int(np.where(away < away.max() / 2, away, 0).argmax())
    page.mouse.move(*place(page, content, point, zoomed=2))
    opened.settle()
    assert page.locator(".token-shown h2").inner_text() == name_of(content, point)


def name_of(content: QkPageContent, point: int) -> str:
    """Return the heading of a point."""
    (kind,) = content.kinds
    token = content.inputs[kind.texts[point]].source.pieces[kind.positions[point]]
    return f"{'Query' if point < kind.queries else 'Key'} {token}"


def test_a_new_width_draws_the_page_again_but_not_an_address_bar(open_page: Open) -> None:
    opened = open_page(qk_page_html(made_content()), color_scheme="light")  # a tab that no other test uses
    page = opened.go()
    for width, height, drawn in ((1200, 700, False), (300, 700, True), (300, 500, True)):
        page.evaluate("delete document.body.dataset.drawn")
        page.set_viewport_size({"width": width, "height": height})
        opened.settle()
        assert (page.locator("body").get_attribute("data-drawn") == "heads") == drawn
        right = page.locator("[data-head='0.1']").evaluate("map => map.getBoundingClientRect().right")
        assert right <= width
