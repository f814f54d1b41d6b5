"""Pages of runs that are open in a browser: their address, what they show, and their unwanted messages and requests."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from playwright.sync_api import Page

import attncli

CHANGE_ADDRESS = """address => new Promise(drawn => {
  const target = new URL("#" + address, location.href);
  if (target.hash === location.hash) { drawn(); return; }
  addEventListener("hashchange", () => requestAnimationFrame(() => requestAnimationFrame(drawn)), { once: true });
  location.hash = target.hash;
})"""
SVG = "{http://www.w3.org/2000/svg}"
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = ("head", "model", "matrix", "neuron", "text", "numbers", "flow")


@dataclass
class Opened:
    """A page in the browser, with its console messages, errors, dialogs and requests, none of which are wanted."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def go(self, address: str = "") -> Page:
        """Go to an address such as `view=matrix&layer=3`: open the page, or change the address of the open page."""
        if self.page.url.startswith(self.url):
            self.page.evaluate(CHANGE_ADDRESS, address)
        else:
            self.page.goto(f"{self.url}#{address}")
            self.page.wait_for_selector("body[data-drawn]")
        return self.page

    def svg(self, address: str) -> Element:
        """Return the root of the SVG file of a view."""
        page = self.go(address)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="SVG file").click()
        return ElementTree.parse(waiting.value.path()).getroot()

    def csv(self, address: str) -> list[dict[str, str]]:
        """Return the rows of the CSV file of a view."""
        page = self.go(address)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="CSV file").click()
        with Path(waiting.value.path()).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def settle(self) -> None:
        """Wait until the page drew all that it was asked to draw: it draws at most once per frame."""
        self.page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    def state(self) -> dict[str, str]:
        """Return the parts of the address."""
        text = self.page.evaluate("location.hash").removeprefix("#")
        return dict(part.split("=", 1) for part in text.split("&") if part)

    def weights(self, side: str = "key") -> list[float]:
        """Return the numbers next to the tokens of the head view; NaN where there is none."""
        texts = self.page.locator(f".tokens.{side} .weight").all_inner_texts()
        return [float(text) if text else float("nan") for text in texts]


Open = Callable[..., Opened]


@dataclass(frozen=True)
class Made:
    """A run and its page."""

    run: attncli.Run
    html: str


def near(shown: Any, true: np.ndarray, rows_top: float) -> bool:
    """Return whether weights are within 1/255 of the largest of their row, and rounded to three decimals."""
    off = np.abs(np.asarray(shown) - true)
    return bool((off[~np.isnan(off)] <= rows_top / 255 + 6e-4).all())
