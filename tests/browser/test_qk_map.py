"""The page of queries and keys in the browser: all heads, one head, its tokens, selection, search and colours."""

from __future__ import annotations

import numpy as np
import pytest
from hostile import HOSTILE
from made_points import GOOD, POOR, made_content, place
from opened import AXE, Open, Opened
from playwright.sync_api import Page

from attncli.page.filled import built_page
from attncli.page.qk_map import QkPageContent, qk_page_html

FIRST = "head=0.0"
COPIED = "navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve(); }"


@pytest.fixture(scope="module")
def content() -> QkPageContent:
    return made_content()


@pytest.fixture(scope="module")
def html(content: QkPageContent) -> str:
    return qk_page_html(content)


@pytest.fixture
def opened(html: str, open_page: Open) -> Opened:
    return open_page(html)


def rows(page: Page) -> list[list[str]]:
    """Return the listed weights of the shown token: token, position, weight, distance."""
    lines = page.locator(".token-shown tbody tr").all()
    return [line.locator("td").all_inner_texts() for line in lines]


def test_all_heads_are_drawn_and_one_opens(opened: Opened) -> None:
    page = opened.go()
    page.wait_for_selector("body[data-painted]")
    labels = [thumb.get_attribute("aria-label") for thumb in page.locator(".small-map").all()]
    verdicts = {"0.0": GOOD, "0.1": POOR, "1.0": GOOD, "1.1": GOOD}
    assert labels == [f"head {head}, rank correlation 0.50: {verdict}" for head, verdict in verdicts.items()]
    opacities = "nodes => nodes.map(node => Number(getComputedStyle(node).opacity))"
    assert page.locator(".small-map canvas").evaluate_all(opacities) == [1, 0.4, 1, 1]
    colours = """nodes => nodes.map(node => {
      const { data } = node.getContext("2d").getImageData(0, 0, node.width, node.height);
      return new Set(new Uint32Array(data.buffer)).size;
    })"""
    # the ground, queries, keys; in the last head all points are at one place
    assert page.locator(".small-map canvas").evaluate_all(colours) == [3, 3, 3, 2]
    page.locator("[data-head='1.0']").click()
    assert opened.state() == {"head": "1.0"}
    assert page.get_by_role("tab", selected=True).inner_text() == "Head 1.0"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    assert opened.state() == {"head": "0.1"}
    assert page.locator(".verdict.poor").inner_text() == POOR
    quality = [line.locator("td").all_inner_texts() for line in page.locator(".quality tbody tr").all()]
    assert quality == [["0.50", "0.75", "0.00"], ["0.25", "\u2013", "0.13"]]
    page.keyboard.press("1")
    assert opened.state() == {}
    page.keyboard.press("2")
    assert opened.state() == {"head": "0.1"}


@pytest.mark.parametrize("side", ["query", "key"])
def test_pointing_at_a_token_shows_where_the_head_attends(side: str, opened: Opened, content: QkPageContent) -> None:
    (kind,) = content.kinds
    layer = kind.layers[0]
    page = opened.go(FIRST)
    point = 2 if side == "query" else kind.queries + 2
    page.mouse.move(*place(page, content, point))
    opened.settle()
    assert page.locator(".token-shown h2").inner_text() == f"{side.capitalize()} animal"
    queries = np.flatnonzero(kind.texts[: kind.queries] == 0)
    of_query = {2: layer.weights[0, 2]} if side == "query" else {}
    if side == "query":
        true = {int(key): float(w) for key, w in zip(layer.keys[0, 2], of_query[2], strict=True)}
        other = {key: kind.queries + key for key in true}
    else:
        true = {
            int(query): float(layer.weights[0, query][layer.keys[0, query] == 2][0])
            for query in queries
            if 2 in layer.keys[0, query]
        }
        other = {query: query for query in true}
    shown = {int(position): (float(weight), float(far)) for _, position, weight, far in rows(page)}
    assert shown.keys() == true.keys()
    largest = layer.weights[0].max()
    for position, (weight, far) in shown.items():
        assert abs(weight - true[position]) <= largest / 255 + 6e-4
        distance = np.hypot(*(layer.points[0, point] - layer.points[0, other[position]]))
        assert abs(far - distance) <= 0.006 * distance + 1e-3
    shares = page.locator(".sentence .piece").evaluate_all(
        "nodes => nodes.map(node => Number(node.style.getPropertyValue('--share')))"
    )
    assert {at for at, share in enumerate(shares) if share > 0} == true.keys()
    assert max(range(len(shares)), key=lambda at: shares[at]) == max(true, key=lambda at: true[at])
    assert page.locator(".sentence .chosen").inner_text() == "animal"
    page.mouse.down()
    page.mouse.up()
    assert opened.state() == {"head": "0.0", "point": str(point)}
    page.mouse.move(2, 2)
    opened.settle()
    assert page.locator(".token-shown h2").inner_text() == f"{side.capitalize()} animal"
    page.locator(".token-shown td button").first.click()
    strongest = max(true, key=lambda position: true[position])
    assert opened.state()["point"] == str(other[strongest])
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"


def _pointed_at(opened: Opened, place: tuple[float, float], expected: str) -> str:
    """Return what the page names at a place; it is asked again while a zoom may not be drawn yet."""
    name, (x, y) = opened.page.locator(".token-shown h2"), place
    for _ in range(20):
        opened.page.mouse.move(x + 1, y)
        opened.page.mouse.move(x, y)
        opened.settle()
        if name.inner_text() == expected:
            break
    return name.inner_text()


def test_the_map_zooms_moves_and_is_reached_by_keys(opened: Opened, content: QkPageContent) -> None:
    (kind,) = content.kinds
    points = kind.layers[0].points[0]
    # the query that stays on the canvas, however it is zoomed
    point = int(np.hypot(*(points[: kind.queries] - (points.min(0) + points.max(0)) / 2).T).argmin())
    token = f"Query {content.inputs[kind.texts[point]].source.pieces[kind.positions[point]]}"
    page = opened.go(FIRST)
    canvas = page.locator("canvas[role=application]")
    box = canvas.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    name = page.locator(".token-shown h2")
    page.keyboard.press("+")
    assert _pointed_at(opened, place(page, content, point, zoomed=1.5), token) == token
    page.keyboard.press("0")
    page.mouse.move(*middle)
    page.mouse.wheel(0, -240)
    opened.settle()
    # d3-zoom: 2 to the power of delta / 500
    assert _pointed_at(opened, place(page, content, point, zoomed=2 ** (240 / 500)), token) == token
    page.get_by_role("button", name="whole map").click()
    x, y = place(page, content, point)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1] + 10, steps=2)
    page.mouse.up()
    assert _pointed_at(opened, (x + 40, y + 10), token) == token
    page.mouse.move(2, 2)
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert name.inner_text() == "Query The"
    page.keyboard.press("K")
    assert name.inner_text() == "Key [SEP]"
    assert "key [SEP] (3)" in page.get_by_role("status").inner_text()


def test_a_lasso_lists_tokens_in_every_head(opened: Opened, content: QkPageContent) -> None:
    (kind,) = content.kinds
    page = opened.go(FIRST)
    page.evaluate(COPIED)
    points = kind.layers[0].points[0]
    # around the left half of the map, between two columns of the grid
    inside = np.flatnonzero(points[:, 0] <= 1)
    (left, _), (right, _) = (place(page, content, int(at)) for at in (points[:, 0].argmin(), inside[-1]))
    spots = [place(page, content, at) for at in range(len(points))]
    low, high = min(y for _, y in spots) - 12, max(y for _, y in spots) + 12
    far = max(x for at, (x, _) in enumerate(spots) if at in inside) + 12
    page.get_by_role("button", name="lasso").click()
    page.mouse.move(left - 12, low)
    page.mouse.down()
    for corner in ((far, low), (far, high), (min(left, right) - 12, high)):
        page.mouse.move(*corner)
    page.mouse.up()
    queries = int((inside < kind.queries).sum())
    summary = f"{len(inside)} points: {queries} queries, {len(inside) - queries} keys"
    assert summary in page.locator(".selection").inner_text()
    page.get_by_role("button", name="Copy").click()
    copied = [line.split("\t") for line in page.evaluate("window.copied").split("\n")]
    assert sum(int(count) for *_, count in copied) == len(inside)
    tokens = {content.inputs[kind.texts[at]].source.pieces[kind.positions[at]] for at in inside}
    assert {label for label, *_ in copied} == tokens
    page.keyboard.press("ArrowRight")
    assert summary in page.locator(".selection").inner_text()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    lines = waiting.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0] == "kind,layer,head,text,position,token,side,x,y,norm"
    assert len(lines) == 1 + len(inside)
    assert all(line.startswith("encoder,0,1,") for line in lines[1:])
    page.keyboard.press("Escape")
    assert "Draw around tokens" in page.locator(".selection").inner_text()


def test_a_search_marks_all_its_tokens(opened: Opened) -> None:
    page = opened.go(FIRST)
    page.keyboard.press("/")
    page.keyboard.type("THE")
    assert page.get_by_role("status").inner_text() == "found: 2 queries, 2 keys"
    assert opened.state() == {"head": "0.0", "search": "THE"}
    page.keyboard.type("q")
    assert page.get_by_role("status").inner_text() == "no token of the map contains this"
    page.keyboard.press("Escape")
    assert opened.state() == {"head": "0.0"}


def test_colours_have_a_legend(opened: Opened, content: QkPageContent) -> None:
    (kind,) = content.kinds

    def counts(colour: str) -> list[str]:
        return opened.go(f"{FIRST}&color={colour}").locator(".legend .entry").all_inner_texts()

    assert [text.split() for text in counts("side")] == [["query", "12"], ["key", "12"]]
    types = [text.split() for text in counts("type")]
    assert types == [["word", "14"], ["special", "8"], ["punctuation", "2"]]
    assert [text.split()[-1] for text in counts("text")] == ["16", "8"]
    assert [text.split() for text in counts("position")] == [["0", "7"]]
    low, high = "".join(counts("norm")).replace("≤", "").replace("≥", "").split()
    norms = kind.layers[0].norms[0]
    assert norms.min() - 0.01 <= float(low) < float(high) <= norms.max() + 0.01
    assert opened.state() == {"head": "0.0", "color": "norm"}


@pytest.mark.parametrize("address", ["", FIRST])
def test_hostile_tokens_are_only_text(address: str, open_page: Open) -> None:
    opened = open_page(qk_page_html(made_content([HOSTILE], special=())))
    page = opened.go(f"{address}&color=text")
    if address:
        page.keyboard.press("j")
        page.keyboard.press("l")
        page.mouse.move(20, 180)
        page.mouse.down()
        for corner in ((800, 180), (800, 740), (20, 740)):
            page.mouse.move(*corner)
        page.mouse.up()
        assert page.locator(".counted li").count() > len(HOSTILE)
    assert page.locator("main script, main img, main b, main iframe").count() == 0
    assert page.locator("script").count() == page.locator("body > script").count()


def test_the_policy_stops_foreign_scripts(opened: Opened) -> None:
    page = opened.go()
    with page.expect_console_message(lambda said: "Content Security Policy" in said.text):
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert page.evaluate("window.ran") is None
    assert all("Content Security Policy" in complaint for complaint in opened.complaints)
    opened.complaints.clear()


@pytest.mark.parametrize("address", ["", f"{FIRST}&point=2&search=the", f"{FIRST}&color=type"])
def test_every_view_is_accessible_and_fits_a_phone(address: str, html: str, open_page: Open) -> None:
    page = open_page(html, width=400).go(address)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for theme, rules in (("light", "{}"), ("dark", "{runOnly: ['color-contrast']}")):
        page.evaluate(f"location.hash = '{address}&theme={theme}'")
        page.wait_for_selector(f"html[data-theme={theme}]")
        violations = page.evaluate(
            f"axe.run({rules}).then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html).slice(0, 3)]))"
        )
        assert violations == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_page_without_maps_or_of_another_version_says_so(html: str, open_page: Open) -> None:
    pages = {"attncli qk-map": built_page("qk-map"), "qk-map-page/9": html.replace("qk-map-page/1", "qk-map-page/9", 1)}
    for says, broken in pages.items():
        opened = open_page(broken)
        opened.page.goto(opened.url)
        assert says in opened.page.locator("[role=alert]").inner_text()
