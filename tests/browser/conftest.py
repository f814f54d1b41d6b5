"""Pages of real runs in a real browser: headless Chromium, driven by Playwright, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opened import Made, Open, Opened
from playwright.sync_api import Browser, Page, sync_playwright

import attncli

PATIENCE = 120_000
"""Milliseconds until a page counts as stuck, also on a machine that has much else to do."""
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
IT = "The animal didn't cross the street because it was too tired."


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium: the one named by CHROMIUM, else Debian's or whichever is on the path."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert found, "no Chromium for the tests of the page: `make test` installs it, CHROMIUM=… names another"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tabs(browser: Browser) -> dict[int, Page]:
    """A tab for each width of window, which tests use one after the other: a new one takes longer than the page."""
    return {}


@pytest.fixture
def open_page(browser: Browser, tabs: dict[int, Page], tmp_path: Path) -> Iterator[Open]:
    """`open_page(html)` opens a page; a console message, an error, a dialog or a request fails the test at its end."""
    opened: list[Opened] = []
    contexts = []
    listeners: list[tuple[Page, str, Callable[[Any], None]]] = []

    def open_(html: str, width: int = 1200, **more: Any) -> Opened:
        page = None if more else tabs.get(width)
        if page is None or page in {page for page, *_ in listeners}:
            context = browser.new_context(viewport={"width": width, "height": 800}, accept_downloads=True, **more)
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            if more or width in tabs:
                contexts.append(context)
            else:
                tabs[width] = page
        path = tmp_path / f"page-{len(opened)}.html"
        path.write_text(html, encoding="utf-8")
        made = Opened(page, path.as_uri())
        for event, listener in (
            ("console", lambda message: made.complaints.append(f"console: {message.text}")),
            ("pageerror", lambda error: made.complaints.append(f"error: {error}")),
            ("dialog", lambda dialog: made.complaints.append(f"dialog: {dialog.message}")),
            ("request", lambda request: _refuse(made, request.url)),
        ):
            page.on(event, listener)  # type: ignore[call-overload]
            listeners.append((page, event, listener))
        opened.append(made)
        return made

    yield open_
    for page, event, listener in listeners:
        page.remove_listener(event, listener)
    for page in {page for page, *_ in listeners} & set(tabs.values()):
        page.mouse.move(0, 0)
        page.goto("about:blank")
    for context in contexts:
        context.close()
    assert [complaint for page in opened for complaint in page.complaints] == []


def _refuse(page: Opened, url: str) -> None:
    if not url.startswith((page.url, "about:", "blob:", "data:")):
        page.complaints.append(f"request: {url}")


@pytest.fixture(scope="session")
def made(minilm: Path) -> Callable[[str], Made]:
    """The page of a real model by name: minilm, encoder, decoder, seq2seq."""
    pages: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in pages:
            model = attncli.load(str(minilm) if name == "minilm" else f"demo:{name}")
            run = model.run(IT if name != "seq2seq" else "the tired animal", metrics="all", neurons=True)
            pages[name] = Made(run, run.view().html)
        return pages[name]

    return make
