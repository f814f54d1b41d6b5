"""The tab Attribution: the numbers of the methods beside the attention of the rows that predict."""

from __future__ import annotations

import numpy as np
import pytest
from opened import AXE, SVG, Made, Open, near

import attncli

TEXT = "The guard lost that chosen bucket, and the child mentioned our expensive soup."


@pytest.fixture(scope="module")
def result() -> attncli.Attribution:
    model = attncli.load("demo:classifier", head="auto-head")
    return model.attribute(TEXT, ["occlusion", "rollout"], "labels")


@pytest.fixture(scope="module")
def page(result: attncli.Attribution) -> Made:
    run = attncli.load("demo:classifier", head="auto-head").run(TEXT)
    return Made(run, run.view(attribution=result).html)


def test_the_tab_has_the_numbers_of_the_methods_and_of_the_head(
    page: Made, result: attncli.Attribution, open_page: Open
) -> None:
    opened = open_page(page.html)
    rows = opened.csv("view=attribution&output=2&layer=2&head=2")
    by_method = {
        name: [float(row["share"]) for row in rows if row["method"] == name]
        for name in ("occlusion", "rollout", "attention of the head")
    }
    for name in ("occlusion", "rollout"):
        np.testing.assert_allclose(by_method[name], result.shares(name, 2), atol=1e-6)
    of_cls = page.run.attention().sel(layer=2, head=2).values[0]
    assert near(by_method["attention of the head"], of_cls, of_cls.max())
    assert {row["prediction"] for row in rows} == {result.outputs[2].name}
    # the page adds the pieces of words, and leaves special tokens out of the keys only
    words = opened.csv("view=attribution&output=2&layer=2&head=2&special=drop&method=occlusion")
    shares = [float(row["share"]) for row in words if row["method"] == "occlusion"]
    np.testing.assert_allclose(shares, result.shares("occlusion", 2)[1:-1], atol=1e-6)
    assert len(words) == 2 * len(shares)


def test_the_tab_is_reached_by_keys_and_menus(page: Made, result: attncli.Attribution, open_page: Open) -> None:
    opened = open_page(page.html)
    shown = opened.go("view=head")
    shown.keyboard.press("8")
    assert shown.locator(".attribution-view section").count() == 3
    against = result.shares("occlusion", 0) < -5e-4
    assert shown.locator(".attribution-view section").first.locator(".against").count() >= against.sum() > 0
    assert shown.locator(".attribution-view .text .predicts").all_inner_texts() == ["[CLS]"] * 3
    shown.keyboard.press("m")
    shown.keyboard.press("o")
    assert (opened.state()["method"], opened.state()["output"]) == ("occlusion", "1")
    shown.get_by_label("method").select_option("rollout")
    assert shown.locator(".attribution-view h2").first.inner_text() == "rollout"
    texts = {text.text for text in opened.svg("view=attribution&method=rollout").iter(f"{SVG}text")}
    assert {"rollout", "attention of head 2.2 (encoder), from the rows that predict"} <= texts | {""}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_tab_is_accessible(theme: str, page: Made, open_page: Open) -> None:
    shown = open_page(page.html).go(f"view=attribution&output=0&theme={theme}")
    shown.evaluate(AXE.read_text(encoding="utf-8"))
    # themes differ in their colours alone
    rules = "{}" if theme == "light" else "{runOnly: ['color-contrast']}"
    violations = shown.evaluate(
        f"axe.run({rules}).then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html).slice(0, 3)]))"
    )
    assert violations == []


def test_a_narrow_screen_scrolls_down_only(page: Made, open_page: Open) -> None:
    shown = open_page(page.html, width=400).go("view=attribution")
    assert shown.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_page_without_attribution_has_no_tab(page: Made, open_page: Open) -> None:
    opened = open_page(page.run.view().html)
    shown = opened.go("view=attribution")
    assert shown.locator("body").get_attribute("data-drawn") == "head"
    assert shown.locator("#tab-attribution").count() == 0
    shown.keyboard.press("8")
    shown.keyboard.press("m")
    assert shown.locator("body").get_attribute("data-drawn") == "head"
