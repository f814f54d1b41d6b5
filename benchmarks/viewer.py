"""The page of `attncli view` against BertViz's model view and head view: size, time until drawn, frames while pointing.

    python benchmarks/viewer.py --tokens 64 128
    python benchmarks/viewer.py --tokens 256 --no-bertviz
    python benchmarks/viewer.py --tokens 1024 --layers 6 --no-bertviz

The same maps (layers x heads of random weights, which compress worse than any model's) are written by both and opened
in headless Chromium. BertViz's page loads three libraries from a CDN; here they come from the npm registry once, into
the folder that --libraries names, and are served from there. Drawn: from the start of loading until the first frame
after everything is on the screen. Frames: pointing at one token after the other for two seconds, all heads of a layer
drawn. Memory: of all processes of the browser, above what it takes empty. Times mean something only beside each other.

    pip install playwright bertviz==1.4.1 ipython
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CDN = {
    "require.min.js": "requirejs/require.js",
    "d3.min.js": "d3/dist/d3.min.js",
    "jquery.min.js": "jquery/dist/jquery.min.js",
}
PACKAGES = ("requirejs@2.3.6", "d3@5.7.0", "jquery@2.1.4")
PATIENCE = 120_000
"""Milliseconds that a page may take until it is drawn."""
FRAMES = """
async () => {
  let frames = 0, go = true;
  const count = () => { frames++; if (go) requestAnimationFrame(count); };
  requestAnimationFrame(count);
  window.stopCounting = () => { go = false; return frames; };
}
"""


@dataclass(frozen=True)
class Shown:
    """What a page costs."""

    bytes: int
    drawn_s: float
    memory_mb: float
    frames: float | None

    def __str__(self) -> str:
        frames = "" if self.frames is None else f", {self.frames:5.1f} frames/s"
        return f"{self.bytes / 1e6:8.2f} MB, drawn in {self.drawn_s:6.2f} s, {self.memory_mb:6.0f} MB more{frames}"


def main() -> None:
    """Measure and print one row per length and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--max-page", default="200MB", help="of ours; past it the strongest weights are shown")
    parser.add_argument("--no-bertviz", action="store_true")
    parser.add_argument("--libraries", default=str(Path(tempfile.gettempdir()) / "bertviz-libraries"))
    options = parser.parse_args()
    for tokens in options.tokens:
        maps = _maps(options.layers, options.heads, tokens)
        print(f"{options.layers} x {options.heads} heads, {tokens} tokens")
        with tempfile.TemporaryDirectory() as folder:
            ours = _show(_ours(maps, Path(folder), options.max_page), _point_ours, "body[data-drawn]", None)
            print(f"  attncli             {ours}", flush=True)
            if options.no_bertviz:
                continue
            served = _libraries(Path(options.libraries))
            for name, point in (("model_view", None), ("head_view", _point_bertviz)):
                theirs = _show(_bertviz(name, maps, Path(folder)), point, "#vis svg text, #vis svg line", served)
                print(f"  BertViz {name:11} {theirs}  {theirs.bytes / ours.bytes:5.1f} x the size", flush=True)


def _maps(layers: int, heads: int, tokens: int) -> np.ndarray:
    """[layer, head, query, key] float32, rows as peaked as those of models."""
    scores = 2 * np.random.default_rng(0).standard_normal((layers, heads, tokens, tokens), dtype=np.float32)
    weights = np.exp(scores)
    return weights / weights.sum(-1, keepdims=True)


def _ours(maps: np.ndarray, folder: Path, most: str) -> Path:
    import attncli

    np.save(folder / "maps.npy", maps)
    return attncli.open(folder / "maps.npy").view(max_page=most).save(folder / "attncli.html")


def _bertviz(name: str, maps: np.ndarray, folder: Path) -> Path:
    try:
        import bertviz
        import torch
    except ImportError as error:
        sys.exit(f"error: {error}; to compare: pip install bertviz==1.4.1 ipython, or give --no-bertviz")
    attention = [torch.from_numpy(layer)[None] for layer in maps]
    tokens = [f"t{number}" for number in range(maps.shape[-1])]
    page = getattr(bertviz, name)(attention, tokens, html_action="return")
    path = folder / f"{name}.html"
    path.write_text(f"<!doctype html><body>{page.data}</body>", encoding="utf-8")
    return path


def _libraries(folder: Path) -> Path:
    """The three libraries that BertViz loads, from npm."""
    modules = folder / "node_modules"
    if not all((modules / name).is_file() for name in CDN.values()):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), *PACKAGES], check=True)
    return modules


@contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _show(path: Path, point: Callable[[Any], float] | None, sign: str, served: Path | None) -> Shown:
    with _chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(PATIENCE)
        if served is not None:
            there = {name: served / path for name, path in CDN.items()}
            page.route(re.compile("^https:"), lambda route: route.fulfill(path=there[Path(route.request.url).name]))
        empty = _browser_mb()
        start = time.perf_counter()
        page.goto(path.as_uri(), wait_until="commit")
        page.wait_for_selector(sign, state="attached")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        drawn = time.perf_counter() - start
        memory = _browser_mb() - empty
        return Shown(path.stat().st_size, drawn, memory, None if point is None else point(page))


def _browser_mb() -> float:
    """What all processes of Chromium hold, in MB."""
    lines = subprocess.run(["ps", "-eo", "rss=,comm="], capture_output=True, text=True, check=True).stdout.splitlines()
    return sum(int(line.split()[0]) for line in lines if "chrom" in line) / 1024


def _point_ours(page: Any) -> float:
    page.keyboard.press("a")
    return _frames(page, ".tokens.query .token")


def _point_bertviz(page: Any) -> float:
    return _frames(page, "#vis svg text")


def _frames(page: Any, tokens: str) -> float:
    """Frames a second while one token after the other is pointed at."""
    boxes = [box for box in (each.bounding_box() for each in page.locator(tokens).all()[:40]) if box]
    page.evaluate(FRAMES)
    start = time.perf_counter()
    while time.perf_counter() - start < 2:
        for box in boxes:
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    frames = page.evaluate("() => window.stopCounting()")
    return float(frames / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
